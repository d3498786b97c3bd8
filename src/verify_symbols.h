// What stands for a value in a proof.
//
// Threads    Pure.
// Units      Elements; of codes, bytes.

#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gossamer/schedule.h"
#include "src/intervals.h"
#include "src/verify.h"
#include "src/verify_weights.h"

namespace gossamer {

inline constexpr uint32_t kNone = UINT32_MAX;

// One direction of one lane between two ranks: messages match in order. By number of step, over all
// ranks.
struct ProvedChannel {
  uint32_t send_first = kNone, send_last = kNone;  // not yet taken by the receiver
  uint32_t recv_first = kNone, recv_last = kNone;
  uint32_t send_issue = kNone;  // the next to be issued eagerly
  uint32_t in_flight = 0;       // complete at the sender, not yet taken
};

inline uint64_t mix(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9U;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebU;
  return x ^ (x >> 31);
}

inline uint64_t leaf_hash(Rank rank) {
  return mix(0x9e3779b97f4a7c15U * (static_cast<uint64_t>(rank) + 1));
}

struct Value {
  uint64_t contributors = 0;  // N <= 64: bit per rank; above: sum of random weights
  uint64_t hash = 0;
  int64_t shift = 0;  // input element = element of this buffer + shift
  bool defined = false;
  bool settled = false;
  bool coded = false;  // a byte of code number `contributors`, which is byte (place + shift) of it
};

// One rank's buffers.
using ProvedMemory = std::array<Intervals<Value>, kBufferCount>;

// "rank 2 output element 7".
std::string name_element(Rank rank, uint64_t element);

// Times a factor, in the field of src/verify_weights.h.
inline void scale(double factor, Value* value) {
  if (factor == 1) return;
  value->contributors = field_multiply(value->contributors, field_of(factor));
  value->hash = mix(value->hash ^ std::bit_cast<uint64_t>(factor));
}

// A run of a slice's values, by offset in the slice; `shift` is relative to the slice's begin.
struct Fragment {
  uint64_t first;
  uint64_t end;
  Value value;
};
using Fragments = std::vector<Fragment>;

struct Proof;
struct Promise;  // src/verify_parts.h
// Null, or why a value is not what was promised; `contributors` are those it must have. `shift` of
// a value leads from where it lies to the input it comes from.
const char* broken_promise(const Proof& proof, Rank rank, const Promise& promise, const Value& v,
                           uint64_t contributors);

// What a rank has encoded. It is not to be added once more beside its code: what the code loses is
// in the residual.
class EncodedValues {
 public:
  void note(Rank rank, const Fragment& f) {
    ranges_[{rank, f.value.hash}].push_back({element(f.first, f.value), element(f.end, f.value)});
  }
  // Elements [first, end) of a slice.
  bool have(Rank rank, uint64_t first, uint64_t end, const Value& value) const {
    const auto known = ranges_.find({rank, value.hash});
    if (known == ranges_.end()) return false;
    for (const auto& [begin, stop] : known->second) {
      if (element(first, value) < stop && begin < element(end, value)) return true;
    }
    return false;
  }

 private:
  static int64_t element(uint64_t offset, const Value& value) {
    return static_cast<int64_t>(offset) + value.shift;
  }
  std::map<std::pair<Rank, uint64_t>, std::vector<std::pair<int64_t, int64_t>>> ranges_;
};

// Whether all ranks that hold copies of an element of some rank's input have the same bits of it,
// and none has what was encoded. Empty, or what is wrong.
std::string check_copies(const Proof& proof, const std::vector<ProvedMemory>& memories,
                         const EncodedValues& encoded);

}  // namespace gossamer
