// The C boundary of averaging jobs.

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "gossamer/averaging_job.h"
#include "gossamer/gossamer_job.h"
#include "src/c_boundary.h"

using gossamer::AveragingJob;
using gossamer::Code;
using gossamer::Result;
using gossamer::Status;
using namespace gossamer::boundary;  // NOLINT(google-build-using-namespace)
using std::chrono::milliseconds;

struct gossamerJob {
  std::unique_ptr<AveragingJob> job;
  std::string address;
  std::mutex m;
  std::deque<AveragingJob::Event> untold;  // guarded by m: there was no room for them
};

namespace {

constexpr const char* kNoJob = "the job is null; gossamerJobStart or gossamerJobJoin makes one";
constexpr const char* kNoConfig =
    "the config is null; begin with GOSSAMER_JOB_CONFIG_INITIALIZER and give it a key and a count";

const char* text_of(const char* given, const char* otherwise) {
  return given == nullptr ? otherwise : given;
}

milliseconds time_of(int given_ms, milliseconds otherwise) {
  return given_ms == 0 ? otherwise : milliseconds(given_ms);
}

// The id is lent by the caller's memory of this call.
Result<AveragingJob::Options> options_of(const gossamerJobConfig_t& given, gossamer::UniqueId* id) {
  const auto invalid = [](const char* text) { return Status::error(Code::kInvalidArgument, text); };
  if (given.size != sizeof(given)) {
    return invalid(
        "the job's config was not initialised with GOSSAMER_JOB_CONFIG_INITIALIZER, or by another "
        "version's");
  }
  if (number_of(given.peers) > gossamerJobRandomPeers) {
    return invalid("the peers are none of gossamerJobPeers_t");
  }
  AveragingJob::Options options;
  options.key = text_of(given.key, "");
  if (given.id != nullptr) {
    std::memcpy(id->bytes.data(), given.id->internal, sizeof(given.id->internal));
    options.id = id;
  }
  options.name = text_of(given.name, options.name.c_str());
  options.count = given.count;
  options.type = type_of(given.datatype);
  options.peers = static_cast<AveragingJob::Peers>(number_of(given.peers));
  options.seed = given.seed;
  options.label = text_of(given.label, "");
  options.interfaces = text_of(given.interfaces, "");
  options.port_range = text_of(given.port_range, "");
  options.probe_interval = time_of(given.probe_interval_ms, options.probe_interval);
  options.stuck_after = given.stuck_after_ms == -1
                            ? milliseconds(0)
                            : time_of(given.stuck_after_ms, options.stuck_after);
  options.timeout = time_of(given.timeout_ms, options.timeout);
  return options;
}

// Makes a member by `make`(options).
template <class Make>
gossamerResult_t begin(gossamerJob_t* job, const gossamerJobConfig_t* config, Make make) {
  if (job == nullptr) return refuse(kNoResult);
  *job = nullptr;
  if (config == nullptr) return refuse(kNoConfig);
  return guarded([&] {
    gossamer::UniqueId id;
    const Result<AveragingJob::Options> options = options_of(*config, &id);
    if (!options) return finish(options.status());
    auto handle = std::make_unique<gossamerJob>();
    Result<std::unique_ptr<AveragingJob>> made = make(*options);
    if (!made) return finish(made.status());
    handle->job = std::move(made).value();
    handle->address = handle->job->address();
    *job = handle.release();
    return gossamerSuccess;
  });
}

template <class Call>
gossamerResult_t on(gossamerJob_t job, Call call) {
  if (job == nullptr) return refuse(kNoJob);
  return guarded([&] { return finish(call(*job->job)); });
}

template <size_t kRoom>
void copy_text(const std::string& from, char (&into)[kRoom]) {
  const size_t bytes = std::min(from.size(), kRoom - 1);
  std::memcpy(into, from.data(), bytes);
  into[bytes] = '\0';
}

gossamerJobMember_t member_of(const AveragingJob::Member& given) {
  gossamerJobMember_t member = {};
  member.id = given.id;
  copy_text(given.address, member.address);
  copy_text(given.label, member.label);
  member.steps = given.steps;
  member.stuck = given.stuck ? 1 : 0;
  member.self = given.self ? 1 : 0;
  return member;
}

}  // namespace

extern "C" {

gossamerResult_t gossamerJobStart(gossamerJob_t* job, const gossamerJobConfig_t* config,
                                  const void* x) {
  return begin(job, config, [&](const AveragingJob::Options& options) {
    return AveragingJob::start(options, x);
  });
}

gossamerResult_t gossamerJobJoin(gossamerJob_t* job, const char* address,
                                 const gossamerJobConfig_t* config, void* x) {
  return begin(job, config, [&](const AveragingJob::Options& options) {
    return AveragingJob::join(text_of(address, ""), options, x);
  });
}

gossamerResult_t gossamerJobStep(gossamerJob_t job, void* x, const void* gradient, double rate) {
  return on(job, [&](AveragingJob& j) { return j.step(x, gradient, rate); });
}

gossamerResult_t gossamerJobLeave(gossamerJob_t job, int timeout_ms) {
  if (job != nullptr && timeout_ms < 0) return refuse("the timeout is negative");
  return on(job, [&](AveragingJob& j) { return j.leave(milliseconds(timeout_ms)); });
}

gossamerResult_t gossamerJobDestroy(gossamerJob_t job) {
  if (job == nullptr) return refuse(kNoJob);
  return guarded([&] {
    delete job;
    return gossamerSuccess;
  });
}

const char* gossamerJobAddress(gossamerJob_t job) {
  return job == nullptr ? nullptr : job->address.c_str();
}

gossamerResult_t gossamerJobSteps(gossamerJob_t job, uint64_t* steps) {
  if (job != nullptr && steps == nullptr) return refuse(kNoResult);
  return on(job, [&](const AveragingJob& j) {
    *steps = j.steps();
    return Status::ok();
  });
}

gossamerResult_t gossamerJobMembers(gossamerJob_t job, size_t* count,
                                    gossamerJobMember_t* members) {
  if (job != nullptr && count == nullptr) return refuse(kNoResult);
  return on(job, [&](const AveragingJob& j) {
    const std::vector<AveragingJob::Member> all = j.members();
    const size_t room = std::exchange(*count, all.size());
    for (size_t i = 0; members != nullptr && i < std::min(room, all.size()); ++i) {
      members[i] = member_of(all[i]);
    }
    return Status::ok();
  });
}

gossamerResult_t gossamerJobEvents(gossamerJob_t job, size_t* count, gossamerJobEvent_t* events,
                                   int wait_ms) {
  if (job == nullptr) return refuse(kNoJob);
  if (count == nullptr || events == nullptr) return refuse(kNoResult);
  if (wait_ms < 0) return refuse("the time to wait is negative");
  return guarded([&] {
    std::unique_lock lock(job->m);
    const bool wait = job->untold.empty() && *count > 0;
    lock.unlock();
    const auto fresh = job->job->events(milliseconds(wait ? wait_ms : 0));
    lock.lock();
    job->untold.insert(job->untold.end(), fresh.begin(), fresh.end());
    *count = std::min(*count, job->untold.size());
    for (size_t i = 0; i < *count; ++i) {
      const AveragingJob::Event& next = job->untold.front();
      events[i] = {static_cast<gossamerJobEventKind_t>(next.kind), member_of(next.member)};
      job->untold.pop_front();
    }
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerJobAccount(gossamerJob_t job, gossamerJobAccount_t* account) {
  if (job != nullptr && account == nullptr) return refuse(kNoResult);
  return on(job, [&](const AveragingJob& j) {
    const AveragingJob::Account a = j.account();
    *account = {a.weight, a.under_way, a.taken_back, a.pushes, a.takes, a.keeps};
    return Status::ok();
  });
}

}  // extern "C"
