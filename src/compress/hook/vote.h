// What ranks tell each other before buckets travel: one all-gather of a few bytes per rank, and
// what follows from it, which is the same on all ranks.
//
//   Format     iteration 8, layout 8, failure 4, parameter not finite 4 (its place + 1, or 0), a
//              bit per parameter that is ready or skipped, a bit per parameter that is contributed;
//              in the machine's own byte order
//   Threads    One at a time.
//   Memory     Allocated by the constructor and by describe_failure().

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "src/compress/hook/buckets.h"

namespace gossamer {

class VoteBoard {
 public:
  VoteBoard() = default;
  VoteBoard(Rank rank, Rank size, size_t parameters);

  // All ranks' votes; this rank's is to be written first, then gathered in place.
  std::span<std::byte> bytes() { return bytes_; }
  uint64_t bytes_per_rank() const { return stride_; }

  // --- this rank's vote
  void clear(uint64_t iteration, uint64_t layout);
  void set_ready(size_t parameter, bool contributes);
  void set_failure(Code code);
  void set_not_finite(size_t parameter);

  // --- what all said
  //   kMismatch  a rank is in another iteration, or has other buckets
  Status check() const;
  Rank first_failed() const;      // -1: none
  Code failure(Rank rank) const;  // kOk: none
  Rank first_not_finite(size_t* parameter) const;
  bool ready(Rank rank, size_t parameter) const;
  bool contributes(Rank rank, size_t parameter) const;
  bool ready_everywhere(const Bucket& bucket) const;
  uint32_t contributors(size_t parameter) const;
  // Why the iteration failed, for the ranks that did not fail themselves.
  Status describe_failure(const ParameterList& parameters) const;

 private:
  const std::byte* vote(Rank rank) const { return bytes_.data() + stride_ * rank; }
  uint64_t word(Rank rank, size_t at) const;
  void set_word(size_t at, uint64_t value);
  bool bit(Rank rank, size_t from, size_t i) const;
  void set_bit(size_t from, size_t i);
  Rank rank_ = 0;
  Rank size_ = 0;
  size_t parameters_ = 0;
  size_t bits_bytes_ = 0;
  size_t stride_ = 0;
  std::vector<std::byte> bytes_;
};

// "'a', 'b' and 3 more", of the parameters for which `which` is true.
template <class Which>
std::string list_of(const ParameterList& parameters, Which which) {
  constexpr size_t kNamed = 5;
  std::string text;
  size_t found = 0;
  for (size_t i = 0; i < parameters.size(); ++i) {
    if (!which(i)) continue;
    if (found++ >= kNamed) continue;
    text += (found > 1 ? ", '" : "'") + parameters.key(i) + "'";
  }
  if (found > kNamed) text += " and " + std::to_string(found - kNamed) + " more";
  return text;
}

// Adds to `launches` the buckets that travel next, in this order. `launched` tells which have gone;
// the first that has not is ready everywhere, and so goes now or with the next vote's. All that are
// left go together when all are ready: nothing that is yet to come could be more urgent. Else the
// one that is needed first does.
void choose_launches(const VoteBoard& votes, std::span<const Bucket> buckets,
                     const std::vector<bool>& launched, std::vector<uint32_t>* launches);

}  // namespace gossamer
