#include "gossip/job/frames.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "src/wire.h"

namespace gossamer::job {
namespace {

constexpr std::array<std::byte, 4> kCardMagic{std::byte{'G'}, std::byte{'S'}, std::byte{'J'},
                                              std::byte{'1'}};

bool known_type(DataType type) {
  return type == DataType::kFloat32 || type == DataType::kFloat64;
}

// The same head with only what its kind uses.
Head reduced(const Head& head) {
  Head h;
  h.kind = head.kind;
  switch (head.kind) {
    case Kind::kOpen:
      h.type = head.type;
      h.member = head.member;
      h.count = head.count;
      break;
    case Kind::kPush:
      h.wide = head.wide;
      h.lane = head.lane;
      h.sequence = head.sequence;
      h.steps = head.steps;
      h.weight = head.weight;
      h.count = head.count;
      break;
    case Kind::kTaken:
      h.lane = head.lane;
      h.sequence = head.sequence;
      break;
    case Kind::kRefused:
      h.refusal = head.refusal;
      h.lane = head.lane;
      h.sequence = head.sequence;
      break;
    case Kind::kWant:
    case Kind::kHurry:
    case Kind::kWelcome:
      break;
  }
  return h;
}

bool sound(const Head& head) {
  switch (head.kind) {
    case Kind::kOpen:
      return head.member != 0 && head.count != 0 && known_type(head.type);
    case Kind::kPush:
      return head.lane != 0 && head.sequence != 0 && head.count != 0 &&
             std::isfinite(head.weight) && head.weight > 0;
    case Kind::kTaken:
      return head.lane != 0 && head.sequence != 0;
    case Kind::kRefused:
      return head.refusal >= Refusal::kStranger && head.refusal <= Refusal::kNothing &&
             (head.lane == 0) == (head.sequence == 0);
    case Kind::kWant:
    case Kind::kHurry:
    case Kind::kWelcome:
      return true;
  }
  return false;
}

}  // namespace

std::array<std::byte, Head::kBytes> encode(const Head& head) {
  WireWriter out;
  out.u8(static_cast<uint8_t>(head.kind));
  out.u8(head.wide ? 1 : 0);
  out.u8(static_cast<uint8_t>(head.refusal));
  out.u8(static_cast<uint8_t>(head.type));
  out.u32(0);
  out.u64(head.member);
  out.u64(head.lane);
  out.u64(head.sequence);
  out.u64(head.steps);
  out.u64(std::bit_cast<uint64_t>(head.weight));
  out.u64(head.count);
  std::array<std::byte, Head::kBytes> bytes{};
  std::copy(out.data().begin(), out.data().end(), bytes.begin());
  return bytes;
}

std::optional<Head> parse_head(std::span<const std::byte> bytes) {
  WireReader in(bytes);
  const uint8_t kind = in.u8();
  const uint8_t wide = in.u8();
  const uint8_t refusal = in.u8();
  const uint8_t type = in.u8();
  const uint32_t zero = in.u32();
  Head head;
  head.kind = static_cast<Kind>(kind);
  head.wide = wide != 0;
  head.refusal = static_cast<Refusal>(refusal);
  head.type = static_cast<DataType>(type);
  head.member = in.u64();
  head.lane = in.u64();
  head.sequence = in.u64();
  head.steps = in.u64();
  head.weight = std::bit_cast<double>(in.u64());
  head.count = in.u64();
  if (!in.done() || zero != 0 || wide > 1 || kind < static_cast<uint8_t>(Kind::kOpen) ||
      kind > static_cast<uint8_t>(Kind::kWelcome)) {
    return std::nullopt;
  }
  // -0 is equal to 0 and yet not what encode() makes of it.
  if (!sound(head) || reduced(head) != head || std::signbit(head.weight)) return std::nullopt;
  return head;
}

std::string encode(const Card& card) {
  WireWriter out;
  out.bytes(kCardMagic);
  out.u16(card.port);
  out.u8(static_cast<uint8_t>(card.type));
  out.u64(card.count);
  out.bytes(std::as_bytes(std::span(card.label.data(), card.label.size())));
  const std::vector<std::byte> bytes = out.take();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::optional<Card> parse_card(const std::string& metadata) {
  WireReader in(std::as_bytes(std::span(metadata.data(), metadata.size())));
  const std::span<const std::byte> magic = in.bytes(kCardMagic.size());
  Card card;
  card.port = in.u16();
  card.type = static_cast<DataType>(in.u8());
  card.count = in.u64();
  if (!in.ok() || !std::equal(magic.begin(), magic.end(), kCardMagic.begin(), kCardMagic.end()) ||
      card.port == 0 || card.count == 0 || !known_type(card.type) || in.left() > kLabelBytesMax) {
    return std::nullopt;
  }
  const std::span<const std::byte> label = in.bytes(in.left());
  card.label.assign(reinterpret_cast<const char*>(label.data()), label.size());
  return card;
}

}  // namespace gossamer::job
