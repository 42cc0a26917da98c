# BareFlow. `make run` boots it, `make test` tests it, `make help` lists all goals.
#
# One tree makes two builds: METAL (bareflow.elf, the bootable image) and HOSTED (an ordinary Linux
# program, tests, fuzzers). A source belongs to both, unless its name says otherwise:
#   *_metal.cpp, *.asm, metal/    bare metal only
#   *_hosted.cpp, hosted/         hosted only
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := all

BUILD  := build
CC     := clang-19
CXX    := clang++-19
LD     := ld.lld-19
AR     := llvm-ar-19
NASM   := nasm
PYTHON := /usr/bin/python3

# Variables of `make run`; see tools/run.py --help.
MODEL ?=
PORT  ?= 8080
SMP   ?=
MEM   ?=
NIC   ?= virtio
ACCEL ?= auto
VGA   ?= none
OPTIONS ?=
FRESH ?=
# Arguments of tools/bench.py.
BENCH ?=
DEFAULT_MODEL := models/stories.gguf

include third_party/third_party.mk

# ---------------------------------------------------------------- sources
KERNEL_LIB_DIRS := kernel_lib
PROGRAM_DIRS    := boot drivers compute net llama http api status
metal_only   = %_metal.cpp
sources_in   = $(sort $(foreach d,$(1),$(shell find $(d) -name '*.cpp')))
kernel_all  := $(call sources_in,$(KERNEL_LIB_DIRS))
program_all := $(call sources_in,$(PROGRAM_DIRS))

metal_filter  = $(foreach s,$(1),$(if $(findstring /hosted/,$(s))$(findstring _hosted.cpp,$(s)),,$(s)))
hosted_filter = $(foreach s,$(1),$(if $(findstring /metal/,$(s))$(findstring _metal.cpp,$(s)),,$(s)))

KERNEL_LIB_METAL  := $(call metal_filter,$(kernel_all)) $(sort $(shell find kernel_lib -name '*.asm'))
KERNEL_LIB_HOSTED := $(call hosted_filter,$(kernel_all))
PROGRAM_METAL     := $(call metal_filter,$(program_all))
PROGRAM_HOSTED    := $(call hosted_filter,$(program_all))
appliance_all     := $(call sources_in,appliance)
APPLIANCE_METAL   := $(call metal_filter,$(appliance_all))
APPLIANCE_HOSTED  := $(call hosted_filter,$(appliance_all))
# Tests and fuzzers link these: the hosted program without its main().
HOSTED_PROGRAM    := $(KERNEL_LIB_HOSTED) $(PROGRAM_HOSTED) $(filter-out appliance/hosted/main.cpp,$(APPLIANCE_HOSTED))

# ---------------------------------------------------------------- flags
WARN     := -Wall -Wextra -Werror -Wshadow -Wno-unused-parameter
# -ffile-prefix-map, and no dates anywhere: the same tree gives the same bytes in any folder.
COMMON   := -O2 -g -MMD -MP -I. -ffp-contract=off -fno-fast-math -fno-strict-aliasing \
            -ffile-prefix-map="$(CURDIR)"=. -fno-ident
CXXCOMMON := -std=c++20 -fno-exceptions -fno-rtti -fno-threadsafe-statics -D_GLIBCXX_ASSERTIONS
METAL_ARCH := -ffreestanding -fno-builtin-printf -mno-red-zone -fno-pic -mcmodel=small \
            -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -fno-use-cxa-atexit \
            -fno-omit-frame-pointer -mno-avx -fno-vectorize -fno-slp-vectorize -fcf-protection=none \
            -fstack-protector-strong -mstack-protector-guard=global
HOSTED_ARCH := -fno-omit-frame-pointer -pthread
# No vptr check: it needs RTTI in the tests and in the program, and only the tests have it.
SAN      := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-sanitize=vptr
TSAN     := -fsanitize=thread
FUZZ     := -fsanitize=fuzzer-no-link
# For comparison: our kernels as the compiler makes them for this very processor.
NATIVE   := -O3 -march=native -Wno-invalid-feature-combination -Dcompute=compute_native
# The metal build is made for size, except where its time goes: arithmetic and memory routines.
HOT_SOURCES := $(addprefix compute/numbers/,ops% attention% quant%) kernel_lib/memory/string% \
               $(addprefix compute/kernels/,portable/swar% sse2/% avx2/float_ops%)
metal_opt = $(if $(filter $(HOT_SOURCES),$(1)),-O2,-Oz)

METAL_CXXFLAGS   = $(COMMON) $(CXXCOMMON) $(WARN) $(METAL_ARCH) \
                   -include kernel_lib/platform/metal/library_checks.h $(THIRD_PARTY_INCLUDES)
HOSTED_CXXFLAGS  = $(COMMON) $(CXXCOMMON) $(WARN) $(HOSTED_ARCH) $(THIRD_PARTY_INCLUDES)
TP_METAL_CFLAGS  = $(COMMON) -w $(METAL_ARCH) -Oz
TP_HOSTED_CFLAGS = $(COMMON) -w $(HOSTED_ARCH)

# ---------------------------------------------------------------- objects
obj = $(patsubst %,$(BUILD)/$(1)/%.o,$(2))
TP_OBJS = $(call obj,$(1),$(THIRD_PARTY_SOURCES_$(2)))

KERNEL_LIB_OBJS := $(call obj,metal,$(KERNEL_LIB_METAL))
METAL_OBJS := $(call obj,metal,$(PROGRAM_METAL) $(APPLIANCE_METAL)) \
              $(call obj,metal,$(sort $(shell find boot/pvh -name '*.asm'))) $(call TP_OBJS,metal,METAL)
HOSTED_LIB_OBJS := $(call obj,hosted-obj,$(KERNEL_LIB_HOSTED) $(PROGRAM_HOSTED)) \
                   $(call TP_OBJS,hosted-obj,HOSTED)
HOSTED_OBJS := $(HOSTED_LIB_OBJS) $(call obj,hosted-obj,$(APPLIANCE_HOSTED))

SETUP_STAMP := $(BUILD)/.setup

.PHONY: all setup setup-train setup-browser setup-bench setup-reference hosted run test check lint print-build unit tsan qemu bench bench-jit kernel-bench fuzz fuzzers fuzz-smoke soak soak-speed clean help
all: $(BUILD)/fluid_llama.img $(BUILD)/bareflow.elf $(BUILD)/kernel_lib.a $(BUILD)/hosted/bareflow

help:
	@sed -n 's/^## //p' $(firstword $(MAKEFILE_LIST))

## make            build the image, bareflow.elf, kernel_lib.a and the hosted program
## make run        boot it in QEMU and serve  (MODEL PORT SMP MEM NIC ACCEL VGA OPTIONS;
##                 FRESH=1: forget the optimiser's choices)
## make test       set up, build, and pass every test
## make hosted     the same program for Linux: build/hosted/bareflow
## make unit       unit tests (UNIT=llama: of one folder)
## make qemu       tests of the API, the image, the tools, and of figures against numpy
## make tsan       tests with several threads under ThreadSanitizer
## make check      format, layers, size budgets, words, shape, homes, tests, docs, headers, lint
## make lint       clang-tidy alone;  make compile_commands.json: flags for clangd
## make bench      figures of this machine, hosted and emulated (BENCH="--quick hosted"...)
## make bench-jit  what the optimiser is worth, and how fast it gets there
## make kernel-bench   the compiled kernels alone (BENCH_OPTIONS: see tools/bench/kernel_bench.cpp)
## make fuzz       fuzz every parser for FUZZ_SECONDS (60) each
## make soak       the long tests
## make soak-speed one of them: no function is slower after optimisation than before
##                 (PLACE=smp1, smp2 or hosted; 30 minutes each)
## make setup      install what is missing (the other goals call it when needed)
## make setup-train, setup-browser, setup-bench   install what only these need
## make setup-reference   build llama.cpp for comparison (15 minutes; soak and bench use it)
## make clean      remove build/ (third-party sources stay)

# ---------------------------------------------------------------- set-up
setup:
	@tools/setup/setup.sh build run test
setup-train setup-browser setup-bench setup-reference: setup-%:
	@tools/setup/setup.sh $*
# Every goal that builds needs this stamp. The script says nothing if nothing is missing.
$(SETUP_STAMP): tools/setup/setup.sh third_party/pins.tsv
	@tools/setup/setup.sh build run test
	@mkdir -p $(@D) && touch $@

# The set-up fetches the third-party sources, so they depend on it.
$(THIRD_PARTY_FILES): $(SETUP_STAMP) ;

# ---------------------------------------------------------------- compile
# Each file holds flags, and is written only when they change. What is compiled with these flags
# depends on the file, so it is rebuilt then.
$(BUILD)/flags/%: FORCE
	@mkdir -p $(@D); printf '%s\n' '$(FLAGS_$*)' | cmp -s - $@ || printf '%s\n' '$(FLAGS_$*)' > $@
# For a recipe that calls make: a job for each processor, unless the user gave a number.
JOBS = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))
FORCE:
.PRECIOUS: $(BUILD)/flags/%
TP_FLAGS     = $(lwip_flags) $(llhttp_flags) $(musl_flags)
FLAGS_metal  = $(METAL_CXXFLAGS) $(TP_METAL_CFLAGS) $(TP_FLAGS) hot: $(HOT_SOURCES)
FLAGS_hosted = $(HOSTED_CXXFLAGS) $(TP_HOSTED_CFLAGS) $(TP_FLAGS) $(SAN) $(NATIVE)
# The objects that are linked: when a source goes away, its program is linked again.
FLAGS_objects = $(KERNEL_LIB_OBJS) $(METAL_OBJS) $(HOSTED_OBJS) $(LINK_METAL)

# The compile rules of one folder of objects below $(BUILD): $(1) the folder, $(2) the file in
# flags/ that it depends on, $(3) the word that is printed, $(4) C flags of third-party sources,
# $(5) C++ flags.
define world_rules
$(BUILD)/$(1)/third_party/%.c.o: third_party/%.c $(BUILD)/flags/$(2) | $(SETUP_STAMP)
	@mkdir -p $$(@D)
	@$$(CC) $(4) $$(call third_party_flags,$$<) -c $$< -o $$@
$(BUILD)/$(1)/%.cpp.o: %.cpp $(BUILD)/flags/$(2) | $(SETUP_STAMP)
	@mkdir -p $$(@D); echo "  $(3) $$<"
	@$$(CXX) $(5) -c $$< -o $$@
endef
$(eval $(call world_rules,metal,metal,metal  ,$$(TP_METAL_CFLAGS),$$(METAL_CXXFLAGS) $$(call metal_opt,$$<)))
$(eval $(call world_rules,hosted-obj,hosted,hosted ,$$(TP_HOSTED_CFLAGS),$$(HOSTED_CXXFLAGS)))
$(eval $(call world_rules,native-obj,hosted,native ,$$(TP_HOSTED_CFLAGS),$$(HOSTED_CXXFLAGS) $$(NATIVE)))
$(eval $(call world_rules,san-obj,hosted,san    ,$$(TP_HOSTED_CFLAGS) -O1 $$(SAN),$$(HOSTED_CXXFLAGS) -O1 $$(SAN) $$(TEST_FLAGS)))
$(eval $(call world_rules,tsan-obj,hosted,tsan   ,$$(TP_HOSTED_CFLAGS) -O1 $$(TSAN),$$(HOSTED_CXXFLAGS) -O1 $$(TSAN) $$(TEST_FLAGS)))
$(eval $(call world_rules,fuzz-obj,hosted,fuzz   ,$$(TP_HOSTED_CFLAGS) -O1 $$(SAN) $$(FUZZ),$$(HOSTED_CXXFLAGS) -O1 $$(SAN) $$(FUZZ)))
# GoogleTest wants exceptions and RTTI, in the test files only.
$(foreach world,san-obj tsan-obj,$(foreach tests,unit fakes,$(BUILD)/$(world)/tests/$(tests)/%.o)): \
    TEST_FLAGS = -fexceptions -frtti -Wno-shadow

$(BUILD)/metal/%.asm.o: %.asm | $(SETUP_STAMP)
	@mkdir -p $(@D); echo "  nasm    $<"
	@$(NASM) -f elf64 -I. -MD $@.d -MP -w+error $< -o $@

# ---------------------------------------------------------------- link
$(BUILD)/kernel_lib.a: $(KERNEL_LIB_OBJS) $(BUILD)/flags/objects
	@rm -f $@; $(AR) rcsD $@ $(KERNEL_LIB_OBJS)

# The linker takes from kernel_lib.a the members that are needed, as from any library.
LINK_METAL = $(LD) -nostdlib -static -O2 --gc-sections --icf=all -z max-page-size=4096 --build-id=none
$(BUILD)/bareflow.elf: $(METAL_OBJS) $(BUILD)/kernel_lib.a boot/link.ld $(BUILD)/flags/objects
	@echo "  link    $@"
	@$(LINK_METAL) -T boot/link.ld -Map $(BUILD)/bareflow.map -o $@ $(METAL_OBJS) --start-group $(BUILD)/kernel_lib.a --end-group

$(BUILD)/boot/%.bin: boot/bios/%.asm $(wildcard boot/*.inc boot/bios/*.inc) | $(SETUP_STAMP)
	@mkdir -p $(@D); $(NASM) -f bin -I. -I$(BUILD)/boot/ -w+error $< -o $@
# Stage 2 contains this unpacker. Its C++ may rely on nothing but a stack and runs at any address;
# its entry comes first.
UNPACK_CXXFLAGS = $(CXXCOMMON) $(WARN) -I. -O2 -MMD -MP -ffreestanding -fPIE -mgeneral-regs-only -mno-red-zone \
            -fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none -fno-ident -ffunction-sections
$(BUILD)/boot/bios/unpack.o: boot/bios/unpack.cpp Makefile | $(SETUP_STAMP)
	@mkdir -p $(@D); $(CXX) $(UNPACK_CXXFLAGS) -c $< -o $@
$(BUILD)/boot/unpack.bin: $(BUILD)/boot/bios/unpack.o boot/bios/unpack.ld
	@$(LD) -nostdlib -static --build-id=none --oformat binary -T boot/bios/unpack.ld $< -o $@
$(BUILD)/boot/stage2.bin: $(BUILD)/boot/unpack.bin

$(BUILD)/fluid_llama.img: $(BUILD)/bareflow.elf $(BUILD)/boot/stage1.bin $(BUILD)/boot/stage2.bin \
                          $(DEFAULT_MODEL) tools/make_image.py
	@echo "  image   $@"
	@$(PYTHON) tools/make_image.py --stage1 $(BUILD)/boot/stage1.bin --stage2 $(BUILD)/boot/stage2.bin \
	  --kernel $(BUILD)/bareflow.elf --model $(DEFAULT_MODEL) --output $@

hosted: $(BUILD)/hosted/bareflow
$(BUILD)/hosted/bareflow: $(HOSTED_OBJS) $(BUILD)/flags/objects
	@mkdir -p $(@D); echo "  link    $@"
	@$(CXX) -fuse-ld=lld-19 -pthread -o $@ $(HOSTED_OBJS)

# `make kernel-bench` runs this. The first lines of its source list its options.
NATIVE_SOURCES := tools/bench/kernel_native.cpp $(addprefix compute/kernels/portable/,gemv.cpp swar.cpp) \
                  $(addprefix compute/numbers/,weight_blocks.cpp quant.cpp tensor_types.cpp ops.cpp)
$(BUILD)/hosted/kernel_bench: $(call obj,hosted-obj,tools/bench/kernel_bench.cpp) $(call obj,native-obj,$(NATIVE_SOURCES)) $(HOSTED_LIB_OBJS)
	@mkdir -p $(@D); echo "  link    $@"
	@$(CXX) -fuse-ld=lld-19 -pthread -o $@ $^
kernel-bench: $(BUILD)/hosted/kernel_bench
	@$< $(BENCH_OPTIONS)

# ---------------------------------------------------------------- tests
# UNIT=<folder> builds only that folder's tests, as build/hosted/unit_tests-<folder>.
UNIT ?=
UNIT_SOURCES := $(sort $(shell find tests/unit/$(UNIT) tests/fakes -name '*.cpp' 2>/dev/null))
UNIT_BIN := $(BUILD)/hosted/unit_tests$(if $(UNIT),-$(subst /,-,$(UNIT)))
SAN_LIB := $(BUILD)/hosted/libbareflow-san.a
$(SAN_LIB): $(call obj,san-obj,$(HOSTED_PROGRAM)) \
            $(call TP_OBJS,san-obj,HOSTED)
	@mkdir -p $(@D); rm -f $@; $(AR) rcsD $@ $^
$(BUILD)/hosted/unit_tests$(if $(UNIT),-$(subst /,-,$(UNIT))): $(call obj,san-obj,$(UNIT_SOURCES)) $(SAN_LIB)
	@echo "  link    $@"
	@$(CXX) -fuse-ld=lld-19 $(SAN) -pthread -o $@ $(filter %.o,$^) $(SAN_LIB) -lgtest -lgtest_main
ifneq ($(UNIT),)
.PHONY: $(BUILD)/hosted/unit_tests
$(BUILD)/hosted/unit_tests: $(UNIT_BIN)
endif

unit: $(UNIT_BIN)
	@$(UNIT_BIN) --gtest_brief=1

# ThreadSanitizer watches the worker pool, guarded calls, the optimiser and the engine on threads.
TSAN_SOURCES := $(filter kernel_lib/%,$(KERNEL_LIB_HOSTED)) $(filter compute/% llama/% boot/%,$(PROGRAM_HOSTED)) \
                $(addprefix tests/unit/,cpu/worker_pool_test.cpp cpu/guarded_call_test.cpp jit/optimize_test.cpp \
                  jit/code_buffer_test.cpp appliance/bad_candidates_test.cpp llama/engine/engine_test.cpp llama/engine/transformer_test.cpp compute/tuning/gemv_tuner_test.cpp llama/engine/jit_engine_test.cpp) \
                appliance/bad_candidates.cpp appliance/hosted/crash_report.cpp
$(BUILD)/hosted/tsan_tests: $(call obj,tsan-obj,$(TSAN_SOURCES)) \
                             $(call obj,tsan-obj,$(filter third_party/musl/%,$(THIRD_PARTY_SOURCES_HOSTED)))
	@mkdir -p $(@D); echo "  link    $@"
	@$(CXX) -fuse-ld=lld-19 $(TSAN) -pthread -o $@ $^ -lgtest -lgtest_main
TSAN_TESTS := WorkerPoolTest.*:Guarded*Test.*:BadCandidatesTest.*:CodeBufferTest.*:OptimizeTest.*:StartTest.*:SearchTest.*:GemvTunerTest.*:JitEngineTest.*:EngineTest.AnyNumber*:TransformerTest.RandomBatches*:TransformerTest.FusedSteps*
tsan: $(BUILD)/hosted/tsan_tests
	@TSAN_OPTIONS=halt_on_error=1 $< --gtest_brief=1 --gtest_filter='$(TSAN_TESTS)'

FUZZERS := $(patsubst tests/fuzz/%_fuzz.cpp,%,$(wildcard tests/fuzz/*_fuzz.cpp))
FUZZ_SECONDS ?= 60
FUZZ_LIB_OBJS = $(call obj,fuzz-obj,$(HOSTED_PROGRAM)) \
                $(call TP_OBJS,fuzz-obj,HOSTED)
$(BUILD)/fuzz/lib.a: $(FUZZ_LIB_OBJS)
	@mkdir -p $(@D); rm -f $@; $(AR) rcsD $@ $^
$(BUILD)/fuzz/%: $(BUILD)/fuzz-obj/tests/fuzz/%_fuzz.cpp.o $(BUILD)/fuzz/lib.a
	@echo "  link    $@"; $(CXX) -fuse-ld=lld-19 $(SAN) -fsanitize=fuzzer -pthread -o $@ $< $(BUILD)/fuzz/lib.a
fuzzers: $(addprefix $(BUILD)/fuzz/,$(FUZZERS))
fuzz: fuzzers
	@tools/fuzz.sh --seconds $(FUZZ_SECONDS) $(FUZZERS)
# Runs every seed and a fixed number of mutations, which takes seconds.
fuzz-smoke: fuzzers
	@tools/fuzz.sh --runs 20000 $(FUZZERS)

# Prints how each build compiles its sources, and which these are. The checks below and
# compile_commands.json read it.
TEST_CXXFLAGS = $(HOSTED_CXXFLAGS) -fexceptions -frtti -Wno-shadow
print-build:
	@printf '%s\n' 'metal flags: $(METAL_CXXFLAGS)' 'hosted flags: $(HOSTED_CXXFLAGS)' \
	  'test flags: $(TEST_CXXFLAGS)' \
	  'metal sources: $(filter %.cpp,$(KERNEL_LIB_METAL) $(PROGRAM_METAL) $(APPLIANCE_METAL))' \
	  'hosted sources: $(filter %.cpp,$(KERNEL_LIB_HOSTED) $(PROGRAM_HOSTED) $(APPLIANCE_HOSTED))'

# Tells clangd and other readers of the sources how each of them is compiled.
compile_commands.json: FORCE | $(SETUP_STAMP)
	@$(PYTHON) tools/check/compile_database.py
# Runs clang-tidy over the sources that have changed since they passed.
lint: | $(SETUP_STAMP)
	@$(PYTHON) tools/check/check_lint.py

check: all
	@tools/check/check_format.sh
	@$(PYTHON) tools/check/check_layers.py
	@$(PYTHON) tools/check/check_words.py
	@$(PYTHON) tools/check/check_budgets.py
	@for name in shape homes tests docs headers lint; do \
	  $(PYTHON) tools/check/check_$$name.py || failed=1; done; [ -z "$$failed" ]

qemu: all
	@$(PYTHON) -m pytest -q -m 'not soak' tests/api tests/qemu tests/tools tests/golden

# One goal after the other: tests that measure time must not share the processors with a compiler.
test: setup
	@for goal in all $(BUILD)/hosted/unit_tests $(BUILD)/hosted/tsan_tests fuzzers unit tsan check fuzz-smoke qemu; do \
	  $(MAKE) --no-print-directory $(JOBS) $$goal || exit 1; done

run:
	@$(MAKE) --no-print-directory $(JOBS) all
	@exec $(PYTHON) tools/run.py --model "$(MODEL)" --port "$(PORT)" --smp "$(SMP)" --mem "$(MEM)" \
	  --nic "$(NIC)" --accel "$(ACCEL)" --vga "$(VGA)" --options "$(OPTIONS)" \
	  --fresh "$(FRESH)"

bench: all
	@$(PYTHON) tools/bench.py $(BENCH)
bench-jit: all $(BUILD)/hosted/kernel_bench
	@$(PYTHON) tools/bench.py --jit $(BENCH)
soak: all
	@$(PYTHON) -m pytest -q -m soak tests/golden tests/qemu
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=300
soak-speed: all
	@$(PYTHON) -m pytest -q -s -m soak tests/qemu/test_soak.py -k "slower $(if $(PLACE),and $(PLACE))"

clean:
	rm -rf $(BUILD)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
