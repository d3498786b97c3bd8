// Codes and residuals of one rank's schedule, as far as they need no other rank's.

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "gossamer/code_sums.h"
#include "gossamer/codec.h"
#include "src/packing.h"
#include "src/verify_parts.h"

namespace gossamer {
namespace {

// Bytes of the code that a step makes or reads; kWrong: the codec has no such code.
constexpr uint64_t kWrong = UINT64_MAX;
uint64_t code_bytes(const Proof& proof, const Step& step) {
  const Codec& codec = *proof.call.codec;
  if (step.verb < Verb::kMeasure) {
    const bool packs = step.verb == Verb::kPack || step.verb == Verb::kUnpack;
    return packs ? packed_bytes(step.count, packed_entries(codec, proof.size, step.count),
                                size_of(proof.call.type))
                 : codec.bytes_max(step.count);
  }
  const CodeSums* const sums = codec.sums();
  if (sums == nullptr) return kWrong;
  const auto ranks = static_cast<uint32_t>(proof.size);
  const uint64_t numbers = sums->agreed_count(step.count) * sizeof(float);
  switch (step.verb) {
    case Verb::kMeasure:
    case Verb::kAgree:
      return numbers;
    case Verb::kEncodeAgreed:
      return numbers + codec.bytes_max(step.count);
    case Verb::kDecodeSum:
      return sums->sum_bytes(step.count, ranks);
    default:
      return step.sum_count == sums->sum_bytes(step.count, ranks) ? codec.bytes_max(step.count)
                                                                  : kWrong;
  }
}

std::string check_step(const Proof& proof, const Step& step) {
  const bool from_code = step.reads_from() && step.from_buffer == Buffer::kCode;
  const bool into_code = step.writes_into() && step.into_buffer == Buffer::kCode;
  if (!step.codes()) {
    if (step.code_count != 0) return "says how long a code is, and makes and reads none";
    const bool carries = step.verb == Verb::kSend || step.verb == Verb::kRecv;
    if ((from_code || into_code) && !carries) return "takes a code for elements";
    return {};
  }
  if (proof.call.codec == nullptr) return "needs a codec, and the call has none";
  if (step.code_count != code_bytes(proof, step)) {
    return "has a code of another length than its elements'";
  }
  if (from_code != (step.decodes() || step.merges()) ||
      into_code != (step.encodes() || step.merges())) {
    return "takes elements for a code, or a code for elements";
  }
  return {};
}

// What one rank's encodings make up for.
class Residuals {
 public:
  // Empty, or what is wrong.
  std::string note(const Step& step, const Encoding& encoding) {
    if (step.verb == Verb::kMeasure) {
      measured_.insert({encoding.residual_first, encoding.element_first, step.count});
      return {};
    }
    if (step.verb == Verb::kEncodeAgreed && measures_ &&
        !measured_.contains({encoding.residual_first, encoding.element_first, step.count})) {
      return "encodes with another residual than was measured";
    }
    kept_.emplace_back(encoding.residual_first, encoding.residual_first + step.count);
    return {};
  }

  std::string gaps(Rank rank, uint64_t residual_count) {
    std::sort(kept_.begin(), kept_.end());
    uint64_t end = 0;
    for (const auto& [first, last] : kept_) {
      if (first != end) {
        return "rank " + std::to_string(rank) + ": float " + std::to_string(std::min(first, end)) +
               " of the residual is kept by " + (first < end ? "two steps" : "no step");
      }
      end = last;
    }
    if (end == residual_count) return {};
    return "rank " + std::to_string(rank) + ": the residual has " + std::to_string(residual_count) +
           " floats, and steps keep " + std::to_string(end);
  }

  // Whether numbers are measured before anything is encoded by them.
  explicit Residuals(bool measures) : measures_(measures) {}

 private:
  bool measures_;
  std::vector<std::pair<uint64_t, uint64_t>> kept_;  // [first, end) of the residual
  std::set<std::tuple<uint64_t, uint64_t, uint64_t>> measured_;
};

bool measures(const Proof& proof) {
  const CodeSums* const sums = proof.call.codec == nullptr ? nullptr : proof.call.codec->sums();
  return sums != nullptr && sums->agreed_count(1) > 0;
}

}  // namespace

std::string check_codes(const Proof& proof, Rank rank, const Schedule& schedule) {
  const auto& encodings = schedule.encodings;
  if (!encodings.empty() && encodings.size() != schedule.steps.size()) {
    return "rank " + std::to_string(rank) + ": the table of encodings does not fit the steps";
  }
  Residuals residuals(measures(proof));
  for (uint32_t i = 0; i < schedule.steps.size(); ++i) {
    const Step& step = schedule.steps[i];
    std::string wrong = check_step(proof, step);
    if (step.has_residual() && encodings.empty()) {
      wrong = "is not in the table of encodings";
    } else if (step.has_residual() && wrong.empty()) {
      wrong = residuals.note(step, encodings[i]);
    }
    if (!wrong.empty()) return name_step(rank, i, step) + " " + wrong;
  }
  return residuals.gaps(rank, schedule.residual_count);
}

}  // namespace gossamer
