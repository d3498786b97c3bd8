// What tcp puts on the wire, as pure functions over bytes.
//
//   Data      header {magic 4, sequence 4, fingerprint 8, bytes 8, zeros 40}, then the message's
//             bytes. A header of a cache line keeps the body aligned in the kernel's buffers as it
//             is at both ends: 64 KiB there and back on loopback took 18.4 us behind 24 bytes, 16.2
//             behind 64, 14.9 without any (2 cores, 2026).
//   Control   record {type 1, length 2}, then `length` bytes; a notice is {code 1, rank 4, text};
//             what a move holds is known to the transport that sends it
//   Bounds    a control record holds at most kRecordBytesMax bytes; nothing is allocated.
//   Units     little-endian.

#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "gossamer/transport.h"

namespace gossamer::tcp {

inline constexpr size_t kHeaderBytes = 64;

struct Header {
  uint32_t sequence = 0;  // counts the messages of one lane in one direction
  Fingerprint fingerprint = 0;
  uint64_t bytes = 0;
};
std::array<std::byte, kHeaderBytes> encode(const Header& header);
// False: these bytes are no header.
bool decode(std::span<const std::byte, kHeaderBytes> from, Header* header);

inline constexpr size_t kRecordHeaderBytes = 3;
inline constexpr size_t kTextBytesMax = std::tuple_size_v<decltype(Fault::text)> - 1;
inline constexpr size_t kRecordBytesMax = 5 + kTextBytesMax;
enum class RecordType : uint8_t { kNotice = 1, kGoodbye = 2, kMove = 3 };

// A record ready to be written.
struct Record {
  std::array<std::byte, kRecordHeaderBytes + kRecordBytesMax> data{};
  size_t bytes = 0;
  std::span<const std::byte> view() const { return {data.data(), bytes}; }
};
Record notice_record(const Fault& fault);
Record goodbye_record();
// `body` holds at most kRecordBytesMax bytes.
Record move_record(std::span<const std::byte> body);

// Puts together the records of one control connection from arriving runs of bytes.
class RecordParser {
 public:
  // Who does not know moves (`moves` false) takes them for garbage.
  explicit RecordParser(Rank size, bool moves = false) : size_(size), moves_(moves) {}

  enum class Found : uint8_t { kNothing, kNotice, kGoodbye, kMove, kGarbage };
  // Consumes bytes from the front of *bytes up to the end of one record.
  //   kNothing   all consumed, no record complete yet
  //   kNotice    *fault is set: its code is an error's, its rank in [-1, size), its text printable
  //   kMove      body() holds it, until the next call
  //   kGarbage   no record of ours; nothing more can be read from this connection
  Found next(std::span<const std::byte>* bytes, Fault* fault);
  std::span<const std::byte> body() const {
    return std::span(data_).subspan(kRecordHeaderBytes, body_bytes_);
  }

 private:
  void read_notice(std::span<const std::byte> body, Fault* fault) const;

  Rank size_;
  bool moves_;
  size_t have_ = 0;
  size_t body_bytes_ = 0;
  std::array<std::byte, kRecordHeaderBytes + kRecordBytesMax> data_{};
};

}  // namespace gossamer::tcp
