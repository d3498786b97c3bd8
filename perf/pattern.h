// Inputs whose reduction is exact in any order, and what every collective must make of them.
//
// Values are small integers, small enough that every partial sum or product is exact in the element
// type. They repeat after kPeriod elements, a prime: a block that lands in a wrong place differs,
// and every element of every rank can still be filled and checked at the speed of memory.
//
// Threads    One thread per object.
// Units      Counts are elements.

#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "gossamer/types.h"
#include "src/call_buffers.h"

namespace gossamer {

class Pattern {
 public:
  static constexpr uint64_t kPeriod = 16381;
  static constexpr int kStampsMax = 72;
  static constexpr double kScalar = 2;  // every rank's factor for kPreMulSum

  struct Case {
    Collective collective = Collective::kAllReduce;
    DataType type = DataType::kFloat32;
    ReduceOp op = ReduceOp::kSum;
    Rank size = 1;
    uint64_t count = 0;  // as in the call: of the buffer, or of one share
    bool in_place = false;
    Rank root = 0;
  };
  explicit Pattern(const Case& c);

  // Other data from here on.
  void reseed(uint32_t salt);

  // Rank `rank`'s input, all of it; null where it has none. The same seed gives the same data on
  // every rank.
  void fill(Rank rank, std::byte* input);
  // Changes the first element of every share of the input from operation to operation (at most
  // kStampsMax), so that a result left over from the last one shows. A reduction in place changes
  // its input by itself; there this does nothing. For the rank of the last fill().
  void stamp(int operation, std::byte* input) const;

  // Whether the output of `operations` operations in a row can be foretold: in place, each takes
  // the last one's result, which soon leaves what is exact for some types.
  bool can_foretell(int operations) const;
  // Elements of `output` that are not what `operations` fills-and-runs must leave on the rank of
  // the last fill(); null where it has no output.
  uint64_t wrong(const std::byte* output, int operations) const;

  // Fills with values for which the order of reduction matters; all ranks must still agree.
  void fill_irregular(Rank rank, std::byte* input) const;

 private:
  CallBuffers buffers() const;  // of the rank of the last fill()
  double value(Rank rank, uint64_t index) const;
  double reduced(uint64_t index) const;
  // What the elements of an output's share come from: a rank's input, or all of them folded.
  struct Source {
    Rank rank = -1;  // -1: the reduction over all
    uint64_t share = 0;
  };
  Source source_of(Rank output_share) const;
  double expected(const Source& source, uint64_t index) const;
  std::vector<std::byte> expected_tile(const Source& source, int operations) const;
  uint64_t wrong_in_share(const Source& source, const std::byte* have, int operations) const;
  bool stamps() const;

  Case case_;
  uint64_t element_bytes_;
  uint64_t period_;  // kPeriod, or count when that is less
  uint32_t salt_ = 0;
  double exact_max_;  // integers up to here are exact in the type
  Rank rank_ = 0;     // of the last fill()
  std::vector<std::byte> stamps_;
};

// One number as an element of `type`. Integers wrap; floats round to nearest.
void encode(DataType type, double value, std::byte* into);
// Of a float of `type`.
double decode(DataType type, const std::byte* from);

// 64 bits that differ for different bytes.
uint64_t hash_bytes(const std::byte* bytes, uint64_t count);

}  // namespace gossamer
