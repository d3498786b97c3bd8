// What a store's save() and give() write and its load() and accept() take, checked before anything
// of it is believed.
//
//   Format     magic 8, format 4, kind 4, store version 8, pieces 8; per piece role, key, first and
//              count as 8 each; then all values, 4 each; a hash 8 of all before it; numbers in the
//              machine's own byte order (the magic of another one does not match)
//   Threads    Pure.

#pragma once

#include "gossamer/feedback.h"

namespace gossamer {

inline bool is_residual(Role role) {
  return role == Role::kSender || role == Role::kOwner ||
         (role >= Role::kHop && role < Role::kCopy);
}

struct SavedState {
  enum class Kind : uint32_t { kStore = 1, kGift = 2 };
  using Parked = StateStore::Parked;

  uint64_t version = 0;
  std::vector<Parked> pieces;

  static std::vector<std::byte> write(Kind kind, uint64_t version,
                                      const std::vector<Parked>& pieces);
  //   kInvalidArgument  not such a thing, of another kind or format, cut off, damaged
  static Result<SavedState> read(Kind kind, std::span<const std::byte> saved);
};

}  // namespace gossamer
