// Sums of codes that nobody decodes before: what a codec offers whose codes are linear, so that
// whoever adds knows nothing of elements, and all decode one sum (class L of the literature).
//
//   const CodeSums* sums = codec.sums();  // null: codes are decoded to be added
//   sums->measure(x, numbers);            // then the largest of each, of all ranks
//   sums->encode_agreed(x, numbers, draws, code, workspace);
//   std::vector<std::byte> sum(sums->sum_bytes(x.size(), ranks));
//   sums->begin_sum(first_code, x.size(), ranks, sum);
//   sums->add_code(other_code, x.size(), ranks, sum);  // for every other code
//   sums->decode_sum(sum, ranks, y);                   // of exactly so many codes
//
// Threads    All const; any thread.
// Memory     None allocated.
// Units      Counts are elements, sizes bytes. Codes and sums may lie at any address.
// Hostile    As of Codec: check_sum() decides whether decode_sum() may be called. Codes are to have
// codes      passed Codec::check() before they are added.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "gossamer/export.h"
#include "gossamer/status.h"

namespace gossamer {

struct Draws;
struct Encoded;

class GOSSAMER_API CodeSums {
 public:
  // How many numbers ranks have to have alike before they encode `count` elements; 0: none.
  virtual uint64_t agreed_count(uint64_t /*count*/) const { return 0; }
  // What this rank's values ask for. The largest of each number, over all ranks, does for all;
  // numbers are finite and not negative.
  virtual void measure(std::span<const float> /*values*/, std::span<float> /*numbers*/) const {}
  // As Codec::encode(), with agreed numbers in place of the run's own. Numbers that measure() does
  // not write make a code that decodes to something else.
  virtual Encoded encode_agreed(std::span<const float> values, std::span<const float> numbers,
                                const Draws& draws, std::span<std::byte> code,
                                std::span<std::byte> workspace) const = 0;

  // Of a sum of the codes of `ranks` ranks, whatever they are; 0 for no elements.
  virtual uint64_t sum_bytes(uint64_t count, uint32_t ranks) const = 0;
  // sum = code.
  virtual void begin_sum(std::span<const std::byte> code, uint64_t count, uint32_t ranks,
                         std::span<std::byte> sum) const = 0;
  // sum = sum + code. The same codes in the same order give the same bits; where numbers are
  // integers, in any order.
  //   kMismatch  the two were made with other numbers, or other Draws::shared: the message says so;
  //              the sum is unspecified then
  virtual Status add_code(std::span<const std::byte> code, uint64_t count, uint32_t ranks,
                          std::span<std::byte> sum) const = 0;
  //   kMismatch  this is no sum of so many codes, as far as lengths and scales tell
  virtual Status check_sum(std::span<const std::byte> sum, uint64_t count,
                           uint32_t ranks) const = 0;
  // into[i] = element i of the sum of `ranks` runs.
  virtual void decode_sum(std::span<const std::byte> sum, uint32_t ranks,
                          std::span<float> into) const = 0;

 protected:
  CodeSums() = default;
  CodeSums(const CodeSums&) = default;
  CodeSums& operator=(const CodeSums&) = default;
  virtual ~CodeSums() = default;
};

}  // namespace gossamer
