// Measures the compiled and the generated kernels alone: `make kernel-bench`, or
// build/hosted/kernel_bench with
//
//   --type=Q8_0,Q4_0   weight types (default: all)     --variant=NAME  only this one
//   --rows=N --cols=N  of each matrix (2048 x 2048)    --mib=N         of weights in all (256)
//   --threads=1,2      rows are divided                --batch=1,16    vectors at once
//   --plans=WORD       also generated kernels with this word in their name ("r": all of them)
//   --kernel=NAME      only this one, compiled or generated, and what --native=1 adds
//   --native=1         also the portable and SWAR kernels, compiled with -O3 -march=native
//   --isa=NAME         as on a processor that has no more than this (setting `jit.isa`)
//
// The weights are several matrices, which a kernel goes through one after the other. With the
// default sizes they do not fit into a cache, so they come from memory. The time is the processor
// time of a thread: on a busy machine a figure loses precision, but stays right. With several
// threads the longest time counts. A figure is the best of several rounds. It is compared with the
// read bandwidth, which is measured by summing up the same memory.
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "compute/codegen/generators.h"
#include "compute/codegen/plans.h"
#include "compute/kernels/gemv.h"
#include "compute/kernels/instruction_set.h"
#include "compute/kernels/packed.h"
#include "compute/kernels/registry.h"
#include "compute/numbers/packing.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"
#include "kernel_lib/jit/code_buffer.h"

// Defined in tools/bench/kernel_native.cpp. `first` points to GemvVariants of the same layout.
extern "C" size_t bareflow_native_variants(uint32_t type, const void **first);

namespace {

using namespace bareflow;
using namespace bareflow::compute;

constexpr int kRounds = 5;

struct Options {
    std::vector<std::string> types;
    std::string variant;
    std::string plans;
    std::string kernel;
    bool native = false;
    std::vector<uint32_t> threads = {1, 2};
    std::vector<uint32_t> batches = {1, 16};
    uint32_t rows = 2048;
    uint32_t cols = 2048;
    uint64_t bytes = 256 << 20;
};

double thread_seconds() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Runs work(part) on `threads` threads. Seconds of the slowest thread, in the best round.
template <typename Work>
double seconds_of(uint32_t threads, const Work &work) {
    double best = 1e30;
    for (int round = 0; round < kRounds; ++round) {
        std::vector<double> taken(threads);
        std::vector<std::thread> running;
        for (uint32_t part = 0; part < threads; ++part) {
            running.emplace_back([&, part] {
                const double start = thread_seconds();
                work(part);
                taken[part] = thread_seconds() - start;
            });
        }
        for (std::thread &thread : running) {
            thread.join();
        }
        best = std::min(best, *std::max_element(taken.begin(), taken.end()));
    }
    return best;
}

double read_bandwidth(const uint8_t *memory, uint64_t bytes, uint32_t threads) {
    const double seconds = seconds_of(threads, [&](uint32_t part) {
        const uint64_t begin = bytes / threads * part / 4096 * 4096;
        const uint64_t end = begin + bytes / threads / 4096 * 4096;
        using Block = uint64_t __attribute__((vector_size(16)));
        Block sum[8] = {};
        for (uint64_t at = begin; at + 128 <= end; at += 128) {
            for (size_t i = 0; i < 8; ++i) {
                Block value;
                memcpy(&value, memory + at + 16 * i, sizeof(value));
                sum[i] += value;
            }
        }
        const Block all = sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
        volatile uint64_t kept = all[0] + all[1];
        (void)kept;
    });
    return static_cast<double>(bytes) / seconds * 1e-9;
}

// Fills memory with weights of any bits, except those that the loader refuses: scales that are not
// finite.
void fill(const TensorTypeInfo &type, uint8_t *weights, uint64_t bytes) {
    uint64_t state = 88172645463325252;
    for (uint64_t at = 0; at < bytes; at += 8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        memcpy(weights + at, &state, std::min<uint64_t>(8, bytes - at));
    }
    for (uint64_t at = 0; at + type.block_bytes <= bytes; at += type.block_bytes) {
        if (type.block_elements == 1) {
            uint8_t &top = weights[at + type.block_bytes - 1];  // about +-0.01
            top = static_cast<uint8_t>((top & 0x80) | (type.name == "F16" ? 0x20 : 0x3c));
            continue;
        }
        for (uint32_t i = 0; i < type.scales; ++i) {
            weights[at + type.scale_offset + 2 * i + 1] = 0x24;
        }
    }
}

void add_generated(const GemvShape &shape, const Options &options, jit::CodeBuffer &code,
                   std::vector<GemvVariant> &kernels) {
    for (size_t i = 0; i < gemv_plan_count(shape.type); ++i) {
        const NamedPlan &named = gemv_plan(shape.type, i);
        const bool wanted = options.kernel.empty()
                                ? named.name().find(options.plans) != std::string_view::npos
                                : named.name() == options.kernel;
        if (!wanted || !can_generate(shape, named.plan)) {
            continue;
        }
        const Generator &generator = *generator_for(shape.type, named.plan);
        const auto region =
            code.open(named.name(), generator.code_room(named.plan), generator.constant_room);
        if (!region) {
            std::fprintf(stderr, "kernel_bench: no room for more plans\n");
            return;
        }
        const auto bytes = generate_gemv(shape, named.plan, code.room(region.value()),
                                         code.constants(region.value()));
        if (!bytes) {
            std::exit(1);
        }
        const void *const start = code.seal(region.value(), bytes.value());
        kernels.push_back({named.name(),
                           reinterpret_cast<GemvKernel>(reinterpret_cast<uintptr_t>(start)), 0,
                           nullptr, named.plan.set});
    }
}

// The vectors that are multiplied, as floats and quantised, and memory for the results.
struct Vectors {
    std::vector<float> x;  // [batch][cols]
    std::vector<float> y;  // [batch][rows]
    std::vector<ActivationBuffer> buffers;
    std::vector<QuantizedActivation> xq;  // [batch], views of `buffers`
};

Vectors make_vectors(const Options &options) {
    const uint32_t most = *std::max_element(options.batches.begin(), options.batches.end());
    Vectors made;
    made.x.resize(uint64_t{options.cols} * most);
    for (size_t i = 0; i < made.x.size(); ++i) {
        const uint32_t word = static_cast<uint32_t>(i) * 2654435761u;
        made.x[i] = static_cast<float>(static_cast<int>(word >> 20) - 2048) * 0x1p-11f;
    }
    made.y.resize(uint64_t{options.rows} * most);
    for (uint32_t b = 0; b < most; ++b) {
        auto buffer = ActivationBuffer::create(options.cols);
        if (!buffer) {
            std::exit(1);
        }
        made.buffers.push_back(std::move(buffer).value());
        made.xq.push_back(made.buffers.back().view(options.cols));
        quantize_activation(made.x.data() + uint64_t{b} * options.cols, made.xq.back(),
                            ~ActivationForms{0}, 0, group_count(options.cols));
    }
    return made;
}

// The kernels that are timed for one type.
struct Field {
    std::vector<GemvVariant> kernels;
    size_t in_file_order = 0;       // the first kernels read weights as in a file, others repacked
    std::deque<std::string> names;  // the names of native kernels, which `kernels` points to
    jit::CodeBuffer code;           // holds the generated kernels
};

void add_native(uint32_t type_id, Field &field) {
    const void *first = nullptr;
    const size_t count = bareflow_native_variants(type_id, &first);
    for (size_t i = 0; i < count; ++i) {
        field.kernels.push_back(static_cast<const GemvVariant *>(first)[i]);
        GemvVariant &added = field.kernels.back();
        added.name = field.names.emplace_back("native " + std::string(added.name));
    }
}

void choose_field(TensorType type, uint64_t row_bytes, const Options &options, Field &field) {
    const std::string &only = options.kernel.empty() ? options.variant : options.kernel;
    for (const GemvVariant &variant : gemv_variants(type)) {
        if (only.empty() || only == variant.name) {
            field.kernels.push_back(variant);
        }
    }
    if (options.native) {
        add_native(static_cast<uint32_t>(type), field);
    }
    if (!(options.plans.empty() && options.kernel.empty()) &&
        field.code.create(jit::CodeBuffer::kMaxPages)) {
        add_generated({type, options.cols, row_bytes}, options, field.code, field.kernels);
    }
    field.in_file_order = field.kernels.size();
    if (!options.plans.empty() && can_pack(type, options.rows)) {
        const PackedVariants packed = packed_variants(type);
        field.kernels.insert(field.kernels.end(), packed.list.begin(),
                             packed.list.begin() + packed.count);
    }
}

// `count` matrices of one shape, side by side in memory.
struct Matrices {
    const TensorTypeInfo &info;
    uint8_t *memory;
    uint64_t row_bytes;
    uint64_t each_bytes;
    uint64_t count;
};

void repack(const Matrices &matrices, const Options &options) {
    std::vector<uint8_t> matrix(matrices.each_bytes);
    for (uint64_t m = 0; m < matrices.count; ++m) {
        uint8_t *const at = matrices.memory + m * matrices.each_bytes;
        memcpy(matrix.data(), at, matrices.each_bytes);
        repack_rows(static_cast<TensorType>(matrices.info.id), options.cols, matrices.row_bytes,
                    {matrix.data(), Packing::kFile}, at, Packing::kRows16, 0, options.rows);
    }
}

// Measures one kernel with one batch and one number of threads, and prints its line.
void measure(const GemvVariant &variant, uint32_t batch, uint32_t threads, double bandwidth,
             const Matrices &matrices, const Options &options, Vectors &vectors) {
    // Slow kernels get fewer matrices: even one is large beside the caches. With --native=1 all
    // kernels get the same number, so that they can be compared.
    const bool slow = variant.name == "portable" && !options.native;
    const uint64_t share = batch > 1 || slow ? 8 : 1;
    const uint64_t used = std::max<uint64_t>(1, matrices.count / share);
    const double seconds = seconds_of(threads, [&](uint32_t part) {
        const uint32_t begin = options.rows / threads * part;
        const uint32_t end = options.rows / threads * (part + 1);
        for (uint64_t m = 0; m < used; ++m) {
            const GemmArgs args{.weights = matrices.memory + m * matrices.each_bytes,
                                .row_bytes = matrices.row_bytes,
                                .cols = options.cols,
                                .batch = batch,
                                .x = vectors.x.data(),
                                .x_stride = options.cols,
                                .xq = vectors.xq.data(),
                                .y = vectors.y.data(),
                                .y_stride = options.rows};
            run_gemm(variant.kernel, variant.matrix, args, begin, end);
        }
    });
    const double macs =
        static_cast<double>(options.rows) * options.cols * static_cast<double>(used) * batch;
    const double gb = static_cast<double>(used * matrices.each_bytes) / seconds * 1e-9;
    std::printf("%-7s %-18s %5u %7u %9.2f %8.2f %5.0f %%%s\n",
                std::string(matrices.info.name).c_str(), std::string(variant.name).c_str(), batch,
                threads, macs / seconds * 1e-9, gb, 100 * gb / bandwidth,
                batch > 1 && variant.matrix == nullptr ? "  (one by one)" : "");
    std::fflush(stdout);
}

void bench_type(const TensorTypeInfo &info, const Options &options, uint8_t *memory,
                const std::vector<double> &bandwidth) {
    const uint64_t row_bytes = uint64_t{options.cols} / info.block_elements * info.block_bytes;
    const uint64_t each_bytes = row_bytes * options.rows;
    const Matrices matrices{info, memory, row_bytes, each_bytes,
                            std::max<uint64_t>(1, options.bytes / each_bytes)};
    fill(info, memory, each_bytes * matrices.count);
    Vectors vectors = make_vectors(options);
    Field field;
    choose_field(static_cast<TensorType>(info.id), row_bytes, options, field);
    for (size_t index = 0; index < field.kernels.size(); ++index) {
        if (index == field.in_file_order) {
            repack(matrices, options);
        }
        for (const uint32_t batch : options.batches) {
            for (size_t t = 0; t < options.threads.size(); ++t) {
                measure(field.kernels[index], batch, options.threads[t], bandwidth[t], matrices,
                        options, vectors);
            }
        }
    }
}

std::vector<std::string> parts_of(std::string_view text) {
    std::vector<std::string> out;
    while (!text.empty()) {
        const size_t comma = std::min(text.find(','), text.size());
        out.emplace_back(text.substr(0, comma));
        text.remove_prefix(std::min(comma + 1, text.size()));
    }
    return out;
}

std::vector<uint32_t> numbers_of(std::string_view text) {
    std::vector<uint32_t> out;
    for (const std::string &part : parts_of(text)) {
        out.push_back(static_cast<uint32_t>(std::strtoul(part.c_str(), nullptr, 10)));
        if (out.back() == 0) {
            std::fprintf(stderr, "kernel_bench: '%s' is no number above 0\n", part.c_str());
            std::exit(2);
        }
    }
    return out;
}

}  // namespace

int main(int argc, char **argv) {
    Options options;
    for (int i = 1; i < argc; ++i) {
        const std::string_view argument = argv[i];
        const size_t equals = std::min(argument.find('='), argument.size());
        const std::string_view key = argument.substr(0, equals);
        const std::string_view value = argument.substr(std::min(equals + 1, argument.size()));
        if (key == "--type") {
            options.types = parts_of(value);
        } else if (key == "--variant") {
            options.variant = value;
        } else if (key == "--isa" && instruction_set_named(value)) {
            limit_instruction_set(*instruction_set_named(value));
        } else if (key == "--native") {
            options.native = value == "1";
        } else if (key == "--kernel") {
            options.kernel = value;
        } else if (key == "--plans") {
            options.plans = value;
        } else if (key == "--threads" && !value.empty()) {
            options.threads = numbers_of(value);
        } else if (key == "--batch" && !value.empty()) {
            options.batches = numbers_of(value);
        } else if (key == "--rows" && !value.empty()) {
            options.rows = numbers_of(value)[0];
        } else if (key == "--cols" && !value.empty()) {
            options.cols = numbers_of(value)[0];
        } else if (key == "--mib" && !value.empty()) {
            options.bytes = uint64_t{numbers_of(value)[0]} << 20;
        } else {
            std::fprintf(stderr, "kernel_bench: what is '%s'? See tools/bench/kernel_bench.cpp\n",
                         argv[i]);
            return 2;
        }
    }
    // At least enough for one matrix of the widest type, whatever --mib says.
    const uint64_t room = std::max(options.bytes, uint64_t{options.rows} * options.cols * 4);
    auto *const memory = static_cast<uint8_t *>(
        mmap(nullptr, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (memory == MAP_FAILED) {
        std::fprintf(stderr, "kernel_bench: no memory\n");
        return 1;
    }
    madvise(memory, room, MADV_HUGEPAGE);
    memset(memory, 1, room);
    std::vector<double> bandwidth;
    for (const uint32_t threads : options.threads) {
        bandwidth.push_back(read_bandwidth(memory, options.bytes, threads));
        std::printf("read bandwidth, %u thread%s: %.1f GB/s\n", threads, threads == 1 ? "" : "s",
                    bandwidth.back());
    }
    std::printf("type    variant            batch threads    GMAC/s     GB/s of bandwidth\n");
    for (uint32_t id = 0; id <= kLastTensorTypeId; ++id) {
        const TensorTypeInfo *const info = find_tensor_type(id);
        const bool wanted =
            info != nullptr && info->supported &&
            (options.types.empty() || std::find(options.types.begin(), options.types.end(),
                                                std::string(info->name)) != options.types.end());
        if (wanted && options.cols % info->block_elements == 0) {
            bench_type(*info, options, memory, bandwidth);
        }
    }
    return 0;
}
