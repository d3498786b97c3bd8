// Little-endian fields in bytes from the network.
//
//   Reader    never reads past its span: the first field that does not fit turns ok() false, and
//             that field and all later ones read as zero or empty. It allocates nothing; text()
//             copies at most the bound its caller names.
//   Writer    appends to a buffer of its own.
//   Threads   one thread per object.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace gossamer {

class WireReader {
 public:
  explicit WireReader(std::span<const std::byte> bytes) : left_(bytes) {}

  bool ok() const { return ok_; }
  bool done() const { return ok_ && left_.empty(); }  // everything was read, nothing is left
  size_t left() const { return left_.size(); }

  uint8_t u8() { return static_cast<uint8_t>(number(1)); }
  uint16_t u16() { return static_cast<uint16_t>(number(2)); }
  uint32_t u32() { return static_cast<uint32_t>(number(4)); }
  uint64_t u64() { return number(8); }
  int32_t i32() { return static_cast<int32_t>(number(4)); }

  // The next `count` bytes, or an empty span when there are fewer.
  std::span<const std::byte> bytes(size_t count) {
    if (!ok_ || count > left_.size()) {
      ok_ = false;
      return {};
    }
    const std::span<const std::byte> run = left_.first(count);
    left_ = left_.subspan(count);
    return run;
  }

  // A 32-bit length and that many bytes; more than `bytes_max` is an error.
  std::string text(size_t bytes_max) {
    const uint32_t length = u32();
    if (length > bytes_max) {
      ok_ = false;
      return {};
    }
    const std::span<const std::byte> run = bytes(length);
    return {reinterpret_cast<const char*>(run.data()), run.size()};
  }

 private:
  uint64_t number(size_t width) {
    const std::span<const std::byte> run = bytes(width);
    uint64_t value = 0;
    for (size_t i = 0; i < run.size(); ++i) {
      value |= std::to_integer<uint64_t>(run[i]) << (8 * i);
    }
    return value;
  }

  std::span<const std::byte> left_;
  bool ok_ = true;
};

class WireWriter {
 public:
  void u8(uint8_t value) { number(value, 1); }
  void u16(uint16_t value) { number(value, 2); }
  void u32(uint32_t value) { number(value, 4); }
  void u64(uint64_t value) { number(value, 8); }
  void i32(int32_t value) { number(static_cast<uint32_t>(value), 4); }
  void bytes(std::span<const std::byte> run) {
    buffer_.insert(buffer_.end(), run.begin(), run.end());
  }
  void zeros(size_t count) { buffer_.insert(buffer_.end(), count, std::byte{0}); }
  void text(std::string_view value) {
    u32(static_cast<uint32_t>(value.size()));
    bytes(std::as_bytes(std::span(value.data(), value.size())));
  }

  size_t size() const { return buffer_.size(); }
  const std::vector<std::byte>& data() const { return buffer_; }
  std::vector<std::byte> take() { return std::move(buffer_); }

 private:
  void number(uint64_t value, size_t width) {
    for (size_t i = 0; i < width; ++i) {
      buffer_.push_back(static_cast<std::byte>(value >> (8 * i)));
    }
  }

  std::vector<std::byte> buffer_;
};

}  // namespace gossamer
