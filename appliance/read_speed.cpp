#include "appliance/read_speed.h"

#include <algorithm>

#include "kernel_lib/cpu/worker_pool.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow {

namespace {

using Vector [[gnu::vector_size(16)]] = long long;
constexpr size_t kVectors = 8;  // sums that are independent of each other
constexpr size_t kGrainBytes = 4096;

struct Job {
    const uint8_t *bytes;
};

void read_grains(void *context, uint32_t begin, uint32_t end) {
    const auto *from = static_cast<const Job *>(context)->bytes + size_t{begin} * kGrainBytes;
    const auto *const to = static_cast<const Job *>(context)->bytes + size_t{end} * kGrainBytes;
    Vector sums[kVectors] = {};
    for (; from != to; from += sizeof sums) {
#pragma clang loop unroll(full)
        for (size_t i = 0; i < kVectors; ++i) {
            Vector value;
            __builtin_memcpy(&value, from + i * sizeof value, sizeof value);
            sums[i] |= value;
        }
    }
    for (const Vector &sum : sums) {
        asm volatile("" : : "x"(sum));  // so that the compiler keeps the reads
    }
}

}  // namespace

uint64_t ReadSpeed::read_once(std::span<const uint8_t> piece) {
    Job job{piece.data()};
    const auto grains = static_cast<uint32_t>(piece.size() / kGrainBytes);
    const uint64_t start = platform::ticks();
    worker_pool().run(read_grains, &job, grains, std::max(grains / 16, 1u));
    const uint64_t took = std::max<uint64_t>(platform::ticks() - start, 1);
    const auto scaled =
        static_cast<unsigned __int128>(grains * kGrainBytes) * platform::ticks_per_second() / took;
    return static_cast<uint64_t>(scaled);
}

void ReadSpeed::work(uint64_t deadline_ticks) {
    while (has_work()) {
        const size_t len = std::min(bytes_.size(), kPieceBytes);
        if (at_ + len > bytes_.size()) {
            at_ = 0;
        }
        best_ = std::max(best_, read_once(bytes_.subspan(at_, len)));
        // The pieces of a large file lie far apart, so that none of them is in a cache.
        at_ += std::max(len, bytes_.size() / kPieces / kGrainBytes * kGrainBytes);
        ++done_;
        if (platform::ticks() >= deadline_ticks) {
            return;
        }
    }
}

}  // namespace bareflow
