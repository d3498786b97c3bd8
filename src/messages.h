// What bootstrap connections carry after their handshake: frames, little-endian.
//
//   Frame     header {type 1, round 1, zero 2, sequence 4, body bytes 4}, then the body
//   Report    a rank to the meeting point: who it is and where it listens
//   Welcome   the answer: the group's session, and where the ranks at distance 1, 2, 4, ... listen
//   Failure   in any direction: why there will be no group
//   Absence   the other answer: who else is to be left out; come again without them
//   Blobs     between ranks: consecutive ranks' blobs in one round of the all-gather
//
//   Limits    every parser takes a bound and refuses before it allocates; a parser accepts only a
//             body that it consumes wholly.
//   Threads   pure functions.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "gossamer/status.h"
#include "gossamer/types.h"
#include "src/net.h"

namespace gossamer {

inline constexpr Rank kSizeMax = 1 << 20;
inline constexpr size_t kMeetingBodyMax = 8 * 1024;  // Report, Welcome, Failure, Absence
inline constexpr size_t kAbsentMax = 1'024;          // ranks that a meeting may name
inline constexpr size_t kFailureTextMax = 512;
inline constexpr uint32_t kPurposeMeeting = 0x100;
inline constexpr uint32_t kPurposeMesh = 0x200;  // + index of the distance

enum class FrameType : uint8_t {
  kReport = 1,
  kWelcome = 2,
  kFailure = 3,
  kBlobs = 4,
  kAbsence = 5
};

struct FrameHeader {
  static constexpr size_t kBytes = 12;
  FrameType type = FrameType::kReport;
  uint8_t round = 0;
  uint32_t sequence = 0;
  uint32_t body_bytes = 0;
};
std::vector<std::byte> encode(const FrameHeader& header);
// Nothing when the type is unknown or a must-be-zero field is not zero.
std::optional<FrameHeader> parse_frame_header(std::span<const std::byte> bytes);

// An address as all messages and the unique id carry it: 20 bytes. An IPv6 scope is a number of
// one host's own and does not travel.
class WireReader;
class WireWriter;
inline constexpr size_t kWireAddressBytes = 20;
void put_address(WireWriter* out, const SocketAddress& address);
std::optional<SocketAddress> get_address(WireReader* in);

struct Report {
  Rank rank = 0;
  Rank size = 1;
  uint32_t timeout_ms = 0;  // how long this rank will still wait
  SocketAddress listens_on;
  // Where a group closes up: who shall not be in it, by their ranks in the group before, ascending.
  std::vector<Rank> absent;
};
std::vector<std::byte> encode(const Report& report);
std::optional<Report> parse_report(std::span<const std::byte> body);

struct Welcome {
  uint64_t session = 0;
  std::vector<SocketAddress> ahead;  // [k]: of rank + 2^k
};
std::vector<std::byte> encode(const Welcome& welcome);
std::optional<Welcome> parse_welcome(std::span<const std::byte> body);

// Ascending ranks of the group before; at least one, at most kAbsentMax.
std::vector<std::byte> encode_absence(std::span<const Rank> absent);
std::optional<std::vector<Rank>> parse_absence(std::span<const std::byte> body);

std::vector<std::byte> encode_failure(const Status& status);
// Always an error Status when it parses (kAgain: this group is complete, another may form here);
// the text is cut to what encode_failure() sends.
std::optional<Status> parse_failure(std::span<const std::byte> body);

std::vector<std::byte> encode_blobs(std::span<const std::string> blobs);
// Exactly `count` blobs, each at most kBlobBytesMax.
std::optional<std::vector<std::string>> parse_blobs(std::span<const std::byte> body, size_t count);

// Number of distances 1, 2, 4, ... below `size`: rounds of the all-gather.
int rounds_of(Rank size);

}  // namespace gossamer
