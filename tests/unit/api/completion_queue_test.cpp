// The order of requests in a queue of three that wait and two that run: first come, first served,
// and no place beyond the limit.
#include "api/completion_queue.h"

#include <gtest/gtest.h>

#include "tests/unit/http/fake_exchange.h"

namespace bareflow::api {
namespace {

class CompletionQueueTest : public ::testing::Test {
  protected:
    static constexpr uint32_t kWaiting = 3;
    static constexpr uint32_t kSlots = 2;

    void SetUp() override { ASSERT_TRUE(queue_.allocate(kWaiting, kSlots).ok()); }
    Job *enter() {
        Job *job = queue_.place(kSlots);
        if (job != nullptr) {
            queue_.enter(*job);
        }
        return job;
    }

    CompletionQueue queue_;
};

TEST_F(CompletionQueueTest, IsEmptyAtFirst) {
    EXPECT_EQ(queue_.waiting(), 0u);
    EXPECT_EQ(queue_.running(), 0u);
    EXPECT_EQ(queue_.next_to_encode(), nullptr);
    EXPECT_EQ(queue_.next_to_start(), nullptr);
}

TEST_F(CompletionQueueTest, FirstComeFirstServed) {
    Job *first = enter();
    Job *second = enter();
    Job *third = enter();
    EXPECT_EQ(queue_.next_to_encode(), first);
    CompletionQueue::release(*first);
    Job *fourth = enter();
    EXPECT_EQ(fourth, first) << "the place is used again";
    EXPECT_EQ(queue_.next_to_encode(), second) << "and its job is the last one";
    second->state = JobState::kReady;
    third->state = JobState::kReady;
    EXPECT_EQ(queue_.next_to_start(), second);
    EXPECT_EQ(queue_.next_to_encode(), fourth);
}

TEST_F(CompletionQueueTest, AStartedEncodingIsFinishedFirst) {
    Job *first = enter();
    Job *second = enter();
    second->state = JobState::kEncoding;
    EXPECT_EQ(queue_.next_to_encode(), second);
    second->state = JobState::kReady;
    EXPECT_EQ(queue_.next_to_encode(), first);
}

TEST_F(CompletionQueueTest, HasRoomForSlotsAndTheQueueBehindThem) {
    for (uint32_t i = 0; i < kWaiting + kSlots; ++i) {
        ASSERT_NE(enter(), nullptr) << i;
    }
    EXPECT_EQ(queue_.place(kSlots), nullptr);
    EXPECT_EQ(queue_.waiting(), kWaiting + kSlots);
    Job *job = queue_.next_to_encode();
    queue_.run(*job, 1);
    EXPECT_EQ(queue_.running(), 1u);
    EXPECT_EQ(queue_.place(kSlots), nullptr) << "it still counts";
    queue_.text(1).job = nullptr;
    job->state = JobState::kDraining;
    EXPECT_NE(queue_.place(kSlots), nullptr) << "text that is made does not";
}

TEST_F(CompletionQueueTest, ClientsThatDoNotTakeTheirTextFillItAtLast) {
    uint32_t made = 0;
    for (Job *job = enter(); job != nullptr; job = enter()) {
        job->state = JobState::kDraining;
        ++made;
    }
    EXPECT_EQ(made, kWaiting + kSlots + CompletionQueue::kDrainingJobs);
}

TEST_F(CompletionQueueTest, RunStartsAFreshText) {
    Job *job = enter();
    const std::string_view stops[] = {"END"};
    job->asked.stops.copy(stops);
    RunningText &text = queue_.text(1);
    text.paused = true;
    text.stop = true;
    queue_.run(*job, 1);
    EXPECT_EQ(job->state, JobState::kRunning);
    EXPECT_EQ(job->slot, 1u);
    EXPECT_EQ(text.job, job);
    EXPECT_FALSE(text.paused);
    EXPECT_FALSE(text.stop);
    EXPECT_EQ(text.matcher.put("the END"), "the ");
    EXPECT_TRUE(text.matcher.matched());
}

TEST_F(CompletionQueueTest, FindsTheJobOfAnExchange) {
    http::FakeExchange mine;
    http::FakeExchange other;
    Job *job = enter();
    job->exchange = &mine;
    EXPECT_EQ(queue_.job_of(mine), job);
    EXPECT_EQ(queue_.job_of(other), nullptr);
    CompletionQueue::release(*job);
    EXPECT_EQ(queue_.job_of(mine), nullptr);
}

}  // namespace
}  // namespace bareflow::api
