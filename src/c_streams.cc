// The C API: streams, and communicators made from communicators.

#include <algorithm>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "src/c_boundary.h"

using namespace gossamer::boundary;  // NOLINT(google-build-using-namespace): all of it is this
                                     // file's
using gossamer::Communicator;
using gossamer::Result;

namespace {

constexpr const char* kNoStream = "the stream is null; gossamerStreamCreate makes one";

constexpr const char* kNobodyToLeaveOut = "no rank is to be excluded; name at least one";

thread_local std::optional<gossamer::Stream::Use> used;

// The streams there are, so that a foreign handle is refused and not followed. Never destroyed:
// programs exit with streams alive.
class LiveStreams {
 public:
  static LiveStreams& instance() {
    static auto* const kInstance = new LiveStreams;
    return *kInstance;
  }
  void add(gossamerStream_t stream) {
    const std::lock_guard lock(mutex_);
    streams_.insert(stream);
  }
  void remove(gossamerStream_t stream) {
    const std::lock_guard lock(mutex_);
    streams_.erase(stream);
  }
  bool has(gossamerStream_t stream) {
    const std::lock_guard lock(mutex_);
    return streams_.contains(stream);
  }

 private:
  std::mutex mutex_;
  std::set<gossamerStream_t> streams_;  // guarded by mutex_
};

Result<Communicator::ShrinkOptions> shrink_options_of(const gossamerConfig_t* config, int flags) {
  if ((flags & ~GOSSAMER_SHRINK_ABORT) != 0) {
    return gossamer::Status::error(
        gossamer::Code::kInvalidArgument,
        "the flags are neither GOSSAMER_SHRINK_DEFAULT nor GOSSAMER_SHRINK_ABORT");
  }
  const Result<Communicator::Options> options = options_of(config);
  if (!options) return options.status();
  Communicator::ShrinkOptions own;
  own.name = options->name;
  own.timeout = options->timeout;
  own.abort = (flags & GOSSAMER_SHRINK_ABORT) != 0;
  return own;
}

}  // namespace

extern "C" {

gossamerResult_t gossamerStreamCreate(gossamerStream_t* stream) {
  if (stream == nullptr) return refuse(kNoResult);
  *stream = nullptr;
  return guarded([&] {
    *stream = new gossamerStream;
    LiveStreams::instance().add(*stream);
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerStreamDestroy(gossamerStream_t stream) {
  return guarded([&] {
    LiveStreams::instance().remove(stream);
    delete stream;
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerStreamUse(gossamerStream_t stream) {
  return guarded([&] {
    used.reset();
    if (stream != nullptr) used.emplace(&stream->stream);
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerStreamSynchronize(gossamerStream_t stream) {
  if (stream == nullptr) return refuse(kNoStream);
  return guarded([&] { return finish(stream->stream.synchronize()); });
}

gossamerResult_t gossamerStreamQuery(gossamerStream_t stream, int* done) {
  if (stream == nullptr) return refuse(kNoStream);
  if (done == nullptr) return refuse(kNoResult);
  return guarded([&] {
    *done = stream->stream.query() ? 1 : 0;
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerStreamCall(gossamerStream_t stream, void (*function)(void* argument),
                                    void* argument) {
  if (stream == nullptr) return refuse(kNoStream);
  if (function == nullptr) return refuse("the function to call is null");
  return guarded([&] {
    if (!LiveStreams::instance().has(stream)) {
      return refuse("this is no stream of gossamerStreamCreate, or it was destroyed");
    }
    stream->stream.call([function, argument] { function(argument); });
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerCommInitAll(gossamerComm_t* comms, int nranks,
                                     const gossamerConfig_t* config) {
  if (comms == nullptr) return refuse(kNoResult);
  return guarded([&] {
    Result<Communicator::Options> options = options_of(config);
    if (!options) return finish(options.status());
    auto all = Communicator::create_all(nranks, *options);
    if (!all) return finish(all.status());
    for (size_t r = 0; r < all->size(); ++r) {
      comms[r] = new gossamerComm{std::move(all.value()[r])};
    }
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerCommSplit(gossamerComm_t comm, int color, int key, gossamerComm_t* newcomm,
                                   const gossamerConfig_t* config) {
  if (comm == nullptr) return refuse(kNoComm);
  if (newcomm == nullptr) return refuse(kNoResult);
  *newcomm = nullptr;
  return guarded([&] {
    const Result<Communicator::Options> options = options_of(config);
    if (!options) return finish(options.status());
    return hand_over(
        comm->communicator->split(color, key, {.name = options->name, .timeout = options->timeout}),
        newcomm);
  });
}

gossamerResult_t gossamerCommShrink(gossamerComm_t comm, const int* excluded, int excluded_count,
                                    gossamerComm_t* newcomm, const gossamerConfig_t* config,
                                    int flags) {
  if (comm == nullptr) return refuse(kNoComm);
  if (newcomm == nullptr) return refuse(kNoResult);
  *newcomm = nullptr;
  if (excluded == nullptr || excluded_count < 1) return refuse(kNobodyToLeaveOut);
  return guarded([&] {
    const Result<Communicator::ShrinkOptions> options = shrink_options_of(config, flags);
    if (!options) return finish(options.status());
    const std::span<const int> ranks(excluded, static_cast<size_t>(excluded_count));
    return hand_over(comm->communicator->shrink(ranks, *options), newcomm);
  });
}

gossamerResult_t gossamerCommCloseUp(gossamerComm_t comm, const int* suspected, int suspected_count,
                                     gossamerComm_t* newcomm, int* lost, int* lost_count,
                                     const gossamerConfig_t* config, int flags) {
  if (comm == nullptr) return refuse(kNoComm);
  if (newcomm == nullptr) return refuse(kNoResult);
  *newcomm = nullptr;
  if (suspected_count < 0 || (suspected == nullptr && suspected_count > 0)) {
    return refuse("the suspected ranks are null, or fewer than none");
  }
  if ((lost == nullptr) != (lost_count == nullptr) || (lost != nullptr && *lost_count < 0)) {
    return refuse(
        "lost and lost_count go together, and *lost_count says how many are lost already");
  }
  return guarded([&] {
    Result<Communicator::ShrinkOptions> options = shrink_options_of(config, flags);
    if (!options) return finish(options.status());
    if (lost != nullptr) options->lost_before.assign(lost, lost + *lost_count);
    const std::span<const int> ranks(suspected, static_cast<size_t>(suspected_count));
    Result<Communicator::ClosedUp> closed = comm->communicator->close_up(ranks, *options);
    if (!closed) return finish(closed.status());
    if (lost != nullptr) {
      std::copy(closed->lost.begin(), closed->lost.end(), lost);
      *lost_count = static_cast<int>(closed->lost.size());
    }
    return hand_over(Result<std::unique_ptr<Communicator>>(std::move(closed->comm)), newcomm);
  });
}

gossamerResult_t gossamerCommRevoke(gossamerComm_t comm) {
  if (comm == nullptr) return refuse(kNoComm);
  return guarded([&] {
    comm->communicator->revoke();
    return gossamerSuccess;
  });
}

}  // extern "C"
