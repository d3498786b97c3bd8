// Top-k: the largest values and where they are.
//   Source    Aji and Heafield, "Sparse communication for distributed gradient descent", EMNLP
//             2017; Stich, Cordonnier and Jaggi, "Sparsified SGD with memory", NeurIPS 2018.
//   Code      k = ceil(ratio * count) positions, ascending, in the coding asked for; then k values
//             as fp32. The length is fixed with index u32, u16 and bitpack.
//   Error     Biased: of the squared norm at most 1 - k / count. Of Gaussian values 1 % have 8.5 %
//             of it, 10 % have 44 %.
//   Values    Exactly the k largest magnitudes, of equal ones the first; all others are 0. A NaN
//             is 0, an infinity the largest finite magnitude. select does not change what is kept:
//             sampled guesses a threshold from a sample and looks closely at what is above it only;
//             exact finds the threshold's first digit in all values, and takes a time that hangs
//             less on what they are.
//   Sums      Codes are gathered, and each rank adds them (class G).

#include <algorithm>

#include "src/check.h"
#include "src/compress/list.h"
#include "src/compress/select.h"
#include "src/compress/sparse.h"

namespace gossamer {
namespace {

class TopK final : public Codec {
 public:
  TopK(double ratio, const PositionCoding& coding, bool sample)
      : ratio_(ratio), coding_(coding), sample_(sample) {}

  CodecTraits traits() const override {
    return {.fixed_size = coding_.fixed_size(), .needs_feedback = true, .sparse = true};
  }
  uint64_t entries_max(uint64_t count) const override { return kept_of(ratio_, count); }
  uint64_t count_max() const override { return kSparseCountMax; }
  uint64_t bytes_max(uint64_t count) const override {
    const uint64_t kept = kept_of(ratio_, count);
    return count == 0 ? 0 : coding_.bytes_max({kept, count}) + kept * sizeof(float);
  }
  uint64_t workspace_bytes(uint64_t count) const override {
    return workspace_of(selection_room(count, kept_of(ratio_, count)));
  }
  double error_max(uint64_t count) const override {
    if (count == 0) return 0;
    return 1 - static_cast<double>(kept_of(ratio_, count)) / static_cast<double>(count);
  }

  Encoded encode(std::span<const float> values, const Draws& /*draws*/, std::span<std::byte> code,
                 std::span<std::byte> workspace) const override {
    GOSSAMER_CHECK(values.size() <= kSparseCountMax && code.size() >= bytes_max(values.size()) &&
                   workspace.size() >= workspace_bytes(values.size()));
    if (values.empty()) return {};
    const uint64_t count = values.size();
    const uint64_t kept = kept_of(ratio_, count);
    const Picks picks = picks_in(workspace, selection_room(count, kept));
    const Selection selection = select_largest(values, kept, sample_, picks);
    const float infinity = selection.not_finite > 0 ? largest_finite(values) : 0;
    return {
        put_sparse(coding_, count, {picks.positions, kept}, picks.values, infinity, code.data()),
        selection.not_finite};
  }
  Status check(std::span<const std::byte> code, uint64_t count) const override {
    if (count == 0 || count > kSparseCountMax) return check_length(*this, code.size(), 0, count);
    return check_sparse(*this, coding_, code, {kept_of(ratio_, count), count});
  }
  void decode(std::span<const std::byte> code, std::span<float> into) const override {
    if (!into.empty()) decode_sparse(coding_, code, kept_of(ratio_, into.size()), into);
  }
  void add(std::span<const std::byte> code, float factor, std::span<float> into) const override {
    if (!into.empty()) add_sparse(coding_, code, kept_of(ratio_, into.size()), factor, into);
  }

 private:
  double ratio_;
  const PositionCoding& coding_;
  bool sample_;
};

constexpr double kRatioMin = 1e-9;

Result<std::unique_ptr<Codec>> create(Parameters& parameters) {
  const Result<double> ratio = parameters.real("ratio", kRatioMin, 1);
  if (!ratio) return ratio.status();
  const Result<size_t> index = parameters.choice("index", kPositionCodings);
  if (!index) return index.status();
  constexpr std::string_view kSelections[] = {"sampled", "exact"};
  const Result<size_t> select = parameters.choice("select", kSelections);
  if (!select) return select.status();
  return std::unique_ptr<Codec>(
      std::make_unique<TopK>(*ratio, position_coding(*index), *select == 0));
}

}  // namespace

const CodecFactory topk_codec = {
    "topk", "the largest values and where they are",
    "ratio=0.01: part of the elements that is kept; "
    "index=u32: how positions are written: u32, u16, bitpack, elias, rice; "
    "select=sampled: or exact, which finds the same without a guess, in twice the time or more",
    create};

}  // namespace gossamer
