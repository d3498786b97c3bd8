// A Codec turns a run of floats into fewer bytes and back. What is lost is small beside the run, or
// zero on average; error feedback (gossamer/feedback.h) makes up for it in later iterations.
//
//   auto codec = gossamer::make_codec("int8:block=256");
//   std::vector<std::byte> code(codec.value()->bytes_max(x.size()));
//   std::vector<std::byte> workspace(codec.value()->workspace_bytes(x.size()));
//   const Encoded made = codec.value()->encode(x, {}, code, workspace);
//   codec.value()->decode(std::span(code).first(made.bytes), y);
//
// A codec has no state: what it needs to work is handed to it, and the same values, draws and
// parameters give the same bytes on every machine of one byte order. Who decodes needs the codec
// and the number of elements, nothing else.
//
// Your own   A class of yours may derive from Codec. Ranks know by the name that it gives to the
//            constructor that they have the same one.
//
// Threads    All const; any thread.
// Memory     None allocated: code and workspace are the caller's.
// Units      Counts are elements, sizes bytes. Elements are fp32; other types are converted by who
//            calls.
// Values     Zeros come back as zeros where the codec can express them, which its own text says.
//            Denormals are numbers like others, or taken for zero. A value that is not finite is
//            counted (Encoded::not_finite) and never spoils others: NaN is taken for 0 and an
//            infinity for the largest magnitude in use, but by the casts, which pass both on.
// Hostile    check() decides for any bytes whether decode() and add() may be called, in time and
// codes      memory bounded by the count. They read and write nothing beyond their spans even if it
//            was not called, but what they write then is unspecified.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gossamer/export.h"
#include "gossamer/status.h"

namespace gossamer {

// Random numbers of one encode(): keys of a counter-based generator, so that a repeated or replayed
// call draws the same ones. A codec says which of the two it uses, if any.
struct Draws {
  uint64_t own = 1;     // different on every rank: noise must be independent
  uint64_t shared = 1;  // the same on all ranks: who picks positions picks the same ones
  // The element that the run begins with: parts of a vector draw what the whole would have drawn.
  uint64_t first = 0;
};

struct Encoded {
  uint64_t bytes = 0;       // of the code, <= bytes_max()
  uint64_t not_finite = 0;  // NaN and infinities among the values, and those a cast made infinite
};

// What schedules, feedback and policies choose by.
struct CodecTraits {
  // The code has bytes_max() bytes, always. Only such codecs travel in schedules.
  bool fixed_size = true;
  // The mean of what is decoded, over Draws::own, is what was encoded; feedback is of no use then.
  bool unbiased = false;
  // Loses so much that training goes astray without error feedback.
  bool needs_feedback = false;
  // Most decoded values are zero: sums of codes stay small, and are gathered, not reduced.
  bool sparse = false;
  // Equal Draws::shared give the same positions on all ranks.
  bool shared_positions = false;
  // Codes of parts that are cut at multiples of block(), put end to end, are the code of the whole,
  // where Draws::first says where each part begins.
  bool joins = false;
  // A decoded run is a vote: of several ranks' what counts is the code of their sum, not the sum.
  bool votes = false;
};

class CodeSums;  // gossamer/code_sums.h

class GOSSAMER_API Codec {
 public:
  virtual ~Codec() = default;
  Codec(const Codec&) = delete;
  Codec& operator=(const Codec&) = delete;

  // As make_codec() takes it, with every parameter: "int8:block=256,rounding=nearest". Codecs of
  // one name understand each other.
  const std::string& name() const { return name_; }
  // Of the name; 0 if it has none.
  uint64_t identity() const { return identity_; }

  virtual CodecTraits traits() const = 0;
  // The longest run that can be encoded.
  virtual uint64_t count_max() const { return UINT64_MAX; }
  // The longest code of `count` elements; 0 for none.
  virtual uint64_t bytes_max(uint64_t count) const = 0;
  // Code lengths and offsets are best where runs begin at multiples of this: a scale belongs to as
  // many elements.
  virtual uint64_t block() const { return 1; }
  virtual uint64_t workspace_bytes(uint64_t /*count*/) const { return 0; }
  // The most values of a decoded run of `count` that can differ from zero.
  virtual uint64_t entries_max(uint64_t count) const { return count; }
  // The relative error that is proved for every run of `count` elements. Biased: the squared norm
  // of the error is at most error_max times the run's (1 - delta of the literature). Unbiased: so
  // is its expectation (omega). Infinite where nothing is proved. The values are finite and none is
  // so large or small that the codec cannot express it: its own text says where that begins.
  virtual double error_max(uint64_t count) const = 0;

  // `code` has at least bytes_max(values.size()) bytes, `workspace` at least workspace_bytes() of
  // them, at any address. Neither overlaps the values.
  virtual Encoded encode(std::span<const float> values, const Draws& draws,
                         std::span<std::byte> code, std::span<std::byte> workspace) const = 0;
  // Whether encode() can have written this for `count` elements, as far as lengths and scales tell:
  // elements are not looked at, and one that no encoder writes is decoded as some number.
  //   kMismatch  no; the message says what is wrong
  virtual Status check(std::span<const std::byte> code, uint64_t count) const = 0;
  // into[i] = decoded[i]
  virtual void decode(std::span<const std::byte> code, std::span<float> into) const = 0;
  // into[i] += factor * decoded[i], rounded as two operations: the same bits on every machine
  virtual void add(std::span<const std::byte> code, float factor, std::span<float> into) const = 0;

  // Null unless codes can be added as they are. Lives as long as the codec.
  virtual const CodeSums* sums() const { return nullptr; }

 protected:
  Codec() = default;
  // A name of the caller's, with whatever makes codes differ: "mine:block=64".
  explicit Codec(std::string name);

 private:
  friend struct CodecMaker;
  void introduce(std::string name);
  std::string name_;
  uint64_t identity_ = 0;
};

// `text` is a name, with parameters where it has any: "topk:ratio=0.001,index=rice".
//   kInvalidArgument  no codec has this name or parameter, or its value does not do; the message
//                     lists what there is
GOSSAMER_API Result<std::unique_ptr<Codec>> make_codec(const std::string& text);

// What there is: for help texts and tests.
struct CodecInfo {
  std::string_view name;
  std::string_view parameters;  // with their defaults: "block=256"
  std::string_view summary;     // half a sentence
};
GOSSAMER_API std::vector<CodecInfo> codecs();

}  // namespace gossamer
