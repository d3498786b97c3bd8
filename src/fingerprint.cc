#include "src/fingerprint.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "src/codec_names.h"
#include "src/graph_names.h"

namespace gossamer {
namespace {

constexpr uint64_t kCountMask = (uint64_t{1} << 33) - 1;
constexpr uint64_t kLetter = 15;  // in place of the collective
constexpr int kShiftBits = 6;     // of how many more digits a count has than are told
// Of a collective that has a graph.
constexpr int kDigitBits = 8;  // of a count's first binary digits
constexpr int kRoundBits = 10;
constexpr uint64_t kRoundMask = (uint64_t{1} << kRoundBits) - 1;
static_assert(kGraphTagBits + kRoundBits + kShiftBits + kDigitBits == 36);
// Of a call that has a codec, without a graph and with one.
constexpr int kCodedDigitBits = 14;
constexpr int kCodedNeighborDigitBits = 6;
static_assert(kCollectiveCount <= 8);
static_assert(3 + 1 + kCodecTagBits + kShiftBits + kCodedDigitBits == 36);
static_assert(kGraphTagBits + kCodecTagBits + kShiftBits + kCodedNeighborDigitBits == 36);
// In place of the collective.
constexpr uint64_t kCoded = 10;
constexpr uint64_t kCodedAverage = 11;
constexpr uint64_t kCodedNeighborAllGather = 12;

uint64_t shorten(uint64_t count, int digit_bits) {
  const int shift = std::max(0, static_cast<int>(std::bit_width(count)) - digit_bits);
  return static_cast<uint64_t>(shift) << digit_bits | count >> shift;
}

// "~1024": a count of which only the first digits are known.
std::string shortened_text(uint64_t code, int digit_bits) {
  const uint64_t shift = (code >> digit_bits) & ((1U << kShiftBits) - 1);
  const uint64_t digits = code & ((1U << digit_bits) - 1);
  return fmt::format("{}{}", shift == 0 ? "" : "~", digits << shift);
}

std::string neighbor_text(Collective collective, const std::string& count, DataType type,
                          uint64_t round, uint32_t tag, uint64_t sequence) {
  return fmt::format("{} of {} {}, round {} of {}, call {}", name_of(collective), count,
                     name_of(type), round, describe_graph(tag), sequence);
}

bool is_coded(Fingerprint f) {
  const uint64_t number = (f >> 40) & 15;
  return number >= kCoded && number <= kCodedNeighborAllGather;
}

uint64_t coded_number(Collective collective) {
  if (!has_graph(collective)) return kCoded;
  return collective == Collective::kNeighborAverage ? kCodedAverage : kCodedNeighborAllGather;
}

Collective collective_of(Fingerprint f) {
  const uint64_t number = (f >> 40) & 15;
  if (number == kCoded) return static_cast<Collective>((f >> 33) & 7);
  if (number == kCodedAverage) return Collective::kNeighborAverage;
  if (number == kCodedNeighborAllGather) return Collective::kNeighborAllGather;
  return static_cast<Collective>(number);
}

// Of a call that has a codec.
uint32_t codec_tag_of(Fingerprint f) {
  const int digits = has_graph(collective_of(f)) ? kCodedNeighborDigitBits : kCodedDigitBits;
  return static_cast<uint32_t>(f >> (kShiftBits + digits)) & ((1U << kCodecTagBits) - 1);
}

// What follows the type in a fingerprint, of a call that has a codec.
uint64_t coded_bits(const Call& call) {
  if (has_graph(call.collective)) {
    return uint64_t{graph_tag(call.graph)}
               << (kCodecTagBits + kShiftBits + kCodedNeighborDigitBits) |
           uint64_t{codec_tag(call.codec_identity)} << (kShiftBits + kCodedNeighborDigitBits) |
           shorten(call.count, kCodedNeighborDigitBits);
  }
  return static_cast<uint64_t>(call.collective) << 33 | uint64_t{call.op == ReduceOp::kAvg} << 32 |
         uint64_t{codec_tag(call.codec_identity)} << (kShiftBits + kCodedDigitBits) |
         shorten(call.count, kCodedDigitBits);
}

// "all_reduce of 100 float32 (sum) with codec int8:block=256, call 7".
std::string coded_text(Collective collective, const std::string& count, DataType type,
                       const std::string& with, uint32_t codec, uint64_t sequence) {
  return fmt::format("{} of {} {}{} with {}, call {}", name_of(collective), count, name_of(type),
                     with, describe_codec(codec), sequence);
}

std::string reduction_text(Collective collective, ReduceOp op) {
  return reduces(collective) ? fmt::format(" ({})", name_of(op)) : "";
}

std::string root_text(const Call& call) {
  return has_root(call.collective) ? fmt::format(", root {}", call.root) : "";
}

std::string describe_coded(Fingerprint f) {
  const Collective collective = collective_of(f);
  const auto type = static_cast<DataType>((f >> 36) & 15);
  const bool graph = has_graph(collective);
  const int digits = graph ? kCodedNeighborDigitBits : kCodedDigitBits;
  const auto after = static_cast<uint32_t>(f >> (kCodecTagBits + kShiftBits + digits));
  const std::string with =
      graph ? ", " + describe_graph(after & ((1U << kGraphTagBits) - 1))
            : reduction_text(collective, (after & 1) != 0 ? ReduceOp::kAvg : ReduceOp::kSum);
  return coded_text(collective, shortened_text(f, digits), type, with, codec_tag_of(f), f >> 52);
}

std::string call_text(Collective collective, uint64_t count, DataType type, ReduceOp op,
                      const std::string& root, uint64_t sequence) {
  return fmt::format("{} of {} {}{}{}, call {}", name_of(collective), count, name_of(type),
                     reduction_text(collective, op), root, sequence);
}

// The same call of the same collective, but for the codec.
bool give_other_codecs(Fingerprint mine, Fingerprint theirs) {
  if (is_coded(mine) != is_coded(theirs)) return true;
  return is_coded(mine) && (mine ^ theirs) >> 52 == 0 &&
         collective_of(mine) == collective_of(theirs) && codec_tag_of(mine) != codec_tag_of(theirs);
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
  if (call.codec_identity != 0) {
    return (sequence << 52) | (uint64_t{plan_hash} << 44) | (coded_number(call.collective) << 40) |
           (static_cast<uint64_t>(call.type) << 36) | coded_bits(call);
  }
  if (has_graph(call.collective)) {
    return (sequence << 52) | (uint64_t{plan_hash} << 44) |
           (static_cast<uint64_t>(call.collective) << 40) |
           (static_cast<uint64_t>(call.type) << 36) |
           (uint64_t{graph_tag(call.graph)} << (kRoundBits + kShiftBits + kDigitBits)) |
           ((call.round & kRoundMask) << (kShiftBits + kDigitBits)) |
           shorten(call.count, kDigitBits);
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
  if (has_graph(call.collective) || call.codec_identity != 0) {
    for (const uint64_t word : {call.graph, call.round, call.count, call.codec_identity}) {
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
  if (call.codec_identity != 0) {
    return coded_text(
        call.collective, std::to_string(call.count), call.type,
        has_graph(call.collective)
            ? fmt::format(", round {} of {}", call.round, describe_graph(graph_tag(call.graph)))
            : reduction_text(call.collective, call.op) + root_text(call),
        codec_tag(call.codec_identity), sequence);
  }
  if (has_graph(call.collective)) {
    return neighbor_text(call.collective, std::to_string(call.count), call.type, call.round,
                         graph_tag(call.graph), sequence);
  }
  return call_text(call.collective, call.count, call.type, call.op, root_text(call), sequence);
}

std::string describe(Fingerprint f) {
  const auto collective = static_cast<Collective>((f >> 40) & 15);
  const auto type = static_cast<DataType>((f >> 36) & 15);
  const auto op = static_cast<ReduceOp>((f >> 33) & 7);
  if (is_coded(f) && static_cast<int>(type) < kDataTypeCount) return describe_coded(f);
  if (has_graph(collective) && static_cast<int>(type) < kDataTypeCount) {
    const uint64_t after = f >> (kShiftBits + kDigitBits);
    return neighbor_text(collective, shortened_text(f, kDigitBits), type, after & kRoundMask,
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
  } else if ((mine | kPlanMask) == (theirs | kPlanMask) && is_coded(mine)) {
    text +=
        "; they differ in what messages do not tell: the root, the algorithm (set "
        "GOSSAMER_ALGORITHM alike), or later digits of the count";
  } else if (has_graph(collective_of(mine)) && has_graph(collective_of(theirs))) {
    text += "; neighbors agree on count, type, graph, round, codec";
  } else if ((mine | kPlanMask) == (theirs | kPlanMask)) {
    text = fmt::format(
        "ranks {} and {} have different roots or algorithms for {}; give all ranks the same root, "
        "and set GOSSAMER_ALGORITHM alike",
        self, peer, describe(mine));
  } else if (give_other_codecs(mine, theirs)) {
    text += "; all ranks give a call the same codec";
  } else {
    text += "; all ranks must make the same calls in the same order";
  }
  fault->set(Code::kMismatch, peer, "%s", text.c_str());
  fault->expected = fault->arrived = 0;
}

}  // namespace gossamer
