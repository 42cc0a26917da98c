// Jobs on a pool of threads: every unit is computed exactly once, whether workers are awake, asleep
// or falling asleep.
#include "kernel_lib/cpu/worker_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "kernel_lib/cpu/worker_wait.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow {
namespace {

// A pool with threads of its own.
class Crew {
  public:
    explicit Crew(uint32_t processors) {
        for (uint32_t worker = 1; worker < processors; ++worker) {
            threads_.emplace_back([this, worker] { pool_.serve(worker); });
        }
        while (pool_.size() < processors) {
            std::this_thread::yield();
        }
    }
    ~Crew() {
        pool_.stop();
        for (std::thread &thread : threads_) {
            thread.join();
        }
    }
    Crew(const Crew &) = delete;
    Crew &operator=(const Crew &) = delete;
    WorkerPool *operator->() { return &pool_; }

  private:
    WorkerPool pool_;
    std::vector<std::thread> threads_;
};

// Every item counts itself, without locks: a sanitizer sees two processors on one item.
struct Sheet {
    explicit Sheet(uint32_t count) : marks(count, 0) {}
    static void mark(void *context, uint32_t begin, uint32_t end) {
        auto &sheet = *static_cast<Sheet *>(context);
        EXPECT_LT(begin, end);
        for (uint32_t i = begin; i < end; ++i) {
            ++sheet.marks[i];
        }
    }
    std::vector<uint32_t> marks;
};

TEST(WorkerPoolTest, EveryItemIsDoneOnce) {
    for (const uint32_t processors : {1u, 2u, 4u}) {
        Crew crew(processors);
        for (const uint32_t count : {1u, 2u, 7u, 64u, 1000u}) {
            for (const uint32_t chunk : {1u, 3u, 64u, 5000u}) {
                Sheet sheet(count);
                crew->run(Sheet::mark, &sheet, count, chunk);
                EXPECT_EQ(sheet.marks, std::vector<uint32_t>(count, 1));
            }
        }
    }
}

TEST(WorkerPoolTest, TheCallerAloneIsEnough) {
    WorkerPool pool;
    Sheet sheet(10);
    pool.run(Sheet::mark, &sheet, 10, 1);
    EXPECT_EQ(sheet.marks, std::vector<uint32_t>(10, 1));
    EXPECT_EQ(pool.size(), 1u);
}

TEST(WorkerPoolTest, WhatEachDidAddsUp) {
    for (const uint32_t processors : {2u, 4u}) {
        Crew crew(processors);
        const auto share_all = [&] {
            WorkerPool::Share all;
            for (uint32_t i = 0; i < crew->seats(); ++i) {
                const WorkerPool::Share &share = crew->share(i);
                EXPECT_LE(share.jobs, 200u);
                EXPECT_EQ(share.jobs == 0, share.ticks == 0);
                all = {all.jobs + share.jobs, all.units + share.units, all.ticks + share.ticks};
            }
            return all;
        };
        EXPECT_EQ(crew->seats(), processors);
        const auto run = [&](int times) {
            for (int i = 0; i < times; ++i) {
                Sheet sheet(100);
                crew->run(Sheet::mark, &sheet, 100, 3);
            }
        };
        run(200);
        EXPECT_EQ(share_all().units, 20'000u);
        EXPECT_EQ(crew->share(0).jobs, 200u);
        crew->set_counting(false);
        run(10);
        EXPECT_EQ(share_all().units, 20'000u);
        crew->set_counting(true);
        crew->clear_shares();
        run(5);
        EXPECT_EQ(share_all().units, 500u);
        // A job that one processor does alone is not counted as shared.
        Sheet sheet(3);
        crew->run(Sheet::mark, &sheet, 3, 3);
        EXPECT_EQ(share_all().units, 500u);
    }
}

// The caller's units come before the worker's, also when the worker was faster.
TEST(WorkerPoolTest, TheTwoBeginAtTheTwoEnds) {
    Crew crew(2);
    struct Job {
        std::thread::id caller;
        std::vector<uint32_t> by_caller;
        std::atomic<uint32_t> done = 0;
    };
    uint32_t shared = 0;
    for (int round = 0; round < 100; ++round) {
        Job job{.caller = std::this_thread::get_id(), .by_caller = std::vector<uint32_t>(100, 0)};
        const auto task = [](void *context, uint32_t begin, uint32_t end) {
            auto &job = *static_cast<Job *>(context);
            for (uint32_t i = begin; i < end; ++i) {
                job.by_caller[i] = std::this_thread::get_id() == job.caller ? 1 : 0;
            }
            job.done += end - begin;
            // The caller waits for the other one's first chunk, but not for ever.
            for (int i = 0; i < 10'000 && job.done < 20; ++i) {
                worker_pause();
            }
        };
        crew->run(task, &job, 100, 10);
        EXPECT_TRUE(std::ranges::is_sorted(job.by_caller, std::greater<>()));
        shared += job.by_caller.back() == 0 ? 1 : 0;
    }
    EXPECT_GT(shared, 0u);
}

TEST(WorkerPoolTest, TheLargestCountDoesNotWrap) {
    Crew crew(3);
    std::atomic<uint64_t> units = 0;
    const auto add = [](void *context, uint32_t begin, uint32_t end) {
        *static_cast<std::atomic<uint64_t> *>(context) += uint64_t{end} - begin;
    };
    crew->run(add, &units, UINT32_MAX, 1u << 30);
    EXPECT_EQ(units, UINT32_MAX);
}

// Job after job with pauses around the length of the workers' patience: they are met awake, falling
// asleep and asleep. A wake-up that is lost costs time only; what must never happen is a job that
// does not end, an item lost or done twice.
TEST(WorkerPoolTest, JobsMeetWorkersInEveryState) {
    Crew crew(4);
    const uint64_t per_us = platform::ticks_per_second() / 1'000'000;
    Sheet sheet(37);
    uint32_t jobs = 0;
    for (uint32_t round = 0; round < 400; ++round) {
        for (const uint32_t pause_us : {0u, 1u, 5u, round % 7 == 0 ? 400u + round : 0u}) {
            crew->run(Sheet::mark, &sheet, 37, 1 + round % 5);
            ++jobs;
            const uint64_t until = platform::ticks() + pause_us * per_us;
            while (platform::ticks() < until) {
                worker_pause();
            }
        }
    }
    EXPECT_EQ(sheet.marks, std::vector<uint32_t>(37, jobs));
}

// The sleeping worker is the only one who can end this job: if its wake-up were lost, the test
// would hang.
TEST(WorkerPoolTest, ASleepingWorkerIsRung) {
    Crew crew(2);
    struct Meeting {
        std::thread::id caller = std::this_thread::get_id();
        std::atomic<bool> worker_came = false;
    };
    for (int round = 0; round < 30; ++round) {
        std::this_thread::sleep_for(std::chrono::milliseconds(4));  // many times the patience
        Meeting meeting;
        const auto meet = [](void *context, uint32_t, uint32_t) {
            auto &m = *static_cast<Meeting *>(context);
            if (std::this_thread::get_id() != m.caller) {
                m.worker_came = true;
            }
            while (!m.worker_came) {
                std::this_thread::yield();
            }
        };
        crew->run(meet, &meeting, 2, 1);
    }
}

// The caller runs out of patience at the barrier, halts, and is rung by the last worker.
TEST(WorkerPoolTest, TheCallerSleepsAtTheBarrier) {
    Crew crew(2);
    struct Meeting {
        std::thread::id caller = std::this_thread::get_id();
        std::atomic<bool> worker_came = false;
        bool done = false;
    };
    for (int round = 0; round < 20; ++round) {
        Meeting meeting;
        const auto work = [](void *context, uint32_t, uint32_t) {
            auto &m = *static_cast<Meeting *>(context);
            if (std::this_thread::get_id() == m.caller) {
                while (!m.worker_came) {
                    std::this_thread::yield();
                }
            } else if (!m.worker_came) {
                m.worker_came = true;
                std::this_thread::sleep_for(std::chrono::milliseconds(3));
                m.done = true;
            }
        };
        crew->run(work, &meeting, 2, 1);
        EXPECT_TRUE(meeting.done);
    }
}

TEST(WorkerPoolTest, StopSendsEverybodyHome) {
    auto crew = std::make_unique<Crew>(4);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    crew.reset();  // joins
}

}  // namespace
}  // namespace bareflow
