// Storage for the one object of its kind: constructed when asked, never destroyed. Needs neither
// the heap nor a destructor at the program's end.
#pragma once

#include <cstddef>
#include <new>
#include <utility>

namespace bareflow {

template <typename T>
class Permanent {
  public:
    // Call once.
    template <typename... Args>
    T &emplace(Args &&...args) {
        return *new (bytes_) T(std::forward<Args>(args)...);
    }

  private:
    alignas(T) std::byte bytes_[sizeof(T)] = {};
};

}  // namespace bareflow
