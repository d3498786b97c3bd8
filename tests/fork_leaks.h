// For tests that fork: what only a thread of the parent's could free is no leak of a child's, where
// that thread is not. Included by one file of a test.
//
// Threads    any; a child sets is_child right after fork(), before it has threads of its own.

#pragma once

#include <atomic>

namespace gossamer {

inline std::atomic<bool> is_child{false};

}  // namespace gossamer

#ifdef __SANITIZE_ADDRESS__
// NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming)
// NOLINTBEGIN(misc-definitions-in-headers): included once
// The sanitizer asks by this name.
extern "C" __attribute__((visibility("default"))) int __lsan_is_turned_off();
extern "C" __attribute__((visibility("default"))) int __lsan_is_turned_off() {
  return gossamer::is_child ? 1 : 0;
}
// NOLINTEND(misc-definitions-in-headers)
// NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming)
#endif
