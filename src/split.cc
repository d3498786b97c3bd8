// Groups made from a group that works: split, and all ranks in one process.

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "src/communicator_impl.h"
#include "src/env.h"
#include "src/member_exchange.h"
#include "src/unique_id.h"
#include "src/wire.h"

namespace gossamer {

// What a rank asks for in a split.
struct Communicator::Impl::Claim {
  int color = kNoColor;
  int key = 0;
  Rank rank = 0;

  std::string encode() const { return fmt::format("{} {}", color, key); }
  static Result<Claim> decode(const std::string& text, Rank from) {
    const size_t space = std::min(text.find(' '), text.size());
    const std::string what = fmt::format("the color or the key of rank {}", from);
    Result<int64_t> color = parse_int(text.substr(0, space), INT32_MIN, INT32_MAX, what);
    if (!color) return color.status();
    Result<int64_t> key =
        parse_int(text.substr(std::min(space + 1, text.size())), INT32_MIN, INT32_MAX, what);
    if (!key) return key.status();
    return Claim{static_cast<int>(*color), static_cast<int>(*key), from};
  }
};

// The ranks of one color, by their ranks here, in their new order.
struct Communicator::Impl::Part {
  std::vector<Rank> members;
  Rank rank = 0;  // of this one among them
};

Communicator::Options Communicator::Impl::inherited(const SplitOptions& given) const {
  Options options;
  options.name = given.name.empty() ? name : given.name;
  options.transport = wanted_transport_;
  options.algorithm = algorithm_;
  options.timeout = given.timeout.count() > 0 ? given.timeout : timeout_;
  options.cancelled = given.cancelled;
  options.membership = watching_.on;
  options.probe_interval = watching_.interval;
  options.stuck_after = watching_.stuck_after;
  return options;
}

// Everybody's claims, and so this rank's part.
Result<Communicator::Impl::Part> Communicator::Impl::find_part(const Claim& mine,
                                                               Exchange* exchange) const {
  Result<std::vector<std::string>> told = exchange->all_gather(mine.encode());
  if (!told) return told.status();
  std::vector<Claim> claims;
  for (Rank r = 0; r < size; ++r) {
    Result<Claim> claim = Claim::decode((*told)[static_cast<size_t>(r)], r);
    if (!claim) return claim.status();
    if (claim->color == mine.color) claims.push_back(*claim);
  }
  std::stable_sort(claims.begin(), claims.end(),
                   [](const Claim& a, const Claim& b) { return a.key < b.key; });
  Part part;
  for (const Claim& claim : claims) {
    if (claim.rank == rank) part.rank = static_cast<Rank>(part.members.size());
    part.members.push_back(claim.rank);
  }
  return part;
}

Result<std::unique_ptr<Communicator::Impl>> Communicator::Impl::split(int color, int key,
                                                                      const SplitOptions& options) {
  if (options.timeout.count() < 0) {
    return Status::error(Code::kInvalidArgument, "the timeout is negative");
  }
  const Claim mine{std::max(color, kNoColor), key, rank};
  return revoked() ? split_at_door(mine, options) : split_by_messages(mine, options);
}

// The new group's ranks tell each other over this communicator what they otherwise would over
// connections of their own: nothing is opened, nobody serves.
Result<std::unique_ptr<Communicator::Impl>> Communicator::Impl::split_by_messages(
    const Claim& mine, const SplitOptions& options) {
  const uint64_t turn = splits_.fetch_add(1);
  std::vector<Rank> everybody(static_cast<size_t>(size));
  for (Rank r = 0; r < size; ++r) everybody[static_cast<size_t>(r)] = r;
  MemberExchange all(this, everybody, options.cancelled);
  Result<Part> part = find_part(mine, &all);
  if (!part) return part.status();
  if (mine.color == kNoColor) return std::unique_ptr<Impl>();
  Options complete = inherited(options);
  complete.rank = part->rank;
  complete.size = static_cast<Rank>(part->members.size());
  MemberExchange exchange(this, part->members, options.cancelled);
  Result<std::unique_ptr<Impl>> made = make(complete);
  Status status = made.status();
  if (status) {
    // A key and a session of its own, which nobody outside this group can know.
    Impl& child = **made;
    WireWriter label;
    label.text("gossamer split");
    label.u64(turn);
    label.i32(mine.color);
    child.config_.key = hmac_sha256(config_.key, label.data());
    label.text("session");
    const Key session = hmac_sha256(config_.key, label.data());
    std::memcpy(&child.config_.session, session.data(), sizeof(child.config_.session));
    child.address_ = address_;
    status = child.form(complete, &exchange);
  }
  if (!status) {
    exchange.tell(status);
    return status;
  }
  return made;  // form() ends with an exchange: all ranks have come as far
}

// After revoke(): this communicator carries nothing any more, so all meet anew, at rank 0's door,
// and the first of each part opens a meeting point for it.
Result<std::unique_ptr<Communicator::Impl>> Communicator::Impl::split_at_door(
    const Claim& mine, const SplitOptions& options) {
  Options complete = inherited(options);
  std::unique_ptr<Bootstrap> bootstrap;
  Part part{{rank}, 0};
  if (size > 1) {
    const Result<Door> door = door_of(0, fmt::format("split {}", splits_.fetch_add(1)));
    if (!door) return door.status();
    BootstrapConfig meeting;
    meeting.rank = rank;
    meeting.size = size;
    meeting.door = &*door;
    meeting.interfaces = config_.interfaces;
    meeting.port_range = config_.port_range;
    meeting.timeout = complete.timeout;
    meeting.aborted = options.cancelled;
    Result<std::unique_ptr<Bootstrap>> joined = Bootstrap::join(meeting);
    if (!joined) return joined.status();
    bootstrap = std::move(joined).value();
    Result<Part> found = find_part(mine, bootstrap.get());
    if (!found) return found.status();
    part = *found;
  }
  complete.rank = part.rank;
  complete.size = static_cast<Rank>(part.members.size());
  UniqueId id;
  std::unique_ptr<RendezvousThread> server;
  if (bootstrap) {
    if (part.rank == 0 && complete.size > 1 && mine.color != kNoColor) {
      Result<OpenedRendezvous> opened = open_rendezvous_thread(
          config_.interfaces, config_.port_range, complete.timeout, std::chrono::milliseconds(300));
      if (!opened) return opened.status();
      id = encode(opened->fields);
      server = std::move(opened->thread);
    }
    const auto* bytes = reinterpret_cast<const char*>(id.bytes.data());
    Result<std::vector<std::string>> ids = bootstrap->all_gather({bytes, id.bytes.size()});
    if (!ids) return ids.status();
    const std::string& first = (*ids)[static_cast<size_t>(part.members.front())];
    if (first.size() != id.bytes.size()) {
      return Status::error(Code::kMismatch, "a rank sent no unique id", part.members.front());
    }
    std::memcpy(id.bytes.data(), first.data(), id.bytes.size());
  }
  if (mine.color == kNoColor) return std::unique_ptr<Impl>();
  Result<std::unique_ptr<Impl>> made = make(complete);
  if (!made) return made;
  BootstrapConfig meeting;
  meeting.id = &id;
  const Status met = (*made)->meet(complete, meeting);
  if (server && !met) server->stop();
  return met ? std::move(made) : Result<std::unique_ptr<Impl>>(met);
}

// --- the public face -----------------------------------------------------------------------------

Result<std::unique_ptr<Communicator>> Communicator::split(int color, int key) {
  return split(color, key, SplitOptions());
}

Result<std::unique_ptr<Communicator>> Communicator::split(int color, int key,
                                                          const SplitOptions& options) {
  Result<std::unique_ptr<Impl>> made = impl_->split(color, key, options);
  if (!made) return made.status();
  if (*made == nullptr) return std::unique_ptr<Communicator>();
  return std::unique_ptr<Communicator>(new Communicator(std::move(made).value()));
}

Result<std::vector<std::unique_ptr<Communicator>>> Communicator::create_all(Rank size) {
  return create_all(size, Options());
}

Result<std::vector<std::unique_ptr<Communicator>>> Communicator::create_all(Rank size,
                                                                            Options options) {
  if (size < 1) {
    return Status::error(Code::kInvalidArgument,
                         fmt::format("size is {}; a group has at least 1 rank", size));
  }
  // One that fails ends the others, who would wait for it; so does the caller's wish.
  std::atomic<bool> cancelled{false};
  const std::atomic<bool>* const wish = std::exchange(options.cancelled, &cancelled);
  Result<OpenedRendezvous> opened = open_rendezvous_thread(
      env_string("GOSSAMER_SOCKET_IFNAME"), env_string("GOSSAMER_PORT_RANGE"),
      std::chrono::minutes(2), std::chrono::milliseconds(300));
  if (!opened) return opened.status();
  const UniqueId id = encode(opened->fields);
  options.size = size;
  options.id = &id;
  options.rendezvous.clear();
  std::vector<std::unique_ptr<Communicator>> all(static_cast<size_t>(size));
  std::mutex mutex;
  Status first;
  std::atomic<Rank> left{size};
  const auto join = [&](Rank rank) {
    Options own = options;
    own.rank = rank;
    Result<std::unique_ptr<Communicator>> made = create(own);
    if (made) {
      all[static_cast<size_t>(rank)] = std::move(made).value();
    } else {
      const std::lock_guard lock(mutex);
      if (first) first = made.status();
      cancelled.store(true);
    }
    --left;
  };
  std::vector<std::thread> threads;
  threads.reserve(static_cast<size_t>(size));
  for (Rank r = 0; r < size; ++r) threads.emplace_back(join, r);
  while (wish != nullptr && left.load() > 0) {
    if (wish->load()) cancelled.store(true);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  for (std::thread& thread : threads) thread.join();
  opened->thread->stop();  // a rank alone has not come there
  if (!first) return first;
  return all;
}

}  // namespace gossamer
