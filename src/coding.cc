#include "src/coding.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "gossamer/code_sums.h"
#include "src/compress/joined.h"
#include "src/packing.h"
#include "src/program.h"

namespace gossamer {
namespace {

uint64_t scramble(uint64_t x) {  // the finaliser of MurmurHash3
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdU;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53U;
  return x ^ (x >> 33);
}

void to_float(const Coding& coding, const Kernels& kernels, const std::byte* from, float* into) {
  if (coding.is_float) {
    std::memcpy(into, from, coding.count * sizeof(float));
  } else {
    kernels.widen(reinterpret_cast<std::byte*>(into), from, coding.count, 1.0);
  }
}

// What is not finite is in no residual: it would stay there for ever.
void forget_infinities(std::span<float> residual) {
  for (float& value : residual) value = std::isfinite(value) ? value : 0;
}

// What is encoded: the elements with their residual, in `next` unless they are there already.
const float* with_residual(const Coding& coding, const Kernels& kernels, const std::byte* from,
                           bool copies, const CodingBindings& b, float* next) {
  if (!copies && b.residual == nullptr && coding.is_float) {
    return reinterpret_cast<const float*>(from);
  }
  to_float(coding, kernels, from, next);
  if (b.residual != nullptr) {
    const float* const residual = b.residual + coding.residual_first;
    for (uint64_t i = 0; i < coding.count; ++i) next[i] += residual[i];
  }
  return next;
}

// make(values, draws) -> Encoded writes `code`.
template <class Make>
void encode_with(const Coding& whole, const Coding& coding, const Kernels& kernels,
                 const std::byte* from, std::span<const std::byte> code, const CodingBindings& b,
                 const Make& make) {
  const bool keeps = b.next_residual != nullptr;
  float* const next = keeps ? b.next_residual + coding.residual_first : b.staging;
  const float* const values = with_residual(coding, kernels, from, keeps, b, next);
  Draws draws = draws_of(b.draws, b.rank, whole);
  draws.first += coding.residual_first - whole.residual_first;
  const Encoded made = make(std::span(values, coding.count), draws);
  if (keeps) {
    b.codec->add(code, -1.0F, {next, coding.count});
    if (made.not_finite > 0) forget_infinities({next, coding.count});
  }
  if (b.not_finite != nullptr) *b.not_finite += made.not_finite;
}

// Calls use(part, offset in elements, its code) for the parts of a coding.
template <class Byte, class Use>
void for_each_part(const Coding& coding, const Codec& codec, Byte* code, Use use) {
  const uint64_t step = part_count_of(codec, coding.count);
  Coding part = coding;
  for (uint64_t offset = 0; offset < coding.count; offset += step) {
    part.count = std::min(step, coding.count - offset);
    part.residual_first = coding.residual_first + offset;
    part.code_bytes = codec.bytes_max(part.count);
    use(part, offset, std::span<Byte>(code, part.code_bytes));
    code += part.code_bytes;
  }
}

void encode(const Coding& coding, const Kernels& kernels, const std::byte* from, std::byte* into,
            const CodingBindings& b) {
  const uint64_t element = coding.is_float ? sizeof(float) : kernels.element_bytes;
  for_each_part(coding, *b.codec, into,
                [&](const Coding& part, uint64_t offset, std::span<std::byte> code) {
                  encode_with(coding, part, kernels, from + offset * element, code, b,
                              [&](std::span<const float> values, const Draws& draws) {
                                return b.codec->encode(values, draws, code, b.workspace);
                              });
                });
}

// --- sums of codes that nobody decodes before ---

void measure(const Coding& coding, const Kernels& kernels, const std::byte* from, std::byte* into,
             const CodingBindings& b) {
  const float* const values = with_residual(coding, kernels, from, false, b, b.staging);
  const std::span<float> numbers(b.numbers, coding.code_bytes / sizeof(float));
  b.codec->sums()->measure({values, coding.count}, numbers);
  std::memcpy(into, numbers.data(), numbers.size_bytes());
}

// False: a number that no rank measures.
bool agree(const std::byte* from, uint64_t bytes, std::byte* into) {
  bool sound = true;
  for (uint64_t at = 0; at < bytes; at += sizeof(float)) {
    float theirs = 0;
    float mine = 0;
    std::memcpy(&theirs, from + at, sizeof theirs);
    std::memcpy(&mine, into + at, sizeof mine);
    sound = sound && std::isfinite(theirs) && theirs >= 0;
    if (theirs > mine) std::memcpy(into + at, &theirs, sizeof theirs);
  }
  return sound;
}

void encode_agreed(const Coding& coding, const Kernels& kernels, const std::byte* from,
                   std::byte* into, const CodingBindings& b) {
  const CodeSums& sums = *b.codec->sums();
  const std::span<float> numbers(b.numbers, sums.agreed_count(coding.count));
  if (!numbers.empty()) std::memcpy(numbers.data(), into, numbers.size_bytes());
  // What another rank says they are; any that are finite make a code.
  for (float& number : numbers) number = std::isfinite(number) && number > 0 ? number : 0;
  const std::span<std::byte> code(into + numbers.size_bytes(),
                                  coding.code_bytes - numbers.size_bytes());
  encode_with(coding, coding, kernels, from, code, b,
              [&](std::span<const float> values, const Draws& draws) {
                return sums.encode_agreed(values, numbers, draws, code, b.workspace);
              });
}

void decode(const Coding& coding, const Kernels& kernels, const std::byte* from, std::byte* into,
            const CodingBindings& b) {
  if (coding.is_float) {
    b.codec->decode({from, coding.code_bytes}, {reinterpret_cast<float*>(into), coding.count});
    return;
  }
  for_each_part(coding, *b.codec, from,
                [&](const Coding& part, uint64_t offset, std::span<const std::byte> code) {
                  b.codec->decode(code, {b.staging, part.count});
                  kernels.narrow(into + offset * kernels.element_bytes,
                                 reinterpret_cast<const std::byte*>(b.staging), part.count, 1.0);
                });
}

}  // namespace

namespace {

Code refuse(const Coding& coding, const char* what, const CodingBindings& b, const Status& why,
            Fault* fault) {
  if (coding.is_foreign) {
    fault->set(Code::kMismatch, coding.from, "what rank %d sent is no %s of %s: %s", coding.from,
               what, b.codec->name().c_str(), why.message().c_str());
  } else {
    fault->set(Code::kMismatch, b.rank, "rank %d's own code does not fit what others sent: %s",
               b.rank, why.message().c_str());
  }
  return Code::kMismatch;
}

// Adds a code to a sum, or begins one with it.
Code merge(const Coding& coding, const std::byte* from, std::byte* into, const CodingBindings& b,
           Fault* fault) {
  const CodeSums& sums = *b.codec->sums();
  const std::span<const std::byte> code(from, coding.code_bytes);
  const std::span<std::byte> sum(into, coding.sum_bytes);
  Status sound;
  if (coding.is_foreign) sound = b.codec->check(code, coding.count);
  if (sound && coding.verb == Verb::kBeginSum) {
    sums.begin_sum(code, coding.count, coding.ranks, sum);
  } else if (sound) {
    sound = sums.add_code(code, coding.count, coding.ranks, sum);
  }
  return sound ? Code::kOk : refuse(coding, "code", b, sound, fault);
}

Code decode_sum(const Coding& coding, const Kernels& kernels, const std::byte* from,
                std::byte* into, const CodingBindings& b, Fault* fault) {
  const CodeSums& sums = *b.codec->sums();
  const std::span<const std::byte> sum(from, coding.code_bytes);
  if (coding.is_foreign) {
    const Status sound = sums.check_sum(sum, coding.count, coding.ranks);
    if (!sound) return refuse(coding, "sum of codes", b, sound, fault);
  }
  float* const values = coding.is_float ? reinterpret_cast<float*>(into) : b.staging;
  sums.decode_sum(sum, coding.ranks, {values, coding.count});
  if (!coding.is_float) {
    kernels.narrow(into, reinterpret_cast<const std::byte*>(values), coding.count, 1.0);
  }
  return Code::kOk;
}

Code run_sum(const Coding& coding, const Kernels& kernels, const std::byte* from, std::byte* into,
             const CodingBindings& b, Fault* fault) {
  switch (coding.verb) {
    case Verb::kMeasure:
      measure(coding, kernels, from, into, b);
      return Code::kOk;
    case Verb::kEncodeAgreed:
      encode_agreed(coding, kernels, from, into, b);
      return Code::kOk;
    case Verb::kAgree:
      if (agree(from, coding.code_bytes, into)) return Code::kOk;
      fault->set(Code::kMismatch, coding.from,
                 "rank %d measured a number that is negative or not finite, which %s never does",
                 coding.from, b.codec->name().c_str());
      return Code::kMismatch;
    case Verb::kDecodeSum:
      return decode_sum(coding, kernels, from, into, b, fault);
    default:
      return merge(coding, from, into, b, fault);
  }
}

}  // namespace

Draws draws_of(const Draws& call, Rank rank, const Coding& coding) {
  const auto r = static_cast<uint64_t>(rank) + 1;
  return {.own = scramble(scramble(call.own + 0x9e3779b97f4a7c15U * r) + coding.place),
          .shared = call.shared,
          .first = call.first + coding.element_first};
}

Code run_coding(const Coding& coding, const Kernels& kernels, const std::byte* from,
                std::byte* into, const CodingBindings& bindings, Fault* fault) noexcept {
  if (coding.verb == Verb::kEncode) {
    encode(coding, kernels, from, into, bindings);
    return Code::kOk;
  }
  if (coding.verb >= Verb::kMeasure) {
    return run_sum(coding, kernels, from, into, bindings, fault);
  }
  const std::span<const std::byte> code(from, coding.code_bytes);
  if (coding.verb == Verb::kPack) {
    const auto* const values = reinterpret_cast<const float*>(from);
    if (pack({values, coding.count}, coding.entries, {into, coding.code_bytes})) return Code::kOk;
    fault->set(Code::kMismatch, -1, "a sum of codes of %s has more entries than they promise",
               bindings.codec->name().c_str());
    return Code::kMismatch;
  }
  if (coding.verb == Verb::kUnpack) {
    auto* const values = coding.is_float ? reinterpret_cast<float*>(into) : bindings.staging;
    if (!unpack(code, coding.entries, {values, coding.count})) {
      fault->set(Code::kMismatch, coding.from, "what rank %d sent is no packed sum", coding.from);
      return Code::kMismatch;
    }
    if (!coding.is_float) {
      kernels.narrow(into, reinterpret_cast<const std::byte*>(values), coding.count, 1.0);
    }
    return Code::kOk;
  }
  if (coding.is_foreign) {
    const Status sound = bindings.codec->check(code, coding.count);
    if (!sound) {
      fault->set(Code::kMismatch, coding.from, "what rank %d sent is no code of %s: %s",
                 coding.from, bindings.codec->name().c_str(), sound.message().c_str());
      return Code::kMismatch;
    }
  }
  if (coding.verb == Verb::kDecode) {
    decode(coding, kernels, from, into, bindings);
  } else {
    bindings.codec->add(code, coding.factor, {reinterpret_cast<float*>(into), coding.count});
  }
  return Code::kOk;
}

}  // namespace gossamer
