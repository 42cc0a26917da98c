// Processors as threads of a Linux process.
#include "kernel_lib/cpu/worker_wait.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "kernel_lib/cpu/worker_pool.h"
#include "kernel_lib/io/log.h"
#include "kernel_lib/platform/hosted/hosted.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow {

namespace {

static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));

void *serve_as_thread(void *number) {
    const auto worker = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(number));
    platform::hosted_set_processor_index(worker);
    worker_pool().serve(worker);
    return nullptr;
}

// Detached; signals are the main thread's business.
bool start_thread(uint32_t worker) {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread{};
    void *const number = reinterpret_cast<void *>(static_cast<uintptr_t>(worker));
    const bool started = pthread_create(&thread, nullptr, serve_as_thread, number) == 0;
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (started) {
        pthread_detach(thread);
    }
    return started;
}

}  // namespace

void worker_wait(std::atomic<uint32_t> &asleep) {
    ::syscall(SYS_futex, &asleep, FUTEX_WAIT_PRIVATE, 1, nullptr, nullptr, 0);
}
void worker_ring(uint32_t /*processor*/, std::atomic<uint32_t> &asleep) {
    ::syscall(SYS_futex, &asleep, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}
void worker_synchronize() {
    platform::hosted_synchronize_code();
}

uint32_t start_workers(uint32_t processors) {
    const uint32_t most = std::min(platform::processor_count(), WorkerPool::kMaxProcessors);
    const uint32_t wanted =
        processors == 0 ? most : std::min(processors, WorkerPool::kMaxProcessors);
    uint32_t running = 1;
    while (running < wanted && start_thread(running)) {
        ++running;
    }
    if (running < wanted) {
        log_line("threads: only ", running, " of ", wanted, " could be started");
    }
    return running;
}

}  // namespace bareflow
