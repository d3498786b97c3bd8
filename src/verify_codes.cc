// Codes and residuals of one rank's schedule, as far as they need no other rank's.

#include <algorithm>
#include <utility>

#include "gossamer/codec.h"
#include "src/packing.h"
#include "src/verify_parts.h"

namespace gossamer {
namespace {

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
  const Codec& codec = *proof.call.codec;
  const bool packs = step.verb == Verb::kPack || step.verb == Verb::kUnpack;
  const uint64_t right =
      packs ? packed_bytes(step.count, packed_entries(codec, proof.size, step.count),
                           size_of(proof.call.type))
            : codec.bytes_max(step.count);
  if (step.code_count != right) {
    return "has a code of another length than its elements'";
  }
  if (step.encodes() ? from_code || !into_code : !from_code || into_code) {
    return "takes elements for a code, or a code for elements";
  }
  return {};
}

}  // namespace

std::string check_codes(const Proof& proof, Rank rank, const Schedule& schedule) {
  const auto& encodings = schedule.encodings;
  if (!encodings.empty() && encodings.size() != schedule.steps.size()) {
    return "rank " + std::to_string(rank) + ": the table of encodings does not fit the steps";
  }
  std::vector<std::pair<uint64_t, uint64_t>> kept;  // [first, end) of the residual
  for (uint32_t i = 0; i < schedule.steps.size(); ++i) {
    const Step& step = schedule.steps[i];
    std::string wrong = check_step(proof, step);
    if (step.verb == Verb::kEncode) {
      if (encodings.empty()) {
        wrong = "is not in the table of encodings";
      } else {
        const uint64_t first = encodings[i].residual_first;
        kept.emplace_back(first, first + step.count);
      }
    }
    if (!wrong.empty()) return name_step(rank, i, step) + " " + wrong;
  }
  std::sort(kept.begin(), kept.end());
  uint64_t end = 0;
  for (const auto& [first, last] : kept) {
    if (first != end) {
      return "rank " + std::to_string(rank) + ": float " + std::to_string(std::min(first, end)) +
             " of the residual is kept by " + (first < end ? "two steps" : "no step");
    }
    end = last;
  }
  if (end == schedule.residual_count) return {};
  return "rank " + std::to_string(rank) + ": the residual has " +
         std::to_string(schedule.residual_count) + " floats, and steps keep " + std::to_string(end);
}

}  // namespace gossamer
