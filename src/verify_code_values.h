// What stands for codes in a proof: their bytes, numbers that ranks agree on, and sums of codes.
//
// Each method returns null, or what is wrong with the step.
//
// Threads    Not synchronised.

#pragma once

#include <cstdint>
#include <vector>

#include "gossamer/codec.h"
#include "src/verify_parts.h"
#include "src/verify_symbols.h"

namespace gossamer {

enum class CodeKind : uint8_t {
  kCode,
  kPacked,   // nothing is lost
  kNumbers,  // that were measured, by the contributors of its values
  kSum,
};

// What an encoding made.
struct ProvedCode {
  CodeKind kind = CodeKind::kCode;
  Fragments values;
  uint64_t count = 0;  // of elements
  uint64_t bytes = 0;
  uint64_t hash = 0;
  uint64_t agreed = 0;  // kCode, kSum: the hash of the numbers it was made by; 0: its own
};

class ProvedCodes {
 public:
  // `everyone` is what a sum over all ranks has as contributors.
  ProvedCodes(const Proof& proof, uint64_t everyone) : proof_(proof), everyone_(everyone) {}

  // Bytes of the code that the `step`, number `id`, makes of `values`.
  Fragments encode(const Step& step, uint64_t id, const Fragments& values);
  // Turns bytes into the values that the step decodes.
  const char* decode(const Step& step, Fragments* bytes) const;

  // Of the place of a code: the bytes of its numbers.
  uint64_t number_bytes(const Step& step) const;
  const char* agree(const Step& step, const Fragments& from, const Fragments& into,
                    Fragments* made);
  // `numbers` empty: the codec has none.
  const char* encode_agreed(const Step& step, uint64_t id, const Fragments& values,
                            const Fragments& numbers, Fragments* made);
  // Turns bytes of a code into the values that the step adds, and of a sum into those so far.
  const char* take_code(const Step& step, Fragments* bytes);
  const char* take_sum(const Step& step, Fragments* bytes);
  // Of the code and sum that were taken last.
  Fragments make_sum(const Step& step, const Fragments& values);

 private:
  Fragments keep(ProvedCode made);
  const ProvedCode* whole(const Fragments& bytes, uint64_t length, CodeKind kind) const;

  const Proof& proof_;
  const uint64_t everyone_;
  std::vector<ProvedCode> codes_;
  uint64_t agreed_ = 0;
};

}  // namespace gossamer
