#include "gossip/membership/datagram.h"

#include <algorithm>

#include "src/check.h"

namespace gossamer::swim {
namespace {

constexpr uint16_t kMagic = 0x4d47;  // "GM"
constexpr uint8_t kVersion = 1;
constexpr uint8_t kStuckBit = 0x80;

size_t host_bytes(uint8_t family) {
  return family == 6 ? 16 : 4;
}

void put_endpoint(WireWriter* out, const Endpoint& e) {
  GOSSAMER_CHECK(e.family == 4 || e.family == 6);
  out->u8(e.family);
  out->u16(e.port);
  out->bytes(std::as_bytes(std::span(e.host)).first(host_bytes(e.family)));
}

bool get_endpoint(WireReader* in, Endpoint* e) {
  e->family = in->u8();
  e->port = in->u16();
  if (!in->ok() || (e->family != 4 && e->family != 6) || e->port == 0) return false;
  const std::span<const std::byte> host = in->bytes(host_bytes(e->family));
  std::transform(host.begin(), host.end(), e->host.begin(),
                 [](std::byte b) { return std::to_integer<uint8_t>(b); });
  return in->ok();
}

void put_update(WireWriter* out, const Update& update) {
  out->u64(update.id);
  out->u32(update.incarnation);
  out->u8(static_cast<uint8_t>(static_cast<uint8_t>(update.state) |
                               (update.stuck ? kStuckBit : uint8_t{0})));
  if (update.state == MemberState::kAlive) {
    GOSSAMER_CHECK(update.metadata.size() <= kMetadataBytesMax);
    put_endpoint(out, update.address);
    out->u8(static_cast<uint8_t>(update.metadata.size()));
    out->bytes(std::as_bytes(std::span(update.metadata.data(), update.metadata.size())));
  } else if (update.state == MemberState::kSuspect) {
    GOSSAMER_CHECK(!update.accusers.empty() && update.accusers.size() <= kAccusersMax);
    out->u8(static_cast<uint8_t>(update.accusers.size()));
    for (const MemberId accuser : update.accusers) out->u64(accuser);
  }
}

bool get_update(WireReader* in, Update* update) {
  update->id = in->u64();
  update->incarnation = in->u32();
  const uint8_t state = in->u8();
  update->stuck = (state & kStuckBit) != 0;
  update->state = static_cast<MemberState>(state & ~kStuckBit);
  if (!in->ok() || update->id == 0 || update->incarnation > kIncarnationMax ||
      update->state > MemberState::kLeft ||
      (update->stuck && update->state != MemberState::kAlive)) {
    return false;
  }
  if (update->state == MemberState::kAlive) {
    if (!get_endpoint(in, &update->address)) return false;
    const size_t length = in->u8();
    if (length > kMetadataBytesMax) return false;
    const std::span<const std::byte> text = in->bytes(length);
    update->metadata.assign(reinterpret_cast<const char*>(text.data()), text.size());
  } else if (update->state == MemberState::kSuspect) {
    const size_t count = in->u8();
    if (count == 0 || count > kAccusersMax) return false;
    for (size_t i = 0; i < count; ++i) {
      update->accusers.push_back(in->u64());
      if (update->accusers.back() == 0) return false;
    }
  }
  return in->ok();
}

bool has_sequence(Kind kind) {
  return kind == Kind::kPing || kind == Kind::kAck || kind == Kind::kPingRequest ||
         kind == Kind::kNack || kind == Kind::kGone;
}

bool has_subject(Kind kind) {
  return kind == Kind::kPingRequest || kind == Kind::kGone;
}

bool has_digests(Kind kind) {
  return kind == Kind::kSync || kind == Kind::kSyncReply;
}

bool get_body(WireReader* in, Message* m) {
  if (has_sequence(m->kind)) m->sequence = in->u32();
  if (has_subject(m->kind)) {
    m->subject = in->u64();
    if (m->subject == 0) return false;
  }
  if (m->kind == Kind::kPingRequest && !get_endpoint(in, &m->endpoint)) return false;
  if (has_digests(m->kind)) {
    m->members = in->u32();
    for (uint64_t& digest : m->digests) digest = in->u64();
  }
  return in->ok();
}

}  // namespace

size_t bytes_of(const Update& update) {
  switch (update.state) {
    case MemberState::kAlive:
      return kUpdateBytesMin + 4 + host_bytes(update.address.family) + update.metadata.size();
    case MemberState::kSuspect:
      return kUpdateBytesMin + 1 + 8 * update.accusers.size();
    default:
      return kUpdateBytesMin;
  }
}

DatagramWriter::DatagramWriter(const Message& m) {
  out_.u16(kMagic);
  out_.u8(kVersion);
  out_.u8(static_cast<uint8_t>(m.kind));
  out_.u64(m.from);
  out_.u64(m.to);
  out_.u64(m.counter);
  out_.u64(m.progress);
  out_.u32(m.progress_age_ms);
  GOSSAMER_CHECK(out_.size() == kHeaderBytes);
  if (has_sequence(m.kind)) out_.u32(m.sequence);
  if (has_subject(m.kind)) out_.u64(m.subject);
  if (m.kind == Kind::kPingRequest) put_endpoint(&out_, m.endpoint);
  if (has_digests(m.kind)) {
    out_.u32(m.members);
    for (const uint64_t digest : m.digests) out_.u64(digest);
  }
  for (const Update& update : m.updates) {
    const bool fits = add(update);
    GOSSAMER_CHECK(fits);
  }
}

bool DatagramWriter::add(const Update& update) {
  if (out_.size() + bytes_of(update) + kTagBytes > kDatagramBytesMax) return false;
  put_update(&out_, update);
  return true;
}

std::optional<Message> decode(std::span<const std::byte> bytes) {
  if (bytes.size() + kTagBytes > kDatagramBytesMax) return std::nullopt;
  WireReader in(bytes);
  Message m;
  const uint16_t magic = in.u16();
  const uint8_t version = in.u8();
  const uint8_t kind = in.u8();
  m.kind = static_cast<Kind>(kind);
  m.from = in.u64();
  m.to = in.u64();
  m.counter = in.u64();
  m.progress = in.u64();
  m.progress_age_ms = in.u32();
  if (!in.ok() || magic != kMagic || version != kVersion || m.kind < Kind::kPing ||
      m.kind > Kind::kState || m.from == 0 || (m.to == 0) != (m.kind == Kind::kWho) ||
      !get_body(&in, &m)) {
    return std::nullopt;
  }
  while (in.left() > 0) {
    Update update;
    if (!get_update(&in, &update)) return std::nullopt;
    m.updates.push_back(std::move(update));
  }
  return m;
}

}  // namespace gossamer::swim
