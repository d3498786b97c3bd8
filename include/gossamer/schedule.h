// Schedules: what one rank does in a collective, as steps on slices of named buffers.
//
// An algorithm is a pure function of a Shape that emits steps into a Builder. The same schedule is
// run by the engine, proved by the verifier, priced by the cost model and simulated.
//
// Threads    Everything here is pure: no I/O, no threads, no clocks. Distinct objects may be used
//            from distinct threads.
// Units      `first` and `count` are elements of the collective's data type; of codes, bytes.
// Codecs     Codes are bytes in a buffer of their own, made and read by steps of their own, and
// sent
//            as any bytes are. So a rank passes on the very code that it got, and keeps what its
//            own decodes to, without encoding twice.

#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string_view>
#include <vector>

#include "gossamer/export.h"
#include "gossamer/types.h"

namespace gossamer {

class Codec;   // gossamer/codec.h
class Mixing;  // gossamer/mixing.h

using Lane = uint8_t;  // independent FIFO between two ranks

enum class Buffer : uint8_t {
  kInput,    // the caller's, read only
  kOutput,   // the caller's
  kScratch,  // elements of the data type, zero cost to name, sized by Builder::scratch()
  kWide,     // fp32 accumulators of another float, sized by Builder::accumulator()
  kCode,     // bytes of codes, sized by Builder::code()
};
inline constexpr int kBufferCount = 5;

// A run of elements in one buffer.
struct Slice {
  Buffer buffer = Buffer::kOutput;
  uint64_t first = 0;
  uint64_t count = 0;

  Slice part(uint64_t offset, uint64_t length) const { return {buffer, first + offset, length}; }
  friend bool operator==(const Slice&, const Slice&) = default;
};

// Five verbs, the one place where a value becomes final, and what a codec does. No protocol, device
// or data type in a verb: kWide slices are converted by whoever moves the data, and codecs are
// given fp32, whatever the elements are.
enum class Verb : uint8_t {
  kSend,        // from -> wire
  kRecv,        // wire -> into
  kRecvReduce,  // into = from (op) wire; `from` is usually `into` itself
  kCopy,        // from -> into
  kReduce,      // into = into (op) from
  kSettle,      // into = final(from): rounds a wide accumulator once, divides for kAvg
  // With a residual, p = from + residual is encoded, and p - decoded(into) is the next residual.
  kEncode,        // into = code(from)
  kDecode,        // into = decoded(from)
  kDecodeReduce,  // into = into + decoded(from), into fp32
  // Sums of sparse codes, without loss (src/packing.h).
  kPack,    // into = packed(from), from fp32
  kUnpack,  // into = unpacked(from)
  // Sums of codes that nobody decodes before (gossamer/code_sums.h). Numbers are fp32, and all
  // ranks encode by the same ones, which lie right before the code that is made by them.
  kMeasure,       // into = numbers(from); with a residual, of from + residual
  kAgree,         // into = the larger of into and from, each number by itself
  kEncodeAgreed,  // into = (into's numbers, code(from) by them); residual as of kEncode
  kBeginSum,      // into = sum of from alone
  kAddCode,       // into = into + from
  kDecodeSum,     // into = decoded(from), which is the sum of every rank's code
};

struct Step {
  Verb verb = Verb::kCopy;
  Buffer from_buffer = Buffer::kOutput;
  Buffer into_buffer = Buffer::kOutput;
  Lane lane = 0;
  Rank peer = -1;  // messages only
  uint64_t from_first = 0;
  uint64_t into_first = 0;
  uint64_t count = 0;
  uint64_t code_count = 0;  // bytes of the code of `count` elements that the step makes or reads
  uint64_t sum_count = 0;   // kBeginSum, kAddCode: bytes of the sum they write

  bool is_message() const { return verb <= Verb::kRecvReduce; }
  bool sends() const { return verb == Verb::kSend; }
  bool receives() const { return verb == Verb::kRecv || verb == Verb::kRecvReduce; }
  bool reads_from() const { return verb != Verb::kRecv; }
  bool writes_into() const { return verb != Verb::kSend; }
  bool reads_into() const {
    return verb == Verb::kReduce || verb == Verb::kDecodeReduce || verb == Verb::kAgree ||
           verb == Verb::kEncodeAgreed || verb == Verb::kAddCode;
  }
  // Elements to bytes, bytes to elements, bytes to bytes.
  bool encodes() const {
    return verb == Verb::kEncode || verb == Verb::kPack || verb == Verb::kMeasure ||
           verb == Verb::kEncodeAgreed;
  }
  bool decodes() const {
    return verb == Verb::kDecode || verb == Verb::kDecodeReduce || verb == Verb::kUnpack ||
           verb == Verb::kDecodeSum;
  }
  bool merges() const {
    return verb == Verb::kAgree || verb == Verb::kBeginSum || verb == Verb::kAddCode;
  }
  bool codes() const { return verb >= Verb::kEncode; }
  // Adds a residual, so that it has an Encoding.
  bool has_residual() const {
    return verb == Verb::kEncode || verb == Verb::kEncodeAgreed || verb == Verb::kMeasure;
  }
  // A message that carries bytes of a code.
  bool is_coded() const {
    return is_message() && (sends() ? from_buffer : into_buffer) == Buffer::kCode;
  }
  Slice from() const {
    return {from_buffer, from_first, decodes() || merges() ? code_count : count};
  }
  Slice into() const {
    const bool sums = verb == Verb::kBeginSum || verb == Verb::kAddCode;
    return {into_buffer, into_first,
            sums                                ? sum_count
            : encodes() || verb == Verb::kAgree ? code_count
                                                : count};
  }
};
static_assert(sizeof(Step) == 48);

// What a step of a weighted schedule multiplies by before it adds:
//   kRecvReduce   into = from * (what it reads) + wire * (what arrives)
//   kCopy         into = from * (what it reads)
//   kDecodeReduce into = into + wire * decoded(what it reads)
// Steps with other verbs have none. Computed in the accumulator's type.
struct Factors {
  double from = 1;
  double wire = 1;

  friend bool operator==(const Factors&, const Factors&) = default;
};

// Of a step that encodes or measures: which elements of the whole operation it encodes, as random
// numbers that ranks share must be alike for the same elements; and where its residual begins.
struct Encoding {
  uint64_t element_first = 0;
  uint64_t residual_first = 0;

  friend bool operator==(const Encoding&, const Encoding&) = default;
};

// One rank's steps in program order, with the edges derived from overlaps in compressed rows.
struct Schedule {
  std::vector<Step> steps;
  std::vector<Factors> factors;            // one per step; empty: all 1
  std::vector<Encoding> encodings;         // one per step; empty: none encodes
  std::vector<uint32_t> waits;             // per step: how many steps it waits for
  std::vector<uint32_t> dependents_begin;  // per step, and one past the end: row in dependents
  std::vector<uint32_t> dependents;        // steps that wait for it
  uint64_t scratch_count = 0;              // elements of Buffer::kScratch
  uint64_t wide_count = 0;                 // elements of Buffer::kWide
  uint64_t code_count = 0;                 // bytes of Buffer::kCode
  uint64_t residual_count = 0;             // floats of the residual, each one some step's
  uint8_t lanes = 1;

  std::span<const uint32_t> dependents_of(uint32_t step) const {
    return {dependents.data() + dependents_begin[step],
            dependents_begin[step + 1] - dependents_begin[step]};
  }
};

// What an algorithm may know: numbers only.
//
// A buffer is `count` elements, or `size` shares of `count` elements in rank order: the output of
// an all-gather and a gather, the input of a reduce-scatter and a scatter, both of an all-to-all. A
// broadcast and a scatter have an input at the root alone, a reduce and a gather an output.
// Algorithms are handed one piece of the whole at a time; they see counts of the piece and never
// where the piece lies (Builder adds that).
struct GOSSAMER_API Shape {
  Rank rank = 0;
  Rank size = 1;
  Rank root = 0;  // broadcast, reduce, gather, scatter
  uint64_t count = 0;
  bool wide = false;                 // accumulate in Buffer::kWide
  uint64_t granule = 1;              // block boundaries are multiples of this where count allows
  std::span<const Rank> hosts = {};  // host index of each rank, ascending from 0; empty: one host
  // Local matters: what goes over the wire must not depend on them, since ranks may differ.
  bool in_place = false;  // input and output are the same memory, or one is a part of the other
  // Messages of at most this many elements are complete when sent, however late their receive.
  // Then a rank may overwrite what it sends with what it receives from the same peer.
  uint64_t eager_count = 0;
  uint64_t stride = 0;  // elements from one share to the next; 0: count
  // Who exchanges with whom, with what weight; null but for collectives that have a graph.
  const Mixing* mixing = nullptr;
  const Codec* codec = nullptr;  // null but for calls that have one

  Rank next() const { return (rank + 1) % size; }
  Rank prev() const { return (rank + size - 1) % size; }
  Rank wrap(int64_t r) const { return static_cast<Rank>(((r % size) + size) % size); }

  bool is_root() const { return rank == root; }
  // Distance from the root, going up and round: the root has place 0.
  Rank place() const { return wrap(static_cast<int64_t>(rank) - root); }
  Rank rank_at(int64_t place) const { return wrap(root + place); }

  // Block `index` (wrapping: -1 is size - 1) of [0, count) cut into `size` nearly equal
  // blocks; lengths differ by at most one granule, blocks may be empty.
  Slice block(int64_t index) const { return range(index, 1); }
  // `blocks` consecutive blocks from `index` that do not wrap: index + blocks <= size.
  Slice range(int64_t index, Rank blocks) const;
  Slice whole() const { return {Buffer::kOutput, 0, count}; }

  // Share of rank `index` (wrapping) in the output, and in the input.
  Slice share(int64_t index) const;
  Slice input_share(int64_t index) const {
    const Slice there = share(index);
    return {Buffer::kInput, there.first, there.count};
  }
  // Whether neighbouring shares touch, so that several fit one slice (not so for a piece).
  bool shares_touch() const { return stride == 0 || stride == count; }
};

// `slice` of the caller's input at the same place.
constexpr Slice input_of(Slice slice) {
  return {Buffer::kInput, slice.first, slice.count};
}

// Collects one rank's steps. Edges are not written by hand: a step waits for every earlier step of
// the same rank that writes what it reads, or touches what it writes. Messages between two ranks on
// one lane match in the order both sides emit them; both ends are emitted in the same round. Empty
// slices emit nothing. A copy of a slice onto itself (in place) emits nothing.
class GOSSAMER_API Builder {
 public:
  struct Options {
    Collective collective = Collective::kAllReduce;
    Rank rank = 0;
    Rank size = 1;
    Rank root = 0;
    uint64_t count = 0;     // of the whole operation, per rank or per share
    bool in_place = false;  // kOutput names the memory of both; each lies somewhere in it
    bool wide = false;      // accumulator() gives kWide slices
    bool finishes = false;  // the reduction has a final step (kAvg)
    const Codec* codec = nullptr;
    uint64_t element_bytes = 4;  // of an element as it is sent
  };
  explicit Builder(const Options& options);

  void send(Rank to, Slice from);
  void recv(Rank from, Slice into);
  void recv_reduce(Rank from, Slice into) { recv_reduce(from, into, into); }
  void recv_reduce(Rank from, Slice into, Slice operand);  // into = operand (op) wire
  // into = factors.from * operand + factors.wire * wire
  void recv_mix(Rank from, Slice into, Slice operand, const Factors& factors);
  void copy(Slice from, Slice into, double factor = 1);  // into = factor * from, lengths equal
  void reduce(Slice from, Slice into);                   // into = into (op) from, lengths equal
  // Declares `result` final: result = final(accumulated). Emits nothing when there is nothing to do
  // (same slice, no final step). Every element that was reduced is settled once per rank that
  // completes it, before it is passed on.
  void settle(Slice accumulated, Slice result);

  // Whose residual an encoding makes up for, and keeps.
  enum class Residual : uint8_t {
    // Of each element of the whole input, which is encoded once: residual i belongs to element i.
    kOfElements,
    // Floats of its own, which come after those: of what is encoded beside or instead of the input.
    kOwn,
  };
  // into = code of `from`, which is the operation's `elements` (a slice at the same place as in the
  // input or output), or a sum of them so far.
  void encode(Slice from, Slice into, Slice elements, Residual residual);
  void decode(Slice from, Slice into);                            // into = decoded(from)
  void decode_reduce(Slice from, Slice into, double factor = 1);  // into += factor * decoded(from)
  // into = packed(from), which is a sum of codes of all ranks; into = unpacked(from).
  void pack(Slice from, Slice into);
  void unpack(Slice from, Slice into);
  // Bytes for such a sum of `count` elements, packed; none: it is shorter as it is.
  Slice packed(uint64_t count, int index = 0);
  // Sums of codes that nobody decodes before. What is measured and encoded are the operation's
  // `elements`, with their residual; `place` is agreed(), and numbers(place) and code(place) its
  // parts.
  void measure(Slice from, Slice place, Slice elements);
  void agree(Slice from, Slice into, uint64_t count);  // numbers of `count` elements
  void encode_agreed(Slice from, Slice place, Slice elements);
  void begin_sum(Slice from, Slice into, uint64_t count);  // of codes of `count` elements
  void add_code(Slice from, Slice into, uint64_t count);
  void decode_sum(Slice from, Slice into);
  // Bytes for agreed numbers and the code made by them; of these, and of numbers alone; of a sum.
  Slice agreed(uint64_t count, int index = 0);
  Slice numbers_of(Slice place, uint64_t count) const;
  Slice code_of(Slice place, uint64_t count) const;
  Slice numbers(uint64_t count, int index = 0);
  Slice sum(uint64_t count, int index = 0);
  // Bytes for a code of `count` elements. Asking again in the same piece, with the same count and
  // index, gives the same bytes.
  Slice code(uint64_t count, int index = 0);

  // Data-type elements that live until the schedule ends. Asking again in the same piece, with the
  // same count and index, gives the same elements.
  Slice scratch(uint64_t count, int index = 0);
  // Where to accumulate `result`, of the output or scratch: itself, or fp32 elements when the shape
  // says wide. Asking again gives the same elements.
  Slice accumulator(Slice result);

  // --- used by what composes algorithms, not by algorithms ---
  // Until the next call, slices are offset into piece [first, ...) of the whole and messages use
  // `lane`.
  void begin_piece(uint64_t first, Lane lane);
  // Until the next call, what is emitted comes from a nested algorithm: its rank i is `ranks[i]`
  // here, its output begins where `output` does and its input where `input` does (the same slice
  // to go on with partial results in place). Pass no ranks to end. Nesting is one level deep.
  void nest(std::span<const Rank> ranks, Slice output = {}, Slice input = {});

  // What was emitted since the last clear(), for walks that go round by round and keep no steps.
  std::span<const Step> emitted() const { return schedule_.steps; }
  void clear() {
    schedule_.steps.clear();
    schedule_.factors.clear();
    schedule_.encodings.clear();
  }

  Schedule finish();  // derives the edges

 private:
  struct Region {  // a piece of scratch that was handed out
    uint64_t piece, output, count;
    int index;
    uint64_t first;
  };
  struct Accumulator {
    Slice result;
    uint64_t first;
  };
  void push(Verb verb, Rank peer, Slice from, Slice into, const Factors& factors = {},
            uint64_t code_count = 0);
  void merge(Verb verb, Slice from, Slice into, uint64_t count);
  Slice place(Slice slice) const;
  Slice reserve(uint64_t count, int index, uint64_t bytes);
  void note_encoding(Slice elements, bool own);
  void place_residuals();

  Options options_;
  bool in_place_ = false;
  uint64_t input_first_ = 0;   // in place: where the input begins in the memory of both
  uint64_t output_first_ = 0;  // and the output
  uint64_t piece_first_ = 0;
  Lane lane_ = 0;
  Lane lane_max_ = 0;
  std::vector<Rank> nest_ranks_;
  Slice nest_output_;
  Slice nest_input_;
  std::vector<Region> scratch_;
  // By piece, nested output, count and index: there are as many as ranks times pieces.
  std::map<std::array<uint64_t, 4>, uint64_t> codes_;
  std::vector<Accumulator> accumulators_;
  uint64_t input_count_ = 0;
  bool keeps_elements_ = false;      // some encoding's residual is of elements
  std::vector<uint32_t> keeps_own_;  // steps whose residual is their own
  Schedule schedule_;
};

// A registered algorithm: one file in algorithms/, one line in algorithms/list.h.
struct Algorithm {
  const char* name;
  Collective collective;
  bool rounds_once;                                   // honours Shape::wide
  bool (*accepts)(const Shape&);                      // may this shape be used at all?
  int (*rounds)(const Shape&);                        // how often emit() is called
  void (*emit)(const Shape&, int round, Builder& b);  // pure; a round is an index, not a barrier
  bool codes = false;  // for calls that have a codec, and for them alone
};

GOSSAMER_API std::span<const Algorithm* const> algorithms();
GOSSAMER_API const Algorithm* find_algorithm(Collective collective, std::string_view name);

inline bool any_shape(const Shape&) {
  return true;
}
inline bool has_codec(const Shape& shape) {
  return shape.codec != nullptr;
}
// One whose codes are decoded to be added, and whose result is that sum.
GOSSAMER_API bool has_plain_codec(const Shape& shape);
// Of these one whose decoded runs are mostly zero, or one whose are not.
GOSSAMER_API bool has_sparse_codec(const Shape& shape);
GOSSAMER_API bool has_dense_codec(const Shape& shape);
// One of votes (CodecTraits::votes), and one whose codes are added as they are (Codec::sums()).
GOSSAMER_API bool has_vote_codec(const Shape& shape);
GOSSAMER_API bool has_adding_codec(const Shape& shape);

}  // namespace gossamer
