# BareFlow. `make run` boots it, `make test` proves it, `make help` lists the rest.
#
# Two worlds from one tree: METAL (bareflow.elf, the bootable image) and HOSTED (an ordinary Linux
# program, tests, fuzzers). A source belongs to both unless it says otherwise by its name:
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
# What tests and fuzzers link: the hosted program without its main().
HOSTED_PROGRAM    := $(KERNEL_LIB_HOSTED) $(PROGRAM_HOSTED) $(filter-out appliance/hosted/main.cpp,$(APPLIANCE_HOSTED))

# ---------------------------------------------------------------- flags
WARN     := -Wall -Wextra -Werror -Wshadow -Wno-unused-parameter
# -ffile-prefix-map and no dates: the same tree gives the same bytes in any folder.
COMMON   := -O2 -g -MMD -MP -I. -ffp-contract=off -fno-fast-math -fno-strict-aliasing \
            -ffile-prefix-map="$(CURDIR)"=. -fno-ident
CXXCOMMON := -std=c++20 -fno-exceptions -fno-rtti -fno-threadsafe-statics -D_GLIBCXX_ASSERTIONS
METAL_ARCH := -ffreestanding -fno-builtin-printf -mno-red-zone -fno-pic -mcmodel=small \
            -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -fno-use-cxa-atexit \
            -fno-omit-frame-pointer -mno-avx -fno-vectorize -fno-slp-vectorize -fcf-protection=none \
            -fstack-protector-strong -mstack-protector-guard=global
HOSTED_ARCH := -fno-omit-frame-pointer -pthread
# vptr needs RTTI on both sides; only the tests have it.
SAN      := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-sanitize=vptr
# Size first on metal, except where time is spent: the engine's arithmetic and the memory routines.
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

.PHONY: all setup setup-train setup-browser setup-bench setup-reference hosted run test check unit tsan qemu bench bench-jit kernel-bench fuzz fuzzers fuzz-smoke soak soak-speed clean help
all: $(BUILD)/fluid_llama.img $(BUILD)/bareflow.elf $(BUILD)/kernel_lib.a $(BUILD)/hosted/bareflow

help:
	@sed -n 's/^## //p' $(firstword $(MAKEFILE_LIST))

## make            build the image, bareflow.elf, kernel_lib.a and the hosted program
## make run        boot it in QEMU and serve  (MODEL PORT SMP MEM NIC ACCEL VGA OPTIONS;
##                 FRESH=1: what was tuned is forgotten)
## make test       set up, build, and pass every test
## make hosted     the same program for Linux: build/hosted/bareflow
## make unit       unit tests (UNIT=llama: of one folder);  make qemu: the API, the image, figures against numpy
## make tsan       the threads under ThreadSanitizer
## make check      format, layers, size budgets, words
## make bench      figures for this machine, hosted and emulated (BENCH="--quick hosted"...)
## make bench-jit  what the optimiser is worth, and how fast it gets there
## make kernel-bench   the compiled kernels alone (BENCH_OPTIONS: see tools/bench/kernel_bench.cpp)
## make fuzz       fuzz every parser for FUZZ_SECONDS (60) each
## make soak       the long tests
## make soak-speed of them: nothing is slower after optimisation than before (PLACE=smp1, smp2 or hosted; 30 minutes each)
## make setup      install what is missing (called by the others when needed)
## make setup-train, setup-browser, setup-bench   what only these need
## make setup-reference   build llama.cpp for comparison (15 minutes; soak and bench use it)
## make clean      remove build/ (third-party sources stay)

# ---------------------------------------------------------------- set-up
setup:
	@tools/setup/setup.sh build run test
setup-train setup-browser setup-bench setup-reference: setup-%:
	@tools/setup/setup.sh $*
# Any goal that builds passes through here; the script is silent when nothing is missing.
$(SETUP_STAMP): tools/setup/setup.sh third_party/pins.tsv
	@tools/setup/setup.sh build run test
	@mkdir -p $(@D) && touch $@

# Third-party sources appear by the set-up; make them (and anything compiled) depend on it.
$(THIRD_PARTY_FILES): $(SETUP_STAMP) ;

# ---------------------------------------------------------------- compile
# Flags in a file that changes only when they do, so that changing them rebuilds what they govern.
$(BUILD)/flags/%: FORCE
	@mkdir -p $(@D); printf '%s\n' '$(FLAGS_$*)' | cmp -s - $@ || printf '%s\n' '$(FLAGS_$*)' > $@
# In a recipe: as many jobs as processors, unless the user said how many.
JOBS = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))
FORCE:
.PRECIOUS: $(BUILD)/flags/%
TP_FLAGS     = $(lwip_flags) $(llhttp_flags) $(musl_flags)
FLAGS_metal  = $(METAL_CXXFLAGS) $(TP_METAL_CFLAGS) $(TP_FLAGS) hot: $(HOT_SOURCES)
FLAGS_hosted = $(HOSTED_CXXFLAGS) $(TP_HOSTED_CFLAGS) $(TP_FLAGS) $(SAN)
# What is linked: a source that goes away relinks what it was in.
FLAGS_objects = $(KERNEL_LIB_OBJS) $(METAL_OBJS) $(HOSTED_OBJS) $(LINK_METAL)

$(BUILD)/metal/third_party/%.c.o: third_party/%.c $(BUILD)/flags/metal | $(SETUP_STAMP)
	@mkdir -p $(@D)
	@$(CC) $(TP_METAL_CFLAGS) $(call third_party_flags,$<) -c $< -o $@
$(BUILD)/metal/%.cpp.o: %.cpp $(BUILD)/flags/metal | $(SETUP_STAMP)
	@mkdir -p $(@D); echo "  metal   $<"
	@$(CXX) $(METAL_CXXFLAGS) $(call metal_opt,$<) -c $< -o $@
$(BUILD)/metal/%.asm.o: %.asm | $(SETUP_STAMP)
	@mkdir -p $(@D); echo "  nasm    $<"
	@$(NASM) -f elf64 -I. -MD $@.d -MP -w+error $< -o $@

$(BUILD)/hosted-obj/third_party/%.c.o: third_party/%.c $(BUILD)/flags/hosted | $(SETUP_STAMP)
	@mkdir -p $(@D)
	@$(CC) $(TP_HOSTED_CFLAGS) $(call third_party_flags,$<) -c $< -o $@
$(BUILD)/hosted-obj/%.cpp.o: %.cpp $(BUILD)/flags/hosted | $(SETUP_STAMP)
	@mkdir -p $(@D); echo "  hosted  $<"
	@$(CXX) $(HOSTED_CXXFLAGS) -c $< -o $@

$(BUILD)/san-obj/third_party/%.c.o: third_party/%.c $(BUILD)/flags/hosted | $(SETUP_STAMP)
	@mkdir -p $(@D)
	@$(CC) $(TP_HOSTED_CFLAGS) -O1 $(SAN) $(call third_party_flags,$<) -c $< -o $@
$(BUILD)/san-obj/%.cpp.o: %.cpp $(BUILD)/flags/hosted | $(SETUP_STAMP)
	@mkdir -p $(@D); echo "  san     $<"
	@$(CXX) $(HOSTED_CXXFLAGS) -O1 $(SAN) $(SAN_EXTRA) -c $< -o $@

# ---------------------------------------------------------------- link
$(BUILD)/kernel_lib.a: $(KERNEL_LIB_OBJS) $(BUILD)/flags/objects
	@rm -f $@; $(AR) rcsD $@ $(KERNEL_LIB_OBJS)

# kernel_lib.a goes in whole members at a time as needed, like any library.
LINK_METAL = $(LD) -nostdlib -static -O2 --gc-sections --icf=all -z max-page-size=4096 --build-id=none
$(BUILD)/bareflow.elf: $(METAL_OBJS) $(BUILD)/kernel_lib.a boot/link.ld $(BUILD)/flags/objects
	@echo "  link    $@"
	@$(LINK_METAL) -T boot/link.ld -Map $(BUILD)/bareflow.map -o $@ $(METAL_OBJS) --start-group $(BUILD)/kernel_lib.a --end-group

$(BUILD)/boot/%.bin: boot/bios/%.asm $(wildcard boot/*.inc boot/bios/*.inc) | $(SETUP_STAMP)
	@mkdir -p $(@D); $(NASM) -f bin -I. -I$(BUILD)/boot/ -w+error $< -o $@
# Stage 2 unpacks the kernel: C++ for nothing but a stack, wherever it may lie, its entry first.
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

# What `make kernel-bench` runs; see its first lines for options.
NATIVE_SOURCES := tools/bench/kernel_native.cpp $(addprefix compute/kernels/portable/,gemv.cpp swar.cpp) \
                  $(addprefix compute/numbers/,weight_blocks.cpp quant.cpp tensor_types.cpp ops.cpp)
$(BUILD)/native-obj/%.cpp.o: %.cpp $(BUILD)/flags/hosted | $(SETUP_STAMP)
	@mkdir -p $(@D); echo "  native  $<"
	@$(CXX) $(HOSTED_CXXFLAGS) -O3 -march=native -Wno-invalid-feature-combination -Dcompute=compute_native -c $< -o $@
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
# GoogleTest wants exceptions and RTTI in the test files only.
$(BUILD)/san-obj/tests/unit/%.o: SAN_EXTRA = -fexceptions -frtti -Wno-shadow
$(BUILD)/san-obj/tests/fakes/%.o: SAN_EXTRA = -fexceptions -frtti -Wno-shadow
ifneq ($(UNIT),)
.PHONY: $(BUILD)/hosted/unit_tests
$(BUILD)/hosted/unit_tests: $(UNIT_BIN)
endif

unit: $(UNIT_BIN)
	@$(UNIT_BIN) --gtest_brief=1

# The worker pool, guarded calls, the optimiser and the engine on several threads under ThreadSanitizer.
TSAN := -fsanitize=thread
TSAN_SOURCES := $(filter kernel_lib/%,$(KERNEL_LIB_HOSTED)) $(filter compute/% llama/% boot/%,$(PROGRAM_HOSTED)) \
                $(addprefix tests/unit/,cpu/worker_pool_test.cpp cpu/guarded_call_test.cpp jit/optimize_test.cpp \
                  jit/code_buffer_test.cpp appliance/bad_candidates_test.cpp llama/engine/engine_test.cpp llama/engine/transformer_test.cpp compute/tuning/gemv_tuner_test.cpp llama/engine/jit_engine_test.cpp) \
                appliance/bad_candidates.cpp appliance/hosted/crash_report.cpp
$(BUILD)/tsan-obj/third_party/%.c.o: third_party/%.c $(BUILD)/flags/hosted | $(SETUP_STAMP)
	@mkdir -p $(@D)
	@$(CC) $(TP_HOSTED_CFLAGS) -O1 $(TSAN) $(call third_party_flags,$<) -c $< -o $@
$(BUILD)/tsan-obj/%.cpp.o: %.cpp $(BUILD)/flags/hosted | $(SETUP_STAMP)
	@mkdir -p $(@D); echo "  tsan    $<"
	@$(CXX) $(HOSTED_CXXFLAGS) -O1 $(TSAN) $(SAN_EXTRA) -c $< -o $@
$(BUILD)/tsan-obj/tests/unit/%.o: SAN_EXTRA = -fexceptions -frtti -Wno-shadow
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
$(BUILD)/fuzz-obj/third_party/%.c.o: third_party/%.c $(BUILD)/flags/hosted | $(SETUP_STAMP)
	@mkdir -p $(@D)
	@$(CC) $(TP_HOSTED_CFLAGS) -O1 $(SAN) -fsanitize=fuzzer-no-link $(call third_party_flags,$<) -c $< -o $@
$(BUILD)/fuzz-obj/%.cpp.o: %.cpp $(BUILD)/flags/hosted | $(SETUP_STAMP)
	@mkdir -p $(@D)
	@$(CXX) $(HOSTED_CXXFLAGS) -O1 $(SAN) -fsanitize=fuzzer-no-link -c $< -o $@
$(BUILD)/fuzz/lib.a: $(FUZZ_LIB_OBJS)
	@mkdir -p $(@D); rm -f $@; $(AR) rcsD $@ $^
$(BUILD)/fuzz/%: $(BUILD)/fuzz-obj/tests/fuzz/%_fuzz.cpp.o $(BUILD)/fuzz/lib.a
	@echo "  link    $@"; $(CXX) -fuse-ld=lld-19 $(SAN) -fsanitize=fuzzer -pthread -o $@ $< $(BUILD)/fuzz/lib.a
fuzzers: $(addprefix $(BUILD)/fuzz/,$(FUZZERS))
fuzz: fuzzers
	@tools/fuzz.sh --seconds $(FUZZ_SECONDS) $(FUZZERS)
# Every seed plus a fixed number of mutations: seconds, not minutes.
fuzz-smoke: fuzzers
	@tools/fuzz.sh --runs 20000 $(FUZZERS)

check: all
	@tools/check/check_format.sh
	@$(PYTHON) tools/check/check_layers.py
	@$(PYTHON) tools/check/check_words.py
	@$(PYTHON) tools/check/check_budgets.py

qemu: all
	@$(PYTHON) -m pytest -q -m 'not soak' tests/api tests/qemu tests/tools tests/golden

# One after the other: tests that watch the clock don't share it with a compiler.
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
