// What fuzz targets share: a checked property that stops the fuzzer, and the input as bytes.
//
// Threads    one thread per object.

#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>

// Unlike assert(), on in every build.
#define FUZZ_EXPECT(condition)                                                               \
  ((condition)                                                                               \
       ? static_cast<void>(0)                                                                \
       : (std::fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition), \
          std::abort()))

namespace gossamer {

// Takes the input apart from its front; reads zeros once it is used up.
class FuzzInput {
 public:
  FuzzInput(const uint8_t* data, size_t bytes) : left_(std::as_bytes(std::span(data, bytes))) {}

  bool empty() const { return left_.empty(); }
  uint8_t byte() {
    const std::span<const std::byte> one = take(1);
    return one.empty() ? uint8_t{0} : std::to_integer<uint8_t>(one[0]);
  }
  std::span<const std::byte> take(size_t bytes) {
    const std::span<const std::byte> run = left_.first(std::min(bytes, left_.size()));
    left_ = left_.subspan(run.size());
    return run;
  }
  std::span<const std::byte> rest() { return take(left_.size()); }
  std::string text() {
    const std::span<const std::byte> run = rest();
    return std::string(reinterpret_cast<const char*>(run.data()), run.size());
  }

 private:
  std::span<const std::byte> left_;
};

}  // namespace gossamer
