// What WorkerPool needs from the machine, implemented twice (platform/hosted/workers_hosted.cpp,
// platform/metal/processors.cpp).
#pragma once

#include <atomic>
#include <cstdint>

namespace bareflow {

// Halts the calling processor while `asleep` is 1. Returns after a worker_ring() that followed the
// change of `asleep` to 0, however the two are interleaved; may return earlier.
void worker_wait(std::atomic<uint32_t> &asleep);
// Ends the worker_wait() of `processor`; `asleep` is its word and has been set to 0.
void worker_ring(uint32_t processor, std::atomic<uint32_t> &asleep);

// Called by a worker before it looks at a job. It drops what this processor may still hold of
// memory that the publisher has changed: address translations (metal), and code, by a serialising
// instruction after every platform::publish_code (both builds).
//
// That is enough for new code to run safely. Code is published by the boot processor between two
// jobs, when nobody is inside one. A worker runs code only inside a job, which it enters through
// WorkerPool::join. The acquire there sees everything that came before the job was opened, the
// published bytes and the count included. This function stands between join and the first chunk.
void worker_synchronize();

// A short pause in a loop that waits for another processor.
inline void worker_pause() {
    __builtin_ia32_pause();
}

}  // namespace bareflow
