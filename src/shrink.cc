// Groups made from a group that has failed, or that some ranks shall leave.

#include <fmt/format.h>

#include <algorithm>

#include "src/communicator_impl.h"
#include "src/wire.h"

namespace gossamer {
namespace {

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

}  // namespace

// Where ranks of this group that know each other by `purpose` alone can meet.
Result<Door> Communicator::Impl::door_of(Rank owner, const std::string& purpose) const {
  const std::string& told = doors_[static_cast<size_t>(owner)];
  const std::optional<SocketAddress> address = parse_door(told, address_);
  if (!address) {
    return Status::error(Code::kUnavailable,
                         fmt::format("rank {} found no free port to listen at when the group "
                                     "formed; widen GOSSAMER_PORT_RANGE",
                                     owner),
                         owner);
  }
  Door door;
  door.address = *address;
  WireWriter label;
  label.text("gossamer door");
  door.key = hmac_sha256(config_.key, label.data());
  label.text(purpose);
  label.u64(config_.session);
  const Key session = hmac_sha256(config_.key, label.data());
  std::memcpy(&door.session, session.data(), sizeof(door.session));
  door.listening = owner == rank ? door_.get() : -1;
  door.owner = fmt::format("rank {} of the group before", owner);
  return door;
}

Status Communicator::Impl::check_left_out(std::span<const Rank> ranks,
                                          const ShrinkOptions& options) const {
  if (options.timeout.count() < 0 || options.call_timeout.count() < 0) {
    return invalid("the timeout is negative");
  }
  std::vector<bool> out(static_cast<size_t>(size));
  for (const Rank r : ranks) {
    if (r < 0 || r >= size || r == rank || out[static_cast<size_t>(r)]) {
      return invalid(fmt::format("rank {} is to be excluded, {}", r,
                                 r == rank ? "which is this one: only those that go on call this"
                                 : r < 0 || r >= size
                                     ? fmt::format("but the group has ranks 0 to {}", size - 1)
                                     : "twice"));
    }
    out[static_cast<size_t>(r)] = true;
  }
  return Status::ok();
}

// `left_out` is checked and ascends. Failures name ranks of this group.
Result<std::unique_ptr<Communicator::Impl>> Communicator::Impl::without(
    std::span<const Rank> left_out, const std::string& purpose, Absence* absence,
    const ShrinkOptions& options) const {
  std::vector<Rank> members;
  for (Rank r = 0; r < size; ++r) {
    if (!std::binary_search(left_out.begin(), left_out.end(), r)) members.push_back(r);
  }
  Options complete = inherited({options.name, options.timeout, options.cancelled});
  complete.size = static_cast<Rank>(members.size());
  complete.rank =
      static_cast<Rank>(std::find(members.begin(), members.end(), rank) - members.begin());
  Result<std::unique_ptr<Impl>> made = make(complete);
  if (!made) return made;
  BootstrapConfig meeting;
  meeting.absence = absence;
  Result<Door> door = Door();
  if (complete.size > 1) {
    door = door_of(members.front(), purpose);
    if (!door) return door.status();
    meeting.door = &*door;
  }
  const Status met = (*made)->meet(complete, meeting);
  if (met) {
    if (options.call_timeout.count() > 0) (*made)->timeout_ = options.call_timeout;
    return made;
  }
  // The new group's ranks mean nothing to those who know only the old one's.
  const bool known = met.rank() >= 0 && met.rank() < complete.size;
  const Rank at_fault = known ? members[static_cast<size_t>(met.rank())] : -1;
  return Status::error(
      met.code(),
      fmt::format("shrinking to {} ranks, numbered anew: {}", complete.size, met.message()),
      at_fault);
}

Result<std::unique_ptr<Communicator::Impl>> Communicator::Impl::shrink(
    std::span<const Rank> excluded, const ShrinkOptions& options) {
  if (excluded.empty()) return invalid("no rank is to be excluded; name at least one");
  if (Status checked = check_left_out(excluded, options); !checked) return checked;
  if (options.abort) abort();
  std::vector<Rank> left_out(excluded.begin(), excluded.end());
  std::sort(left_out.begin(), left_out.end());
  std::string purpose = "without";
  for (const Rank r : left_out) purpose += fmt::format(" {}", r);
  return without(left_out, purpose, nullptr, options);
}

void Communicator::Impl::revoke() {
  revoked_.store(true);
  abort();
}

// --- the public face -----------------------------------------------------------------------------

Result<std::unique_ptr<Communicator>> Communicator::shrink(std::span<const Rank> excluded) {
  return shrink(excluded, ShrinkOptions());
}

Result<std::unique_ptr<Communicator>> Communicator::shrink(std::span<const Rank> excluded,
                                                           const ShrinkOptions& options) {
  Result<std::unique_ptr<Impl>> made = impl_->shrink(excluded, options);
  if (!made) return made.status();
  return std::unique_ptr<Communicator>(new Communicator(std::move(made).value()));
}

void Communicator::revoke() {
  impl_->revoke();
}

bool Communicator::revoked() const {
  return impl_->revoked();
}

}  // namespace gossamer
