// The things that a driver under test did and its device's manual forbids. Each fake device owns
// one list. An entry that is still in it when the fake is destroyed fails the test.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace bareflow::fakes {

class Violations {
  public:
    explicit Violations(std::string device) : device_(std::move(device)) {}
    Violations(const Violations &) = delete;
    Violations &operator=(const Violations &) = delete;
    ~Violations() {
        for (const std::string &what : list_) {
            ADD_FAILURE() << device_ << ": " << what;
        }
    }

    void add(std::string what) { list_.push_back(std::move(what)); }
    void require(bool condition, const char *what) {
        if (!condition) {
            add(what);
        }
    }
    [[nodiscard]] bool empty() const { return list_.empty(); }
    // For tests of the fake itself: returns the list and empties it.
    [[nodiscard]] std::vector<std::string> take() { return std::exchange(list_, {}); }

  private:
    std::string device_;
    std::vector<std::string> list_;
};

}  // namespace bareflow::fakes
