// How an averaging job begins: what is checked, opened and asked for before the first step.

#include <fmt/format.h>
#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "gossip/job/impl.h"
#include "gossip/methods/checks.h"
#include "src/env.h"
#include "src/unique_id.h"

namespace gossamer {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kAskAgain{500};
constexpr size_t kEventsMax = 65'536;

Status bad(const std::string& sentence) {
  return Status::error(Code::kInvalidArgument, "averaging job: " + sentence);
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

struct Secret {
  Key key{};
  uint64_t session = 0;
};

// Jobs of one key are told apart by the session.
Result<Secret> secret_of(const AveragingJob::Options& options) {
  Secret secret;
  if (options.id != nullptr) {
    const auto fields = parse_unique_id(*options.id);
    if (!fields) return fields.status();
    secret = {fields->key, fields->session};
  } else {
    secret.key = hmac_sha256(bytes_of("gossamer averaging job"), bytes_of(options.key));
  }
  const Key digest = hmac_sha256(secret.key, bytes_of("job " + options.name));
  uint64_t name = 0;
  std::memcpy(&name, digest.data(), sizeof(name));
  secret.session ^= name;
  return secret;
}

Status check(const AveragingJob::Options& o) {
  if (Status sound = check_elements(o.count, o.type, true); !sound) return sound;
  if (o.key.empty() == (o.id == nullptr)) {
    return bad("give either a key, a secret that all members have, or a unique id");
  }
  if (o.label.size() > job::kLabelBytesMax) {
    return bad(fmt::format("a label of {} bytes; {} travel with a member", o.label.size(),
                           job::kLabelBytesMax));
  }
  if (o.probe_interval < milliseconds(10) || o.probe_interval > std::chrono::hours(1)) {
    return bad(
        fmt::format("a probe_interval of {} ms; give 10 ms to 1 hour", o.probe_interval.count()));
  }
  if (o.stuck_after.count() < 0 || o.timeout.count() <= 0) {
    return bad("stuck_after must not be negative, and timeout be above 0");
  }
  return Status::ok();
}

Membership::Options membership_options(const AveragingJob::Options& o, const Secret& secret,
                                       uint16_t port) {
  Membership::Options options;
  options.key = secret.key;
  options.session = secret.session;
  options.interfaces = o.interfaces;
  options.port_range = o.port_range;
  options.metadata = job::encode(job::Card{port, o.type, o.count, o.label});
  options.timing.probe_interval = o.probe_interval;
  options.timing.probe_timeout = o.probe_interval * 2 / 5;
  options.timing.sync_interval = o.probe_interval * 10;
  options.timing.progress_limit = o.stuck_after;
  return options;
}

// On the interface where the membership will be, which chooses alike.
Result<Fd> listen_for(const AveragingJob::Options& o, SocketAddress* at) {
  auto chosen =
      choose_interfaces(o.interfaces.empty() ? env_string("GOSSAMER_SOCKET_IFNAME") : o.interfaces);
  if (!chosen) return chosen.status();
  const std::string range = o.port_range.empty() ? env_string("GOSSAMER_PORT_RANGE") : o.port_range;
  const auto socket = listen_on(chosen->front().address, range);
  if (!socket) return socket.status();
  Fd fd(*socket);
  auto address = local_address(fd.get());
  if (!address) return address.status();
  *at = *address;
  return fd;
}

AveragingJob::EventKind kind_of(MemberEventKind kind) {
  switch (kind) {
    case MemberEventKind::kDied:
      return AveragingJob::EventKind::kDied;
    case MemberEventKind::kLeft:
      return AveragingJob::EventKind::kLeft;
    case MemberEventKind::kReturned:
      return AveragingJob::EventKind::kReturned;
    case MemberEventKind::kStuck:
      return AveragingJob::EventKind::kStuck;
    case MemberEventKind::kMoving:
      return AveragingJob::EventKind::kMoving;
    default:
      return AveragingJob::EventKind::kJoined;
  }
}

bool of_interest(MemberEventKind kind) {
  return kind != MemberEventKind::kSuspected && kind != MemberEventKind::kRefuted &&
         kind != MemberEventKind::kUpdated;
}

}  // namespace

AveragingJob::Impl::~Impl() {
  if (carrier != nullptr) carrier->stop();
}

bool AveragingJob::Impl::forked() const {
  return owner != ::getpid();
}

Result<std::unique_ptr<AveragingJob::Impl>> AveragingJob::Impl::make(const Options& options) {
  if (Status sound = check(options); !sound) return sound;
  const auto secret = secret_of(options);
  if (!secret) return secret.status();
  auto made = std::make_unique<Impl>();
  made->options = options;
  made->owner = ::getpid();
  SocketAddress own;
  auto listening = listen_for(options, &own);
  if (!listening) return listening.status();
  made->core = std::make_unique<job::Core>(options.count, options.type);
  made->core->random.seed(options.seed);
  job::Carrier::Config config;
  config.key = secret->key;
  config.session = secret->session;
  config.shape = {options.count, options.type};
  if (own.storage.ss_family == AF_INET6) {
    config.scope = reinterpret_cast<const sockaddr_in6*>(&own.storage)->sin6_scope_id;
  }
  made->carrier = std::make_unique<job::Carrier>(config, std::move(*listening), made->core.get());
  if (Status opened = made->carrier->open(); !opened) return opened;
  auto joining = membership_options(options, *secret, own.port());
  joining.on_event = [impl = made.get()](const MemberEvent& event) { impl->keep(event); };
  auto membership = Membership::start(joining);
  if (!membership) return membership.status();
  made->membership = std::move(*membership);
  made->core->self = made->membership->id();
  if (Status started = made->carrier->start(made->membership.get()); !started) return started;
  return made;
}

void AveragingJob::Impl::keep(const MemberEvent& event) {
  carrier->note(event.member.id, event.kind == MemberEventKind::kLeft);
  const auto card = job::parse_card(event.member.metadata);
  if (!of_interest(event.kind)) return;
  Event fresh;
  fresh.kind = kind_of(event.kind);
  fresh.member.id = event.member.id;
  fresh.member.address = event.member.address;
  fresh.member.label = card ? card->label : "";
  fresh.member.steps = event.member.progress;
  fresh.member.stuck = event.member.stuck;
  {
    const std::lock_guard lock(events_m);
    kept.push_back(std::move(fresh));
    if (kept.size() > kEventsMax) kept.pop_front();
  }
  events_changed.notify_all();
}

Status AveragingJob::Impl::check_others() const {
  for (const auto& member : membership->members()) {
    if (member.id == membership->id()) continue;
    const auto card = job::parse_card(member.metadata);
    if (!card) {
      return Status::error(Code::kMismatch,
                           fmt::format("averaging job: the member at {} is of no averaging job, "
                                       "or of another version of it",
                                       member.address));
    }
    if (card->count == options.count && card->type == options.type) continue;
    return Status::error(
        Code::kMismatch,
        fmt::format("averaging job: the member at {} averages {} elements of {} and this one {} "
                    "of {}; give all members the same count and type",
                    member.address, card->count, name_of(card->type), options.count,
                    name_of(options.type)));
  }
  return Status::ok();
}

job::PeerId AveragingJob::Impl::next_to_ask(const std::string& address, job::PeerId last) const {
  job::PeerId first = 0;
  job::PeerId after = 0;
  for (const auto& member : membership->members()) {
    if (!core->peers.contains(member.id)) continue;
    if (last == 0 && member.address == address) return member.id;
    if (first == 0) first = member.id;
    if (after == 0 && member.id > last) after = member.id;
  }
  return after != 0 ? after : first;
}

Status AveragingJob::Impl::fetch(const std::string& address, const Deadline& deadline) {
  std::unique_lock lock(core->m);
  job::PeerId last = 0;
  size_t asked = 0;
  while (core->ledger.weight() <= 0 && !deadline.expired()) {
    lock.unlock();
    if (Status same = check_others(); !same) return same;
    lock.lock();
    core->asked = last = next_to_ask(address, last);
    core->asked_in_vain = false;
    if (last != 0) ++asked;
    carrier->wake();
    const auto patience = std::min(deadline.remaining(), last != 0 ? kAskAgain : milliseconds(20));
    core->changed.wait_for(lock, patience,
                           [&] { return !core->inbox.empty() || core->asked_in_vain; });
    if (core->asked_in_vain && core->inbox.empty()) {  // not at once again
      core->changed.wait_for(lock, std::min(deadline.remaining(), milliseconds(20)),
                             [&] { return !core->inbox.empty(); });
    }
    core->take_inbox();
  }
  core->asked = 0;
  if (core->ledger.weight() > 0) {
    core->steps = core->steps_heard;
    membership->advance_progress(core->steps);
    lock.unlock();
    carrier->wake();  // confirms
    return Status::ok();
  }
  return Status::error(
      Code::kTimeout,
      fmt::format("averaging job: joined through {}, but none of {} members that were asked gave "
                  "its values within {} ms; check that TCP passes between members, and that one "
                  "of them has started the job or joined it itself",
                  address, asked, options.timeout.count()));
}

}  // namespace gossamer
