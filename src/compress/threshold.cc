// Threshold: all values that are at least so large, and where they are.
//   Source    Strom, "Scalable distributed DNN training using commodity GPU cloud computing",
//             Interspeech 2015; Dryden, Moon, Jacobs and Van Essen, "Communication quantization for
//             data-parallel training of deep neural networks", MLHPC 2016.
//   Code      How many there are, 4 bytes; positions, ascending, in the coding asked for; the
//             values as fp32. As long as the values make it, up to all of them.
//   Error     Biased. Each error is below the threshold; relative to the norm nothing is proved, as
//             all values may be below it.
//   Values    Those below the threshold are 0. A NaN is 0, an infinity the largest finite
//   magnitude. Sums      Codes are gathered, and each rank adds them (class G).

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "src/check.h"
#include "src/compress/list.h"
#include "src/compress/select.h"
#include "src/compress/sparse.h"

namespace gossamer {
namespace {

using Number = uint32_t;

uint64_t number_in(std::span<const std::byte> code) {
  Number number = 0;
  if (code.size() >= sizeof number) std::memcpy(&number, code.data(), sizeof number);
  return number;
}

class Threshold final : public Codec {
 public:
  Threshold(float least, const PositionCoding& coding) : least_(least), coding_(coding) {}

  CodecTraits traits() const override {
    return {.fixed_size = false, .needs_feedback = true, .sparse = true};
  }
  uint64_t count_max() const override { return kSparseCountMax; }
  uint64_t bytes_max(uint64_t count) const override {
    return count == 0 ? 0 : sizeof(Number) + coding_.bytes_most(count) + count * sizeof(float);
  }
  uint64_t workspace_bytes(uint64_t count) const override {
    return workspace_of(count + kPickSlack);
  }
  double error_max(uint64_t /*count*/) const override {
    return std::numeric_limits<double>::infinity();
  }

  Encoded encode(std::span<const float> values, const Draws& /*draws*/, std::span<std::byte> code,
                 std::span<std::byte> workspace) const override {
    GOSSAMER_CHECK(values.size() <= kSparseCountMax && code.size() >= bytes_max(values.size()) &&
                   workspace.size() >= workspace_bytes(values.size()));
    if (values.empty()) return {};
    const Picks picks = picks_in(workspace, values.size() + kPickSlack);
    const uint64_t found = find_at_least(values, magnitude_key(least_), picks, values.size());
    uint64_t kept = 0;
    uint64_t not_finite = 0;
    for (uint64_t i = 0; i < found; ++i) {
      const float value = picks.values[i];
      not_finite += std::isfinite(value) ? 0 : 1;
      if (std::isnan(value)) continue;
      picks.positions[kept] = picks.positions[i];
      picks.values[kept++] = value;
    }
    const float infinity = not_finite > 0 ? largest_finite(values) : 0;
    const auto number = static_cast<Number>(kept);
    std::memcpy(code.data(), &number, sizeof number);
    return {sizeof number + put_sparse(coding_, values.size(), {picks.positions, kept},
                                       picks.values, infinity, code.data() + sizeof number),
            not_finite};
  }
  Status check(std::span<const std::byte> code, uint64_t count) const override {
    if (count == 0 || count > kSparseCountMax || code.size() < sizeof(Number)) {
      return check_length(*this, code.size(), bytes_max(count), count);
    }
    return check_sparse(*this, coding_, code.subspan(sizeof(Number)), {number_in(code), count});
  }
  void decode(std::span<const std::byte> code, std::span<float> into) const override {
    if (into.empty()) return;
    const std::span<const std::byte> rest = code.subspan(std::min(code.size(), sizeof(Number)));
    decode_sparse(coding_, rest, number_in(code), into);
  }
  void add(std::span<const std::byte> code, float factor, std::span<float> into) const override {
    if (into.empty()) return;
    const std::span<const std::byte> rest = code.subspan(std::min(code.size(), sizeof(Number)));
    add_sparse(coding_, rest, number_in(code), factor, into);
  }

 private:
  float least_;
  const PositionCoding& coding_;
};

Result<std::unique_ptr<Codec>> create(Parameters& parameters) {
  const Result<double> least = parameters.real("least", 1e-30, 1e30);
  if (!least) return least.status();
  const Result<size_t> index = parameters.choice("index", kPositionCodings);
  if (!index) return index.status();
  return std::unique_ptr<Codec>(
      std::make_unique<Threshold>(static_cast<float>(*least), position_coding(*index)));
}

}  // namespace

const CodecFactory threshold_codec = {
    "threshold", "all values that are at least so large, and where they are",
    "least=0.001: magnitude from which on values are kept; "
    "index=rice: how positions are written: u32, u16, bitpack, elias, rice",
    create};

}  // namespace gossamer
