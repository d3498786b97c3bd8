#include "src/bootstrap.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "src/meeting.h"
#include "src/mesh.h"
#include "src/unique_id.h"

namespace gossamer {
namespace {

// The last rank to report leaves the first one little of its own time to connect.
constexpr std::chrono::milliseconds kFormTimeMin{5'000};

Status check(const BootstrapConfig& config) {
  if (config.size < 1 || config.size > kSizeMax || config.rank < 0 || config.rank >= config.size) {
    return Status::error(Code::kInvalidArgument,
                         fmt::format("rank {} of {} is impossible: 0 <= rank < size <= {}",
                                     config.rank, config.size, kSizeMax),
                         config.rank);
  }
  if (config.timeout.count() <= 0) {
    return Status::error(
        Code::kInvalidArgument,
        fmt::format("a timeout of {} ms leaves no time to join", config.timeout.count()));
  }
  if (config.id == nullptr && config.door == nullptr && config.rendezvous.empty() &&
      config.size > 1) {
    return Status::error(Code::kInvalidArgument,
                         "there is no meeting point: give a unique id or a rendezvous, "
                         "tcp://host:port or file:///path (GOSSAMER_RENDEZVOUS)");
  }
  for (const UniqueId& id : config.other_ids) {
    const auto fields = parse_unique_id(id);
    if (!fields) {
      return fields.status();
    }
  }
  return Status::ok();
}

// A rank alone has nobody to meet.
Result<Meeting> alone() {
  Meeting meeting;
  Status random = random_bytes(meeting.key);
  if (random) {
    random = random_bytes(std::as_writable_bytes(std::span(&meeting.session, 1)));
  }
  return random ? Result<Meeting>(meeting) : Result<Meeting>(random);
}

}  // namespace

class Bootstrap::Impl {
 public:
  explicit Impl(const BootstrapConfig& config)
      : timeout_(config.timeout), mesh_(config.rank, config.size, config.aborted) {}

  Meeting meeting_;
  SocketAddress address_;
  std::chrono::milliseconds timeout_;
  Mesh mesh_;
};

Bootstrap::Bootstrap(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Bootstrap::~Bootstrap() = default;

Result<std::unique_ptr<Bootstrap>> Bootstrap::join(const BootstrapConfig& config) {
  Status checked = check(config);
  if (!checked) {
    return checked;
  }
  auto impl = std::make_unique<Impl>(config);
  if (config.size == 1 && config.id == nullptr && config.door == nullptr) {
    auto meeting = alone();
    if (!meeting) {
      return meeting.status();
    }
    impl->meeting_ = *meeting;
  } else {
    const Deadline deadline(config.absence != nullptr ? config.absence->patience : config.timeout);
    auto met = meet(config, deadline);
    if (!met) {
      return met.status();
    }
    if (config.absence != nullptr) config.absence->met = true;
    impl->meeting_ = Meeting{config.rank, config.size, met->key, met->session};
    impl->address_ = met->listens_on;
    const Deadline form_by = std::max(deadline, Deadline(std::min(config.timeout, kFormTimeMin)));
    Status formed = impl->mesh_.form(std::move(*met), form_by);
    if (!formed) {
      return formed;
    }
  }
  return std::unique_ptr<Bootstrap>(new Bootstrap(std::move(impl)));
}

const Meeting& Bootstrap::meeting() const {
  return impl_->meeting_;
}

const SocketAddress& Bootstrap::address() const {
  return impl_->address_;
}

Result<std::vector<std::string>> Bootstrap::all_gather(const std::string& blob) {
  return impl_->mesh_.all_gather(blob, Deadline(impl_->timeout_));
}

}  // namespace gossamer
