// A Compressor turns a vector of floats into fewer bytes, always as many for the same count, and
// adds what can be told from them to a vector elsewhere. What is lost is small beside the vector:
// the squared norm of the error is at most (1 - delta) times the vector's.
//
// Threads    encode() uses memory of the compressor: one thread at a time. The rest is const and
//            may be called from any.
// Memory     Made by the first encode() of a count; none later.
// Format     In the machine's byte order: ranks are of one.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "gossamer/export.h"
#include "gossamer/status.h"

namespace gossamer {

class GOSSAMER_API Compressor {
 public:
  virtual ~Compressor() = default;
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;

  // With its parameters: "top_k:fraction=0.01". Compressors of one name understand each other.
  virtual std::string name() const = 0;
  // Of the code for `count` floats.
  virtual uint64_t bytes(uint64_t count) const = 0;
  // The delta above, as proved for every vector of `count` floats; most do better.
  virtual double delta(uint64_t count) const = 0;

  // `code` has bytes(values.size()) bytes. The same values give the same code.
  virtual void encode(std::span<const float> values, std::span<std::byte> code) = 0;
  // Whether encode() can have written this for `count` floats; add() is for such codes only.
  //   kMismatch  no; the message says what is wrong
  virtual Status check(std::span<const std::byte> code, uint64_t count) const = 0;
  // into[i] += factor * decoded[i], where decoded[i] is a float, the same on every rank.
  virtual void add(std::span<const std::byte> code, double factor,
                   std::span<double> into) const = 0;

 protected:
  Compressor() = default;
};

// The ceil(fraction * count) floats that are largest in magnitude, exactly; of equal ones the
// first. 8 bytes each: positions, ascending, then values. delta is fraction.
//   kInvalidArgument  the fraction is not in (0, 1]
// Source     Stich, Cordonnier and Jaggi, "Sparsified SGD with memory", NeurIPS 2018.
GOSSAMER_API Result<std::unique_ptr<Compressor>> make_top_k(double fraction);

// Each float as a whole number in [-127, 127], times a scale for every `block` of them: the largest
// magnitude / 127. A byte each, and 4 per block. Rounded to nearest, so the error is at most
// block / 64516 of the vector's squared norm.
//   kInvalidArgument  the block is not in [1, 32768]
GOSSAMER_API Result<std::unique_ptr<Compressor>> make_int8(uint32_t block = 256);

}  // namespace gossamer
