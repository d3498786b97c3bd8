#include "src/fingerprint.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "src/graph_names.h"

namespace gossamer {
namespace {

constexpr uint64_t kCountMask = (uint64_t{1} << 33) - 1;
constexpr uint64_t kLetter = 15;  // in place of the collective
// Of a collective that has a graph.
constexpr int kDigitBits = 8;  // of a count's first binary digits
constexpr int kShiftBits = 6;  // of how many more it has
constexpr int kRoundBits = 10;
constexpr uint64_t kRoundMask = (uint64_t{1} << kRoundBits) - 1;
static_assert(kGraphTagBits + kRoundBits + kShiftBits + kDigitBits == 36);

uint64_t shorten(uint64_t count) {
  const int shift = std::max(0, static_cast<int>(std::bit_width(count)) - kDigitBits);
  return static_cast<uint64_t>(shift) << kDigitBits | count >> shift;
}

// "~1024": a count of which only the first digits are known.
std::string shortened_text(uint64_t code) {
  const uint64_t shift = (code >> kDigitBits) & ((1U << kShiftBits) - 1);
  const uint64_t digits = code & ((1U << kDigitBits) - 1);
  return fmt::format("{}{}", shift == 0 ? "" : "~", digits << shift);
}

std::string neighbor_text(Collective collective, const std::string& count, DataType type,
                          uint64_t round, uint32_t tag, uint64_t sequence) {
  return fmt::format("{} of {} {}, round {} of {}, call {}", name_of(collective), count,
                     name_of(type), round, describe_graph(tag), sequence);
}

std::string call_text(Collective collective, uint64_t count, DataType type, ReduceOp op,
                      const std::string& root, uint64_t sequence) {
  const std::string reduction = reduces(collective) ? fmt::format(" ({})", name_of(op)) : "";
  return fmt::format("{} of {} {}{}{}, call {}", name_of(collective), count, name_of(type),
                     reduction, root, sequence);
}

Collective collective_of(Fingerprint f) {
  return static_cast<Collective>((f >> 40) & 15);
}

// What a rank did, by the fingerprint of its end of a message.
std::string deed(Fingerprint f, const char* letter_verb) {
  if (!is_letter(f)) return "called " + describe(f);
  const auto type = static_cast<DataType>((f >> 36) & 15);
  return fmt::format("{} {} {}, message {} of the two, after {} collectives", letter_verb,
                     f & kCountMask,
                     static_cast<int>(type) < kDataTypeCount ? name_of(type) : "unknown elements",
                     (f >> 52) + 1, (f >> 44) & 0xff);
}

}  // namespace

Fingerprint make_fingerprint(const Call& call, uint8_t plan_hash, uint64_t sequence) {
  if (has_graph(call.collective)) {
    return (sequence << 52) | (uint64_t{plan_hash} << 44) |
           (static_cast<uint64_t>(call.collective) << 40) |
           (static_cast<uint64_t>(call.type) << 36) |
           (uint64_t{graph_tag(call.graph)} << (kRoundBits + kShiftBits + kDigitBits)) |
           ((call.round & kRoundMask) << (kShiftBits + kDigitBits)) | shorten(call.count);
  }
  return (sequence << 52) | (uint64_t{plan_hash} << 44) |
         (static_cast<uint64_t>(call.collective) << 40) | (static_cast<uint64_t>(call.type) << 36) |
         (static_cast<uint64_t>(call.op) << 33) | (call.count & kCountMask);
}

Fingerprint make_letter_fingerprint(DataType type, uint64_t count, uint8_t epoch,
                                    uint64_t sequence) {
  return (sequence << 52) | (uint64_t{epoch} << 44) | (kLetter << 40) |
         (static_cast<uint64_t>(type) << 36) | (count & kCountMask);
}

bool is_letter(Fingerprint fingerprint) {
  return ((fingerprint >> 40) & 15) == kLetter;
}

bool is_before(Fingerprint letter, Fingerprint call) {
  return static_cast<uint8_t>((letter >> 44) - (call >> 52)) >= 0x80;
}

uint8_t hash_plan(const char* algorithm, uint32_t pieces, const Call& call) {
  uint32_t hash = 2166136261U + pieces;  // FNV-1a
  hash = (hash ^ static_cast<uint32_t>(call.root)) * 16777619U;
  if (has_graph(call.collective)) {
    for (const uint64_t word : {call.graph, call.round, call.count}) {
      hash = (hash ^ static_cast<uint32_t>(word)) * 16777619U;
      hash = (hash ^ static_cast<uint32_t>(word >> 32)) * 16777619U;
    }
  }
  for (const char* c = algorithm; *c != '\0'; ++c) {
    hash = (hash ^ static_cast<uint8_t>(*c)) * 16777619U;
  }
  return static_cast<uint8_t>(hash ^ (hash >> 8) ^ (hash >> 16) ^ (hash >> 24));
}

std::string describe(const Call& call, uint64_t sequence) {
  if (has_graph(call.collective)) {
    return neighbor_text(call.collective, std::to_string(call.count), call.type, call.round,
                         graph_tag(call.graph), sequence);
  }
  return call_text(call.collective, call.count, call.type, call.op,
                   has_root(call.collective) ? fmt::format(", root {}", call.root) : "", sequence);
}

std::string describe(Fingerprint f) {
  const auto collective = static_cast<Collective>((f >> 40) & 15);
  const auto type = static_cast<DataType>((f >> 36) & 15);
  const auto op = static_cast<ReduceOp>((f >> 33) & 7);
  if (has_graph(collective) && static_cast<int>(type) < kDataTypeCount) {
    const uint64_t after = f >> (kShiftBits + kDigitBits);
    return neighbor_text(collective, shortened_text(f), type, after & kRoundMask,
                         static_cast<uint32_t>(after >> kRoundBits) & ((1U << kGraphTagBits) - 1),
                         f >> 52);
  }
  if (static_cast<int>(collective) >= kCollectiveCount ||
      static_cast<int>(type) >= kDataTypeCount || static_cast<int>(op) >= kReduceOpCount) {
    return "an unknown operation";
  }
  return call_text(collective, f & kCountMask, type, op, "", f >> 52);
}

void explain_mismatch(Rank self, Fault* fault) {
  if (fault->code != Code::kMismatch || (fault->expected == 0 && fault->arrived == 0)) return;
  const Fingerprint mine = fault->expected;
  const Fingerprint theirs = fault->arrived;
  const Rank peer = fault->rank;
  if (mine != theirs && (is_letter(mine) || is_letter(theirs))) {
    const std::string both = fmt::format(
        "rank {} {}; rank {} {}; send and receive take the same count and type, and "
        "two ranks make their calls in one order",
        self, deed(mine, "receives"), peer, deed(theirs, "sent"));
    fault->set(Code::kMismatch, peer, "%s", both.c_str());
    fault->expected = fault->arrived = 0;
    return;
  }
  std::string text = fmt::format("rank {} called {}; rank {} called {}", self, describe(mine), peer,
                                 describe(theirs));
  constexpr uint64_t kPlanMask = uint64_t{0xff} << 44;
  if (mine == theirs) {
    text = fmt::format("rank {} expected {} bytes and rank {} sent {} in {}", self,
                       fault->expected_bytes, peer, fault->arrived_bytes, describe(mine));
  } else if ((mine | kPlanMask) == (theirs | kPlanMask) && has_graph(collective_of(mine))) {
    text += "; counts or rounds differ in digits that messages do not tell";
  } else if (has_graph(collective_of(mine)) && has_graph(collective_of(theirs))) {
    text += "; neighbors agree on count, type, graph and round";
  } else if ((mine | kPlanMask) == (theirs | kPlanMask)) {
    text = fmt::format(
        "ranks {} and {} have different roots or algorithms for {}; give all ranks the same root, "
        "and set GOSSAMER_ALGORITHM alike",
        self, peer, describe(mine));
  } else {
    text += "; all ranks must make the same calls in the same order";
  }
  fault->set(Code::kMismatch, peer, "%s", text.c_str());
  fault->expected = fault->arrived = 0;
}

}  // namespace gossamer
