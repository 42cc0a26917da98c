// Errors as values: Status for "did it work", Result<T> for "the value, or why not".
//
// Used by everything that can fail because of something outside the program: a disk, a wire, a
// model file, a setting, a device. Our own mistakes are not errors but panics (platform.h).
// No allocation; a message is a string literal or other text of static lifetime.
#pragma once

#include <cstdint>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>

namespace bareflow {

enum class ErrorCode : uint8_t {
    kOk = 0,
    kInvalid,      // malformed input
    kUnsupported,  // well formed, but not something this program can do
    kNotFound,
    kTooLarge,   // over a limit of ours, or more than there is memory for
    kExhausted,  // a bounded resource (ring, queue, heap) is full right now
    kTimeout,    // hardware did not answer within its deadline
    kDevice,     // a device reported or showed a fault
    kClosed,     // the other side has gone
};

// A code and one plain sentence. `message` must outlive the error: static text.
struct [[nodiscard]] Error {
    ErrorCode code = ErrorCode::kInvalid;
    std::string_view message;
};

class [[nodiscard]] Status {
  public:
    constexpr Status() = default;
    constexpr Status(Error error) : error_(error) {}
    constexpr Status(ErrorCode code, std::string_view message) : error_{code, message} {}

    [[nodiscard]] constexpr bool ok() const { return error_.code == ErrorCode::kOk; }
    constexpr explicit operator bool() const { return ok(); }
    [[nodiscard]] constexpr Error error() const { return error_; }
    [[nodiscard]] constexpr ErrorCode code() const { return error_.code; }
    [[nodiscard]] constexpr std::string_view message() const { return error_.message; }

  private:
    Error error_{ErrorCode::kOk, {}};
};

// Never returns; supplied by the platform. Called on our own mistakes only.
[[noreturn]] void result_misused(std::string_view what);

template <typename T>
class [[nodiscard]] Result {
    static_assert(!std::is_reference_v<T>, "hold a pointer instead");

  public:
    constexpr Result(const T &value) : ok_(true), value_(value) {}
    constexpr Result(T &&value) : ok_(true), value_(std::move(value)) {}
    constexpr Result(Error error) : ok_(false), error_(error) {}
    constexpr Result(Status status) : ok_(false), error_(status.error()) {}
    constexpr Result(ErrorCode code, std::string_view message)
        : ok_(false), error_{code, message} {}

    constexpr Result(Result &&other) noexcept : ok_(other.ok_) {
        if (ok_) {
            new (&value_) T(std::move(other.value_));
        } else {
            new (&error_) Error(other.error_);
        }
    }
    Result(const Result &) = delete;
    Result &operator=(const Result &) = delete;
    Result &operator=(Result &&) = delete;
    constexpr ~Result() {
        if (ok_) {
            value_.~T();
        }
    }

    [[nodiscard]] constexpr bool ok() const { return ok_; }
    constexpr explicit operator bool() const { return ok_; }

    constexpr T &value() & {
        require();
        return value_;
    }
    constexpr const T &value() const & {
        require();
        return value_;
    }
    constexpr T &&value() && {
        require();
        return std::move(value_);
    }
    constexpr T &operator*() & { return value(); }
    constexpr const T &operator*() const & { return value(); }
    constexpr T *operator->() { return &value(); }
    constexpr const T *operator->() const { return &value(); }

    // kOk with an empty message when there is a value.
    [[nodiscard]] constexpr Error error() const { return ok_ ? Error{ErrorCode::kOk, {}} : error_; }
    [[nodiscard]] constexpr Status status() const { return Status(error()); }

  private:
    constexpr void require() const {
        if (!ok_) {
            result_misused("value() of a failed Result");
        }
    }

    bool ok_;
    union {
        T value_;
        Error error_;
    };
};

}  // namespace bareflow

// Leaves the enclosing function with the error, if there is one.
#define BF_TRY(expression)                               \
    do {                                                 \
        if (auto bf_status = (expression); !bf_status) { \
            return ::bareflow::Error{bf_status.error()}; \
        }                                                \
    } while (false)

// BF_ASSIGN(auto x, f()): x is the value, or the enclosing function returns the error.
#define BF_CONCAT_(a, b) a##b
#define BF_CONCAT(a, b) BF_CONCAT_(a, b)
#define BF_ASSIGN(declaration, expression) \
    BF_ASSIGN_(declaration, expression, BF_CONCAT(bf_result_, __LINE__))
#define BF_ASSIGN_(declaration, expression, name) \
    auto name = (expression);                     \
    if (!name) {                                  \
        return name.error();                      \
    }                                             \
    declaration = std::move(name).value()
