// The order of the requests: which job is encoded next, which one starts next, which ones run, and
// whether there is room for another. First come, first served. Answers nothing itself.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "api/completion_job.h"
#include "api/stop_matcher.h"
#include "kernel_lib/base/result.h"

namespace bareflow::api {

// The text of one slot of the generator.
struct RunningText {
    Job *job = nullptr;  // nullptr: the slot is free
    bool paused = false;
    bool stop = false;  // to be cancelled: a stop string was found, or there was no memory
    StopMatcher matcher;
};

class CompletionQueue {
  public:
    static constexpr uint32_t kMaxWaiting = 64;
    static constexpr uint32_t kMaxSlots = llama::EngineConfig::kMaxSlots;
    // Jobs beyond those that wait or run, for texts that are made and not yet taken.
    static constexpr uint32_t kDrainingJobs = 8;

    CompletionQueue() = default;
    CompletionQueue(const CompletionQueue &) = delete;
    CompletionQueue &operator=(const CompletionQueue &) = delete;
    ~CompletionQueue();

    // Makes the jobs. Call once, before anything else.
    [[nodiscard]] Status allocate(uint32_t waiting, uint32_t slots);

    // A free job for a new request, or nullptr: `slots` jobs run or are about to, and the queue
    // behind them is full, or too many clients have not taken their text.
    [[nodiscard]] Job *place(uint32_t slots);
    // Puts a job behind all others, to be encoded.
    void enter(Job &job);
    // Frees a job and its memory.
    static void release(Job &job);

    // One prompt is encoded at a time, the oldest first. nullptr: none is to be encoded.
    [[nodiscard]] Job *next_to_encode();
    // The oldest one that is encoded, or nullptr.
    [[nodiscard]] Job *next_to_start();
    // nullptr: the exchange belongs to no job.
    [[nodiscard]] Job *job_of(const http::Exchange &exchange);
    [[nodiscard]] std::span<Job> jobs() { return jobs_; }

    // The job has started in a slot.
    void run(Job &job, llama::SlotId slot);
    [[nodiscard]] RunningText &text(llama::SlotId slot) { return running_[slot]; }

    [[nodiscard]] uint32_t waiting() const;
    [[nodiscard]] uint32_t running() const;

  private:
    [[nodiscard]] Job *oldest(JobState state);

    std::span<Job> jobs_;
    uint32_t max_waiting_ = 0;
    uint64_t next_order_ = 0;
    std::array<RunningText, kMaxSlots> running_;
};

}  // namespace bareflow::api
