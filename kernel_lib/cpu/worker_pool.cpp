// What must hold: no task runs outside run(), and no unit is computed twice or left out. No
// processor sleeps through a job or through the end of one (see sleep()).
#include "kernel_lib/cpu/worker_pool.h"

#include "kernel_lib/cpu/worker_wait.h"
#include "kernel_lib/platform/platform.h"
#include "kernel_lib/platform/ticks.h"

namespace bareflow {

namespace {

// How long a processor looks for work before it halts: longer than the single-handed operations
// between two shared ones, much shorter than anything a person or the host's bill notices.
constexpr uint64_t kSpinUs = 500;

constexpr uint64_t range(uint32_t begin, uint32_t end) {
    return begin | uint64_t{end} << 32;
}

constinit WorkerPool the_pool;

}  // namespace

WorkerPool &worker_pool() {
    return the_pool;
}

// Halts until rung, unless `reason()` no longer holds.
//
// No wake-up is lost. The sleeper writes asleep = 1 and then reads what `reason` looks at. The
// processor that ends the reason writes that first and then reads asleep. Both pairs are
// sequentially consistent, so at least one of the two sees the other's write. Either the sleeper
// finds its reason gone and does not halt, or the other one finds asleep = 1, clears it and rings.
//
// A ring between the sleeper's check and its halt is not lost either: worker_wait() compares asleep
// once more at a point from which on a ring is kept. On metal, interrupts are off until the HLT;
// hosted, the kernel compares under its lock.
template <typename Reason>
void WorkerPool::sleep(uint32_t processor, Reason reason) {
    std::atomic<uint32_t> &asleep = seats_[processor].asleep;
    asleep.store(1, std::memory_order_seq_cst);
    if (reason()) {
        worker_wait(asleep);
    }
    asleep.store(0, std::memory_order_seq_cst);
}

void WorkerPool::ring(uint32_t processor) {
    std::atomic<uint32_t> &asleep = seats_[processor].asleep;
    // Read before it is written: the cache line of a processor that is awake stays where it is.
    if (asleep.load(std::memory_order_seq_cst) != 0 &&
        asleep.exchange(0, std::memory_order_seq_cst) != 0) {
        worker_ring(processor, asleep);
    }
}

[[gnu::noinline]] void WorkerPool::work(uint32_t processor) {
    const uint64_t begin = uncounted_ ? 0 : platform::ticks();
    const uint32_t units = take_chunks(processor % 2 != 0);
    if (!uncounted_) {
        Share &share = shares_[processor];
        ++share.jobs;
        share.units += units;
        share.ticks += platform::ticks() - begin;
    }
}

// Returns the number of units it took. Chunks become smaller towards the end, because all wait for
// the processor that took the last one. A chunk is half of a fair share of the units that remain,
// but at least an eighth of `chunk_`.
uint32_t WorkerPool::take_chunks(bool from_end) {
    uint32_t taken = 0;
    const uint32_t shares = 2 * size();
    const uint32_t least = chunk_ / 8 == 0 ? 1 : chunk_ / 8;
    uint64_t left = left_.load(std::memory_order_relaxed);
    for (;;) {
        const auto begin = static_cast<uint32_t>(left);
        const auto end = static_cast<uint32_t>(left >> 32);
        if (begin == end) {
            return taken;
        }
        const uint32_t share = (end - begin) / shares;
        uint32_t units = share < least ? least : share < chunk_ ? share : chunk_;
        units = units < end - begin ? units : end - begin;
        const uint32_t first = from_end ? end - units : begin;
        const uint64_t rest = from_end ? range(begin, first) : range(begin + units, end);
        if (left_.compare_exchange_weak(left, rest, std::memory_order_relaxed)) {
            task_(context_, first, first + units);
            taken += units;
            left = left_.load(std::memory_order_relaxed);
        }
    }
}

void WorkerPool::run(Task task, void *context, uint32_t count, uint32_t chunk) {
    if (size() == 1 || count <= chunk) {
        return task(context, 0, count);
    }
    if (spin_ticks_ == 0) {
        spin_ticks_ = us_to_ticks(kSpinUs);
    }
    // Nobody is inside, and nobody can join until kOpen is set.
    task_ = task;
    context_ = context;
    chunk_ = chunk;
    left_.store(range(0, count), std::memory_order_relaxed);
    const uint32_t job = (state_.load(std::memory_order_relaxed) & kJobMask) + kJobOne;
    state_.store(job | kOpen, std::memory_order_seq_cst);
    const uint32_t last = last_seat_.load(std::memory_order_relaxed);
    for (uint32_t worker = 1; worker <= last; ++worker) {
        ring(worker);
    }
    work(0);

    // The barrier: no other processor joins, and those inside finish the chunk they have.
    const auto busy = [this] {
        return (state_.load(std::memory_order_seq_cst) & kActiveMask) != 0;
    };
    if ((state_.fetch_and(~kOpen, std::memory_order_seq_cst) & kActiveMask) == 0) {
        return;
    }
    const uint64_t since = platform::ticks();
    while (busy()) {
        worker_pause();
        if (platform::ticks() - since > spin_ticks_) {
            sleep(0, busy);
        }
    }
}

bool WorkerPool::join(uint32_t job) {
    uint32_t state = state_.load(std::memory_order_relaxed);
    while ((state & kOpen) != 0 && (state & kJobMask) == job) {
        if (state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire,
                                         std::memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

void WorkerPool::leave() {
    const uint32_t before = state_.fetch_sub(1, std::memory_order_seq_cst);
    if ((before & (kActiveMask | kOpen)) == 1) {
        ring(0);  // the last one of a closed job
    }
}

void WorkerPool::serve(uint32_t worker) {
    if (worker == 0 || worker >= kMaxProcessors) {
        platform::panic("worker_pool: no such seat");
    }
    uint32_t last = last_seat_.load(std::memory_order_relaxed);
    while (last < worker && !last_seat_.compare_exchange_weak(last, worker)) {
    }
    const uint64_t patience = us_to_ticks(kSpinUs);
    uint32_t seen = state_.load(std::memory_order_relaxed) & kJobMask;
    workers_.fetch_add(1, std::memory_order_seq_cst);
    while (!stopping_.load(std::memory_order_acquire)) {
        const auto nothing_new = [&] {
            return (state_.load(std::memory_order_seq_cst) & kJobMask) == seen;
        };
        const uint64_t since = platform::ticks();
        while (nothing_new()) {
            worker_pause();
            if (platform::ticks() - since > patience) {
                sleep(worker, nothing_new);
            }
        }
        seen = state_.load(std::memory_order_relaxed) & kJobMask;
        if (join(seen)) {
            worker_synchronize();
            work(worker);
            leave();
        }
    }
    workers_.fetch_sub(1, std::memory_order_seq_cst);
}

void WorkerPool::stop() {
    stopping_.store(true, std::memory_order_release);
    const uint32_t job = (state_.load(std::memory_order_relaxed) & kJobMask) + kJobOne;
    state_.store(job, std::memory_order_seq_cst);
    for (uint32_t worker = 1; worker < kMaxProcessors; ++worker) {
        ring(worker);
    }
}

}  // namespace bareflow
