// All processors on one piece of work: whoever owns the work publishes it, every processor takes
// chunks until none is left, and run() returns when the last chunk is done. Some take them from the
// beginning, the others from the end, and they meet where they meet: so a processor mostly finds
// the same units as in the last piece of work, and what it wrote there in its own caches.
//
// A processor joins if it comes in time; nobody waits for one that is asleep, so run() is never
// slower than the caller alone plus one chunk. Processors without work look for it for some 500 us
// and then halt until they are rung: an idle machine costs nothing. Which processor computes a
// chunk is left to chance; what is computed must not depend on it.
//
// The same source on bare metal (halt, inter-processor interrupt) and hosted (futex). No
// allocation.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace bareflow {

class WorkerPool {
  public:
    static constexpr uint32_t kMaxProcessors = 16;
    // Does the units [begin, end). Called on several processors at once, with distinct units.
    using Task = void (*)(void *context, uint32_t begin, uint32_t end);

    constexpr WorkerPool() = default;
    WorkerPool(const WorkerPool &) = delete;
    WorkerPool &operator=(const WorkerPool &) = delete;

    // Processors that take part, the caller of run() included.
    [[nodiscard]] uint32_t size() const { return 1 + workers_.load(std::memory_order_relaxed); }

    // All units of [0, count), at most `chunk` >= 1 at a time. Everything written before is seen by
    // the tasks, everything the tasks wrote is seen afterwards. One caller, always the same
    // processor (the boot processor); not from a task, not from an interrupt handler.
    void run(Task task, void *context, uint32_t count, uint32_t chunk);

    // What a processor did of the work that was shared: pieces of work it had a part in, units of
    // them, and the time they took. Seats 0 .. seats() - 1, of which some may never have been
    // taken. By the caller of run(), between two calls.
    struct Share {
        uint64_t jobs = 0;
        uint64_t units = 0;
        uint64_t ticks = 0;
    };
    [[nodiscard]] uint32_t seats() const { return 1 + last_seat_.load(std::memory_order_relaxed); }
    [[nodiscard]] const Share &share(uint32_t processor) const { return shares_[processor]; }
    void clear_shares() { shares_ = {}; }
    // Off: to see what counting costs.
    void set_counting(bool on) { uncounted_ = !on; }

    // A processor offers itself for as long as the pool lives, as number 1 .. kMaxProcessors - 1;
    // returns after stop().
    void serve(uint32_t worker);
    // By the caller of run(): sends every worker home. The pool cannot be used with workers again.
    void stop();

  private:
    // state_: how many workers are inside the job, whether others may join, and its number.
    static constexpr uint32_t kActiveMask = 0xFF;
    static constexpr uint32_t kOpen = 0x100;
    static constexpr uint32_t kJobOne = 0x200;
    static constexpr uint32_t kJobMask = ~(kOpen | kActiveMask);

    // 1: its processor is about to halt, or halted, and must be rung. See sleep().
    struct alignas(64) Seat {
        std::atomic<uint32_t> asleep = 0;
    };
    // Written by its processor inside a job, read by the caller of run() outside. Not in its seat,
    // which others look at.
    struct alignas(64) OwnShare : Share {};

    template <typename Reason>
    void sleep(uint32_t processor, Reason reason);
    void ring(uint32_t processor);
    void work(uint32_t processor);
    [[nodiscard]] uint32_t take_chunks(bool from_end);
    [[nodiscard]] bool join(uint32_t job);
    void leave();

    alignas(64) std::atomic<uint32_t> state_ = 0;
    // The units that nobody has taken: the first in the low half, the end in the high one.
    alignas(64) std::atomic<uint64_t> left_ = 0;
    // Written only while nobody is inside a job.
    alignas(64) Task task_ = nullptr;
    void *context_ = nullptr;
    uint32_t chunk_ = 0;
    bool uncounted_ = false;
    uint64_t spin_ticks_ = 0;  // of the caller of run()
    // All zero at first, so that the program's own pool takes no room in the image.
    std::atomic<uint32_t> workers_ = 0;
    std::atomic<uint32_t> last_seat_ = 0;  // the highest number that ever served
    std::atomic<bool> stopping_ = false;
    std::array<Seat, kMaxProcessors> seats_{};
    std::array<OwnShare, kMaxProcessors> shares_{};
};

// The program's.
[[nodiscard]] WorkerPool &worker_pool();

// Starts processors (hosted: threads) that serve worker_pool(), so that `processors` of them take
// part, the caller included; 0: as many as there are. Says in the log what it could not start.
// Returns how many take part. Boot processor, once, when the clock runs.
uint32_t start_workers(uint32_t processors);

}  // namespace bareflow
