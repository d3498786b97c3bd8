// Names of what this process has made, by the few bits of an identity that messages carry of them,
// so that an error about two of them can name both.
//
// Threads    Any.
// Bounds     The last so many names as it was made for.

#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <utility>

namespace gossamer {

class TaggedNames {
 public:
  explicit TaggedNames(size_t names_max) : names_max_(names_max) {}

  void remember(uint32_t tag, const std::string& name);
  // Of the youngest with this tag, or empty.
  std::string find(uint32_t tag) const;

 private:
  const size_t names_max_;
  mutable std::mutex mutex_;
  std::deque<std::pair<uint32_t, std::string>> youngest_first_;  // guarded by mutex_
};

}  // namespace gossamer
