// GOSSAMER_CHECK: a bug, ours or the caller's contract, prints and aborts. On in release.

#pragma once

#include <cstdio>
#include <cstdlib>

namespace gossamer {

[[noreturn]] inline void check_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "gossamer: bug: %s at %s:%d\n", condition, file, line);
  std::abort();
}

}  // namespace gossamer

#define GOSSAMER_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::gossamer::check_failed(#condition, __FILE__, __LINE__))
