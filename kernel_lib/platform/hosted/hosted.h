// What only the hosted build has beside platform.h.
#pragma once

#include <cstdint>

namespace bareflow::platform {

// From now on platform::idle also returns when `fd` becomes readable; with `writable`, also when
// it can be written. Calling again changes what is waited for. At most 256 descriptors; further
// ones only make idle return after 10 ms.
void hosted_idle_fd(int fd, bool writable = false);
// Call before closing it. Unknown descriptors are ignored.
void hosted_idle_forget(int fd);

// What processor_index() answers in the calling thread from now on; 0 in threads that never said.
void hosted_set_processor_index(uint32_t index);

// A serialising instruction if publish_code() was called since the thread's last one.
void hosted_synchronize_code();

}  // namespace bareflow::platform
