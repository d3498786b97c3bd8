// Notes: what a receiver tells the sender of long messages, and what the sender makes of it.

#include <algorithm>
#include <cstring>

#include "src/check.h"
#include "transports/ucx/api.h"
#include "transports/ucx/ucx_transport.h"

namespace gossamer::ucx {

namespace {

void note_sent(void* request, ucs_status_t /*status*/, void* note) {
  ucp().ucp_request_free(request);
  auto* const told = static_cast<Note*>(note);
  told->busy = false;
  told->pipe->link->owner->on_note_sent(told->pipe);
}

}  // namespace

// --- told by the receiver ------------------------------------------------------------------------

void Ucx::on_note_sent(Pipe* pipe) {
  if (!abandoned_) activate(pipe);  // something may have waited for the room
}

bool Ucx::send_note(Pipe* pipe, Kind kind, uint32_t number, const Header& about,
                    const Extent& extent, std::span<const std::byte> key) {
  if (pipe->notes == nullptr) pipe->notes = std::make_unique<std::array<Note, kWindow>>();
  Note& note = (*pipe->notes)[pipe->next_note % kWindow];
  if (note.busy || pipe->link->broken) return false;
  ++pipe->next_note;
  note.pipe = pipe;
  fill(pipe, kind, number, &note.header);
  note.header.slot = about.slot;
  note.header.fingerprint = about.fingerprint;
  note.header.bytes = about.bytes;
  std::memcpy(note.payload.data(), &extent, sizeof extent);
  if (!key.empty()) std::memcpy(note.payload.data() + sizeof extent, key.data(), key.size());
  ucp_request_param_t param{};
  param.op_attr_mask =
      UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.flags = UCP_AM_SEND_FLAG_EAGER;
  param.cb.send = &note_sent;
  param.user_data = &note;
  void* const request =
      ucp().ucp_am_send_nbx(pipe->link->endpoint, kRecordId, &note.header, sizeof(Header),
                            note.payload.data(), sizeof extent + key.size(), &param);
  if (UCS_PTR_IS_ERR(request)) {
    on_broken(pipe->link, ucp().ucs_status_string(UCS_PTR_STATUS(request)));
    return false;
  }
  note.busy = request != nullptr;
  return true;
}

// The slot under which the peer knows this memory, naming it if it is new. False: not now.
bool Ucx::name_region(Pipe* pipe, const Registration& memory, uint16_t* slot) {
  const auto known = std::find(pipe->slot_owner.begin(), pipe->slot_owner.end(), memory.id);
  if (known != pipe->slot_owner.end()) {
    *slot = static_cast<uint16_t>(known - pipe->slot_owner.begin());
    return true;
  }
  const std::span<const std::byte> key = Fabric::key_of(memory.handle);
  if (key.size() > kKeyBytesMax) return false;
  Header about;
  about.slot = *slot = static_cast<uint16_t>(pipe->next_slot % kRegions);
  if (!send_note(pipe, Kind::kRegion, 0, about, {memory.begin, memory.end - memory.begin}, key)) {
    return false;
  }
  ++traffic_.exchanges;
  ++pipe->next_slot;
  if (*slot == pipe->slot_owner.size()) pipe->slot_owner.push_back(0);
  pipe->slot_owner[*slot] = memory.id;
  return true;
}

// Tells the sender of a long message where or how it goes. False: not now.
bool Ucx::tell(Pipe* pipe, Posted* posted) {
  const Sink& sink = posted->sink;
  if (sink.bytes <= pipe->link->peer_asks_above) return true;
  Header about;
  about.fingerprint = sink.fingerprint;
  about.bytes = sink.bytes;
  Extent extent;
  const bool may_put = cache_ != nullptr && pipe->link->puts && sink.combine == nullptr;
  if (may_put && posted->memory == nullptr) {
    posted->memory = cache_->acquire(sink.target, sink.bytes);
  }
  bool direct = false;
  if (posted->memory != nullptr) {
    direct = name_region(pipe, *posted->memory, &about.slot);
    if (!direct && Fabric::key_of(posted->memory->handle).size() <= kKeyBytesMax) return false;
    extent = {reinterpret_cast<uintptr_t>(sink.target) - posted->memory->begin, sink.bytes};
  }
  if (!direct) release(posted);
  return send_note(pipe, direct ? Kind::kDirect : Kind::kStream, posted->number, about, extent, {});
}

void Ucx::tell_all(Pipe* pipe) {
  if (pipe->link->peer_asks_above == UINT64_MAX) return;
  for (; pipe->untold < pipe->posted.size(); ++pipe->untold) {
    if (!tell(pipe, &pipe->posted.at(pipe->untold))) return;
  }
}

void Ucx::release(Posted* posted) {
  if (posted->memory != nullptr) cache_->release(std::exchange(posted->memory, nullptr));
}

// --- heard by the sender -------------------------------------------------------------------------

bool Ucx::take_note(Pipe* pipe, const Header& header, std::span<const std::byte> payload) {
  Extent extent;
  if (payload.size() < sizeof extent) return false;
  std::memcpy(&extent, payload.data(), sizeof extent);
  if (header.kind == Kind::kRegion) {
    return take_region(pipe, header.slot, extent, payload.subspan(sizeof extent));
  }
  if (header.kind != Kind::kDirect && header.kind != Kind::kStream) return false;
  if (pipe->grants.full()) return false;
  Grant grant;
  grant.number = widen(header.position, pipe->next_number);
  grant.fingerprint = header.fingerprint;
  grant.bytes = header.bytes;
  if (header.kind == Kind::kDirect) {
    if (header.slot >= pipe->regions.size()) return false;
    const Region& region = pipe->regions[header.slot];
    if (region.key == nullptr || extent.bytes != header.bytes || header.bytes > region.bytes ||
        extent.at > region.bytes - header.bytes) {
      return false;
    }
    grant.direct = true;
    grant.address = region.address + extent.at;
    grant.key = region.key;
  }
  pipe->grants.push(grant);
  if (pipe->issuing < pipe->outgoing.size()) activate(pipe);
  return true;
}

bool Ucx::take_region(Pipe* pipe, uint16_t slot, const Extent& extent,
                      std::span<const std::byte> packed) {
  if (slot >= kRegions || packed.empty() || pipe->link->endpoint == nullptr) return false;
  if (pipe->regions.size() <= slot) pipe->regions.resize(slot + 1U);
  Region& region = pipe->regions[slot];
  if (region.key != nullptr) pipe->retired.push_back(region.key);
  region = {unpack_key(*pipe->link, packed), extent.at, extent.bytes};
  return region.key != nullptr;
}

ucp_rkey* Ucx::unpack_key(const Link& link, std::span<const std::byte> packed) {
  ucp_rkey* key = nullptr;
  const ucs_status_t status = ucp().ucp_ep_rkey_unpack(link.endpoint, packed.data(), &key);
  return status == UCS_OK ? key : nullptr;
}

// Gives back keys that nothing uses any more.
void Ucx::drop_retired(Pipe* pipe) {
  if (pipe->retired.empty() || pipe->flying > 0 || !pipe->grants.empty()) return;
  for (ucp_rkey* const key : pipe->retired) ucp().ucp_rkey_destroy(key);
  pipe->retired.clear();
}

void Ucx::drop_keys(Pipe* pipe) {
  for (ucp_rkey* const key : pipe->retired) ucp().ucp_rkey_destroy(key);
  pipe->retired.clear();
  for (const Region& region : pipe->regions) {
    if (region.key != nullptr) ucp().ucp_rkey_destroy(region.key);
  }
  pipe->regions.clear();
  if (pipe->landing.key != nullptr) ucp().ucp_rkey_destroy(pipe->landing.key);
  pipe->landing = {};
}

}  // namespace gossamer::ucx
