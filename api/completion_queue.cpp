// The queue keeps all jobs in one fixed array, and answers which job is next by looking through it.
//
// What must hold:
// A job never moves: callers and the texts of slots point to it until release().
// Order is that of enter(). Among jobs of one state, the one with the lowest `order` comes first.
// One prompt is encoded at a time: a prompt that is being encoded comes before all that wait.
// place() returns nullptr once `max_waiting_ + slots` jobs wait or run. The array has kDrainingJobs
// more, for texts that are made and not yet taken.
// A slot's text names a job only while that text is made. The API clears the name before it
// releases the job.
#include "api/completion_queue.h"

#include <new>

#include "kernel_lib/memory/buffer.h"

namespace bareflow::api {

Status CompletionQueue::allocate(uint32_t waiting, uint32_t slots) {
    const uint32_t count = waiting + slots + kDrainingJobs;
    void *const memory = heap_allocate(count * sizeof(Job), alignof(Job));
    if (memory == nullptr) {
        return {ErrorCode::kTooLarge, "no memory for the completion queue"};
    }
    jobs_ = {static_cast<Job *>(memory), count};
    max_waiting_ = waiting;
    for (Job &job : jobs_) {
        new (&job) Job;
    }
    return {};
}

CompletionQueue::~CompletionQueue() {
    for (Job &job : jobs_) {
        job.~Job();
    }
    heap_release(jobs_.data());
}

Job *CompletionQueue::place(uint32_t slots) {
    if (waiting() + running() >= max_waiting_ + slots) {
        return nullptr;
    }
    for (Job &job : jobs_) {
        if (job.state == JobState::kFree) {
            return &job;
        }
    }
    return nullptr;
}

void CompletionQueue::enter(Job &job) {
    job.state = JobState::kWaiting;
    job.order = next_order_++;
}

void CompletionQueue::release(Job &job) {
    job.~Job();
    new (&job) Job;
}

Job *CompletionQueue::oldest(JobState state) {
    Job *found = nullptr;
    for (Job &job : jobs_) {
        if (job.state == state && (found == nullptr || job.order < found->order)) {
            found = &job;
        }
    }
    return found;
}

Job *CompletionQueue::next_to_encode() {
    Job *const job = oldest(JobState::kEncoding);
    return job != nullptr ? job : oldest(JobState::kWaiting);
}

Job *CompletionQueue::next_to_start() {
    return oldest(JobState::kReady);
}

Job *CompletionQueue::job_of(const http::Exchange &exchange) {
    for (Job &job : jobs_) {
        if (job.state != JobState::kFree && job.exchange == &exchange) {
            return &job;
        }
    }
    return nullptr;
}

void CompletionQueue::run(Job &job, llama::SlotId slot) {
    job.slot = slot;
    job.state = JobState::kRunning;
    RunningText &text = running_[slot];
    text.job = &job;
    text.paused = false;
    text.stop = false;
    StopStrings::Views room;
    text.matcher.reset(job.asked.stops.views(room));
}

uint32_t CompletionQueue::waiting() const {
    uint32_t count = 0;
    for (const Job &job : jobs_) {
        const bool waits = job.state == JobState::kWaiting || job.state == JobState::kEncoding ||
                           job.state == JobState::kReady;
        count += waits ? 1 : 0;
    }
    return count;
}

uint32_t CompletionQueue::running() const {
    uint32_t count = 0;
    for (const RunningText &text : running_) {
        count += text.job != nullptr ? 1 : 0;
    }
    return count;
}

}  // namespace bareflow::api
