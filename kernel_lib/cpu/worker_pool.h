// All processors on one job. The caller of run() publishes the job, every processor takes chunks of
// its units until none remains, and run() returns when the last chunk is done. Some processors take
// chunks from the beginning, the others from the end. So a processor mostly gets the same units as
// in the job before, and finds in its own caches what it wrote there.
//
// A processor joins a job if it comes in time. Nobody waits for a processor that is asleep, so
// run() is never slower than the caller alone plus one chunk. Processors without work look for it
// for about 500 us and then halt until they are rung: an idle machine costs nothing. Chance decides
// which processor computes a chunk; the results must not depend on it.
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
    // Computes the units [begin, end). Called on several processors at once, with distinct units.
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

    // What a processor did of the shared jobs: the jobs it took part in, their units that it
    // computed, and the time these took. Seats 0 .. seats() - 1 exist, though a processor may never
    // have taken some of them. For the caller of run(), between two calls.
    struct Share {
        uint64_t jobs = 0;
        uint64_t units = 0;
        uint64_t ticks = 0;
    };
    [[nodiscard]] uint32_t seats() const { return 1 + last_seat_.load(std::memory_order_relaxed); }
    [[nodiscard]] const Share &share(uint32_t processor) const { return shares_[processor]; }
    void clear_shares() { shares_ = {}; }
    // Off: for measuring what counting costs.
    void set_counting(bool on) { uncounted_ = !on; }

    // Called by a processor with its number, 1 .. kMaxProcessors - 1: it computes units of every
    // job until stop().
    void serve(uint32_t worker);
    // By the caller of run(): lets every serve() return. The pool cannot have workers again.
    void stop();

  private:
    // state_: how many workers are inside the job, whether others may join, and its number.
    static constexpr uint32_t kActiveMask = 0xFF;
    static constexpr uint32_t kOpen = 0x100;
    static constexpr uint32_t kJobOne = 0x200;
    static constexpr uint32_t kJobMask = ~(kOpen | kActiveMask);

    // 1: its processor has halted or is about to, and must be rung. See sleep().
    struct alignas(64) Seat {
        std::atomic<uint32_t> asleep = 0;
    };
    // Written by its processor inside a job, read by the caller of run() outside. Apart from the
    // seat, whose cache line other processors read.
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
