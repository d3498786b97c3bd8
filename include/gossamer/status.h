// Operating errors as values.
//
// Three kinds of error, three tools: a bug aborts (GOSSAMER_CHECK); an operating error is a Code on
// the hot path and a Status or Result<T> elsewhere; we throw nothing.

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "gossamer/export.h"

namespace gossamer {

enum class [[nodiscard]] Code : uint8_t{
    kOk = 0,
    kPending,          // started; a token or a later call will tell
    kAgain,            // not now: a window is full or a link not yet open; poll and retry
    kInvalidArgument,  // the caller's input; the message says what to change
    kUnavailable,      // not built in, not installed, not permitted; the message names the remedy
    kTimeout,          // the deadline passed; the message names who was waited for
    kPeerLost,         // a rank's process or link is gone; `rank` says which
    kMismatch,         // ranks called different operations; the message names both
    kAborted,          // abort() was called on this communicator here or on another rank
    kSystem,           // the operating system refused something; the message has its reason
};

GOSSAMER_API std::string_view name_of(Code code);

// Success, or a code with the rank it concerns and one sentence that says what to do.
class [[nodiscard]] GOSSAMER_API Status {
 public:
  Status() = default;  // success; costs one null pointer
  static Status ok() { return {}; }
  static Status error(Code code, std::string message, int32_t rank = -1) {
    Status s;
    s.failure_ = std::make_shared<const Failure>(Failure{code, rank, std::move(message)});
    return s;
  }

  bool is_ok() const { return failure_ == nullptr; }
  explicit operator bool() const { return is_ok(); }
  Code code() const { return failure_ ? failure_->code : Code::kOk; }
  int32_t rank() const { return failure_ ? failure_->rank : -1; }  // the rank at fault, or -1
  const std::string& message() const {
    static const std::string kNone;
    return failure_ ? failure_->message : kNone;
  }
  // "peer lost: rank 2 (pid 77) closed its connection ...", or "ok".
  std::string to_string() const;

 private:
  struct Failure {
    Code code;
    int32_t rank;
    std::string message;
  };
  // Shared because a communicator's first failure is handed to every later call unchanged.
  std::shared_ptr<const Failure> failure_;
};

// A value, or the Status that says why there is none.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}          // NOLINT(google-explicit-constructor)
  Result(Status status) : status_(std::move(status)) {}  // NOLINT(google-explicit-constructor)

  bool is_ok() const { return value_.has_value(); }
  explicit operator bool() const { return is_ok(); }
  const Status& status() const { return status_; }
  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return std::move(*value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace gossamer
