#include "src/messages.h"

#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "src/bootstrap.h"
#include "src/wire.h"

namespace gossamer {
namespace {

constexpr uint8_t kIpv4 = 4;
constexpr uint8_t kIpv6 = 6;
constexpr size_t kAddressBytes = 16;

bool is_failure(uint8_t code) {
  return code >= static_cast<uint8_t>(Code::kAgain) && code <= static_cast<uint8_t>(Code::kSystem);
}

void put_ranks(WireWriter* out, std::span<const Rank> ranks) {
  out->u32(static_cast<uint32_t>(ranks.size()));
  for (const Rank rank : ranks) out->i32(rank);
}

std::optional<std::vector<Rank>> get_ranks(WireReader* in) {
  const size_t count = in->u32();
  if (count > kAbsentMax) return std::nullopt;
  std::vector<Rank> ranks;
  for (size_t i = 0; i < count; ++i) {
    const Rank rank = in->i32();
    if (!in->ok() || rank < 0 || (!ranks.empty() && rank <= ranks.back())) return std::nullopt;
    ranks.push_back(rank);
  }
  return ranks;
}

}  // namespace

// family 1, zero 1, port 2, address 16
void put_address(WireWriter* out, const SocketAddress& address) {
  const bool v6 = address.storage.ss_family == AF_INET6;
  out->u8(v6 ? kIpv6 : kIpv4);
  out->u8(0);
  out->u16(address.port());
  if (v6) {
    const auto& in6 = *reinterpret_cast<const sockaddr_in6*>(&address.storage);
    out->bytes(std::as_bytes(std::span(in6.sin6_addr.s6_addr)));
  } else {
    const auto& in4 = *reinterpret_cast<const sockaddr_in*>(&address.storage);
    out->bytes(std::as_bytes(std::span(&in4.sin_addr.s_addr, 1)));
    out->zeros(kAddressBytes - sizeof(in4.sin_addr.s_addr));
  }
}

std::optional<SocketAddress> get_address(WireReader* in) {
  const uint8_t family = in->u8();
  const uint8_t zero = in->u8();
  const uint16_t port = in->u16();
  const std::span<const std::byte> bytes = in->bytes(kAddressBytes);
  if (!in->ok() || zero != 0 || port == 0) {
    return std::nullopt;
  }
  SocketAddress address;
  if (family == kIpv6) {
    auto& in6 = *reinterpret_cast<sockaddr_in6*>(&address.storage);
    in6.sin6_family = AF_INET6;
    in6.sin6_port = htons(port);
    std::memcpy(&in6.sin6_addr, bytes.data(), sizeof(in6.sin6_addr));
    address.length = sizeof(in6);
    return address;
  }
  const std::span<const std::byte> unused = bytes.subspan(sizeof(in_addr));
  if (family == kIpv4 &&
      std::all_of(unused.begin(), unused.end(), [](std::byte b) { return b == std::byte{0}; })) {
    auto& in4 = *reinterpret_cast<sockaddr_in*>(&address.storage);
    in4.sin_family = AF_INET;
    in4.sin_port = htons(port);
    std::memcpy(&in4.sin_addr, bytes.data(), sizeof(in4.sin_addr));
    address.length = sizeof(in4);
    return address;
  }
  return std::nullopt;
}

std::vector<std::byte> encode(const FrameHeader& header) {
  WireWriter out;
  out.u8(static_cast<uint8_t>(header.type));
  out.u8(header.round);
  out.u16(0);
  out.u32(header.sequence);
  out.u32(header.body_bytes);
  return out.take();
}

std::optional<FrameHeader> parse_frame_header(std::span<const std::byte> bytes) {
  WireReader in(bytes);
  const uint8_t type = in.u8();
  FrameHeader header;
  header.round = in.u8();
  const uint16_t zero = in.u16();
  header.sequence = in.u32();
  header.body_bytes = in.u32();
  if (!in.done() || zero != 0 || type < static_cast<uint8_t>(FrameType::kReport) ||
      type > static_cast<uint8_t>(FrameType::kAbsence)) {
    return std::nullopt;
  }
  header.type = static_cast<FrameType>(type);
  return header;
}

std::vector<std::byte> encode(const Report& report) {
  WireWriter out;
  out.i32(report.rank);
  out.i32(report.size);
  out.u32(report.timeout_ms);
  put_address(&out, report.listens_on);
  put_ranks(&out, report.absent);
  return out.take();
}

std::optional<Report> parse_report(std::span<const std::byte> body) {
  WireReader in(body);
  Report report;
  report.rank = in.i32();
  report.size = in.i32();
  report.timeout_ms = in.u32();
  const std::optional<SocketAddress> address = get_address(&in);
  std::optional<std::vector<Rank>> absent = get_ranks(&in);
  if (!in.done() || !address || !absent || report.size < 1 || report.size > kSizeMax ||
      report.rank < 0 || report.rank >= report.size) {
    return std::nullopt;
  }
  report.listens_on = *address;
  report.absent = std::move(*absent);
  return report;
}

std::vector<std::byte> encode_absence(std::span<const Rank> absent) {
  WireWriter out;
  put_ranks(&out, absent);
  return out.take();
}

std::optional<std::vector<Rank>> parse_absence(std::span<const std::byte> body) {
  WireReader in(body);
  std::optional<std::vector<Rank>> absent = get_ranks(&in);
  return absent && !absent->empty() && in.done() ? absent : std::nullopt;
}

std::vector<std::byte> encode(const Welcome& welcome) {
  WireWriter out;
  out.u64(welcome.session);
  out.u8(static_cast<uint8_t>(welcome.ahead.size()));
  for (const SocketAddress& address : welcome.ahead) {
    put_address(&out, address);
  }
  return out.take();
}

std::optional<Welcome> parse_welcome(std::span<const std::byte> body) {
  WireReader in(body);
  Welcome welcome;
  welcome.session = in.u64();
  const size_t count = in.u8();
  if (count > static_cast<size_t>(rounds_of(kSizeMax))) {
    return std::nullopt;
  }
  for (size_t k = 0; k < count; ++k) {
    const std::optional<SocketAddress> address = get_address(&in);
    if (!address) {
      return std::nullopt;
    }
    welcome.ahead.push_back(*address);
  }
  return in.done() ? std::optional(welcome) : std::nullopt;
}

std::vector<std::byte> encode_failure(const Status& status) {
  WireWriter out;
  out.u8(static_cast<uint8_t>(status.code()));
  out.i32(status.rank());
  const std::string_view text = status.message();
  out.text(text.substr(0, kFailureTextMax));
  return out.take();
}

std::optional<Status> parse_failure(std::span<const std::byte> body) {
  WireReader in(body);
  const uint8_t code = in.u8();
  const Rank rank = in.i32();
  std::string text = in.text(kFailureTextMax);
  if (!in.done() || !is_failure(code) || rank < -1 || rank >= kSizeMax) {
    return std::nullopt;
  }
  return Status::error(static_cast<Code>(code), std::move(text), rank);
}

std::vector<std::byte> encode_blobs(std::span<const std::string> blobs) {
  WireWriter out;
  for (const std::string& blob : blobs) {
    out.text(blob);
  }
  return out.take();
}

std::optional<std::vector<std::string>> parse_blobs(std::span<const std::byte> body, size_t count) {
  WireReader in(body);
  std::vector<std::string> blobs;
  for (size_t i = 0; i < count; ++i) {
    blobs.push_back(in.text(kBlobBytesMax));
    if (!in.ok()) {
      return std::nullopt;
    }
  }
  return in.done() ? std::optional(std::move(blobs)) : std::nullopt;
}

int rounds_of(Rank size) {
  int rounds = 0;
  while ((int64_t{1} << rounds) < size) {
    ++rounds;
  }
  return rounds;
}

}  // namespace gossamer
