// Numbers of any length in bits, one after another, the lowest bit first.
//
// Threads    Not synchronised.
// Bounds     A writer writes the bytes that its bits need and none beyond; a reader sees zeros
//            beyond the end, and past() tells.

#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace gossamer {

class BitWriter {
 public:
  explicit BitWriter(std::byte* into) : begin_(into), at_(into) {}

  // The lowest `bits` <= 32 of the value; those above are 0.
  void put(uint64_t value, uint32_t bits) {
    pending_ |= value << used_;
    used_ += bits;
    if (used_ >= 32) {
      const auto word = static_cast<uint32_t>(pending_);
      std::memcpy(at_, &word, sizeof word);
      at_ += sizeof word;
      pending_ >>= 32;
      used_ -= 32;
    }
  }
  // `zeros` zeros and a one.
  void put_unary(uint64_t zeros) {
    for (; zeros >= 31; zeros -= 31) put(0, 31);
    put(uint64_t{1} << zeros, static_cast<uint32_t>(zeros) + 1);
  }
  // Fills the last byte with zeros; returns how many bytes there are.
  uint64_t finish() {
    const uint32_t bytes = (used_ + 7) / 8;
    std::memcpy(at_, &pending_, bytes);
    return static_cast<uint64_t>(at_ - begin_) + bytes;
  }

 private:
  std::byte* begin_;
  std::byte* at_;
  uint64_t pending_ = 0;
  uint32_t used_ = 0;  // < 32 between calls
};

class BitReader {
 public:
  BitReader(std::span<const std::byte> code, uint64_t bit) : code_(code), bit_(bit) {}

  uint64_t bit() const { return bit_; }
  bool past() const { return bit_ > code_.size() * 8; }

  // At least 57 bits from here.
  uint64_t peek() const {
    const uint64_t byte = bit_ / 8;
    uint64_t window = 0;
    if (byte + sizeof window <= code_.size()) {
      std::memcpy(&window, code_.data() + byte, sizeof window);
    } else if (byte < code_.size()) {
      std::memcpy(&window, code_.data() + byte, code_.size() - byte);
    }
    return window >> (bit_ % 8);
  }
  void skip(uint64_t bits) { bit_ += bits; }
  uint64_t take(uint32_t bits) {  // <= 56
    const uint64_t value = peek() & ((uint64_t{1} << bits) - 1);
    skip(bits);
    return value;
  }
  // Zeros before the next one, or more than `most` when that is further away or there is none.
  uint64_t take_unary(uint64_t most) {
    uint64_t zeros = 0;
    while (!past() && zeros <= most) {
      const uint64_t window = peek() & ((uint64_t{1} << 56) - 1);
      if (window != 0) {
        const auto run = static_cast<uint64_t>(std::countr_zero(window));
        skip(run + 1);
        return zeros + run;
      }
      zeros += 56;
      skip(56);
    }
    return most + 1;
  }

 private:
  std::span<const std::byte> code_;
  uint64_t bit_;
};

}  // namespace gossamer
