#include "src/verify.h"

#include "src/check.h"
#include "src/plan.h"
#include "src/verify_parts.h"

namespace gossamer {

Memory::Memory(const Proof& proof, Rank rank)
    : CallBuffers(buffers_of(proof.call, rank, proof.size)) {}

std::string name_step(Rank rank, uint32_t index, const Step& step) {
  static constexpr const char* kVerbs[] = {
      "send to", "recv from",     "recv_reduce from", "copy",     "reduce",    "settle",
      "encode",  "decode",        "decode_reduce",    "pack",     "unpack",    "measure",
      "agree",   "encode_agreed", "begin_sum",        "add_code", "decode_sum"};
  std::string text = "rank " + std::to_string(rank) + " step " + std::to_string(index) + " (" +
                     kVerbs[static_cast<size_t>(step.verb)];
  if (step.is_message()) text += " " + std::to_string(step.peer);
  const Slice slice = step.writes_into() ? step.into() : step.from();
  text += (slice.buffer == Buffer::kCode ? ", code bytes " : ", elements ") +
          std::to_string(slice.first) + " to " + std::to_string(slice.first + slice.count) + ")";
  return text;
}

Verdict verify(const Proof& proof, const std::vector<Schedule>& schedules) {
  GOSSAMER_CHECK(proof.size >= 1 && schedules.size() == static_cast<size_t>(proof.size));
  Verdict verdict;
  for (Rank r = 0; r < proof.size; ++r) {
    verdict.reason = check_limits(proof, r, schedules[static_cast<size_t>(r)]);
    if (!verdict.reason.empty()) return verdict;
  }
  verdict.in_limits = true;
  std::string race;
  for (Rank r = 0; r < proof.size && race.empty(); ++r) {
    race = check_races(proof, r, schedules[static_cast<size_t>(r)]);
  }
  verdict.no_race = race.empty();
  check_values(proof, schedules, &verdict);
  if (!race.empty()) verdict.reason = race;
  return verdict;
}

Verdict verify(const Algorithm& algorithm, const Call& call, Rank size, std::span<const Rank> hosts,
               uint32_t pieces, uint8_t lanes) {
  std::vector<Schedule> schedules;
  schedules.reserve(static_cast<size_t>(size));
  for (Rank r = 0; r < size; ++r) {
    schedules.push_back(build_schedule(algorithm, call, r, size, hosts, pieces, lanes));
  }
  Proof proof;
  proof.call = call;
  proof.size = size;
  proof.wide = accumulates_wide(algorithm, call) && size > 1;
  return verify(proof, schedules);
}

}  // namespace gossamer
