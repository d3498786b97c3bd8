// The engine's steps that a codec carries out.
//
// Threads    Driving thread.
// Memory     None allocated: what a codec works in is sized with the program.

#pragma once

#include <span>
#include <vector>

#include "gossamer/codec.h"
#include "gossamer/schedule.h"
#include "gossamer/transport.h"

namespace gossamer {

struct Kernels;

// A step that encodes or decodes, with everything that does not depend on the call.
struct Coding {
  Verb verb = Verb::kEncode;
  bool is_float = true;     // its elements are fp32; else kernels convert them
  bool is_foreign = false;  // decodes what another rank has sent
  Rank from = -1;           // who sent it
  uint64_t count = 0;
  uint64_t code_bytes = 0;
  uint64_t element_first = 0;   // where there is a residual: see Encoding
  uint64_t residual_first = 0;  // the same
  uint32_t place = 0;           // kEncode, kEncodeAgreed: which of the rank's encodings it is
  float factor = 1;             // kDecodeReduce
  uint64_t entries = 0;         // kPack, kUnpack
  uint64_t sum_bytes = 0;       // kBeginSum, kAddCode
  uint32_t ranks = 0;           // whose codes a sum is of
};

// One call's codec, and where it works.
struct CodingBindings {
  const Codec* codec = nullptr;
  const float* residual = nullptr;
  float* next_residual = nullptr;
  uint64_t* not_finite = nullptr;
  Draws draws;
  Rank rank = 0;
  float* staging = nullptr;  // floats of the longest step whose elements are converted
  float* numbers = nullptr;  // as many as the longest step's codes agree on
  std::span<std::byte> workspace;
};

// The keys of one encoding: its own is of the call's, the rank and the encoding; ranks that encode
// the same elements share what the codec draws by place.
Draws draws_of(const Draws& call, Rank rank, const Coding& coding);

// kOk, or kMismatch: what has come is no code, as *fault says.
Code run_coding(const Coding& coding, const Kernels& kernels, const std::byte* from,
                std::byte* into, const CodingBindings& bindings, Fault* fault) noexcept;

}  // namespace gossamer
