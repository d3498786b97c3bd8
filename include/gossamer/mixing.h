// A mixing matrix: what one round of averaging does. Rank i's new value is the sum over j of
// weight(i, j) times rank j's old value.
//
// Threads    Pure values.
// Bounds     Rows are sparse: memory is one entry per message of the round, and one per rank.

#pragma once

#include <span>
#include <string>
#include <vector>

#include "gossamer/export.h"
#include "gossamer/status.h"
#include "gossamer/types.h"

namespace gossamer {

struct Weight {
  Rank rank = 0;  // whose value
  double value = 0;

  friend bool operator==(const Weight&, const Weight&) = default;
};

class GOSSAMER_API Mixing {
 public:
  // Nobody mixes: the zero matrix, to be filled by add() and keep_the_rest().
  explicit Mixing(Rank size)
      : rows_(static_cast<size_t>(size)), targets_(static_cast<size_t>(size)) {}
  static Mixing identity(Rank size);

  Rank size() const { return static_cast<Rank>(rows_.size()); }
  // Ascending by rank, the own value included where it has a weight.
  std::span<const Weight> row(Rank i) const { return rows_[static_cast<size_t>(i)]; }
  double weight(Rank i, Rank j) const;

  // Adds to the weight that rank `into` gives to rank `from`'s value.
  void add(Rank into, Rank from, double value);
  // Both ways.
  void link(Rank a, Rank b, double value);
  // Gives each rank's own value what its row lacks to 1.
  void keep_the_rest();

  // Ranks whose values rank i takes, and those that take rank i's; without itself, ascending.
  std::vector<Rank> sources(Rank i) const;
  std::span<const Rank> targets(Rank i) const { return targets_[static_cast<size_t>(i)]; }
  Rank sources_max() const;  // most sources of a rank
  Rank degree_max() const;   // most sources or targets of a rank

  // The same with every weight a float, and what the others lost or gained by rounding on the own
  // one, so that rows, and the columns of a symmetric matrix, keep their sums to a float's last
  // bit.
  Mixing in_float() const;

  // out[i * width + k] = sum over j of weight(i, j) in[j * width + k].
  void apply(std::span<const double> in, std::span<double> out, size_t width) const;

  friend bool operator==(const Mixing&, const Mixing&) = default;

 private:
  std::vector<std::vector<Weight>> rows_;
  std::vector<std::vector<Rank>> targets_;
};

// What a method may ask of its matrices.
//   kRow      rows sum to 1: values stay averages of values
//   kColumn   columns sum to 1: the total is kept (push-sum)
//   kDouble   both: the mean is kept and reached
enum class Stochastic : uint8_t { kRow, kColumn, kDouble };

// Whether all weights are in [0, 1] and the sums of rows and columns are as asked, to 1e-9.
//   kInvalidArgument  they are not; the sentence names the first row or column and its sum
GOSSAMER_API Status check_sums(const Mixing& mixing, Stochastic what);
// Whether weight(i, j) == weight(j, i), to 1e-12.
//   kInvalidArgument  the sentence names the first pair that differs
GOSSAMER_API Status check_symmetry(const Mixing& mixing);
// Whether every rank's value reaches every other, through any number of these rounds in turn.
//   kInvalidArgument  the sentence names a rank that cannot reach another
GOSSAMER_API Status check_connected(std::span<const Mixing> rounds);

}  // namespace gossamer
