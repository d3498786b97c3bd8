#include "src/c_boundary.h"

namespace gossamer::boundary {
namespace {

thread_local std::string last_error;

// gossamerConfig_t as it was first.
struct FirstConfig {
  size_t size;
  const char* name;
  const char* transport;
  const char* algorithm;
  int timeout_ms;
};
static_assert(sizeof(FirstConfig) < sizeof(gossamerConfig_t));

}  // namespace

gossamerResult_t result_of(Code code) {
  switch (code) {
    case Code::kOk:
      return gossamerSuccess;
    case Code::kPending:
    case Code::kAgain:
      return gossamerInProgress;
    case Code::kInvalidArgument:
      return gossamerInvalidArgument;
    case Code::kUnavailable:
      return gossamerUnavailable;
    case Code::kTimeout:
      return gossamerTimeout;
    case Code::kPeerLost:
      return gossamerPeerLost;
    case Code::kMismatch:
      return gossamerMismatch;
    case Code::kAborted:
      return gossamerAborted;
    case Code::kSystem:
      return gossamerSystemError;
  }
  return gossamerSystemError;
}

gossamerResult_t finish(const Status& status) {
  if (status.is_ok()) return gossamerSuccess;
  last_error = status.to_string();
  return result_of(status.code());
}

gossamerResult_t refuse(const char* sentence) {
  last_error = sentence;
  return gossamerInvalidArgument;
}

gossamerResult_t out_of_memory() {
  return gossamerSystemError;
}

gossamerResult_t thrown(const std::exception& exception) {
  last_error = std::string("system: ") + exception.what();
  return gossamerSystemError;
}

const std::string& last_sentence() {
  return last_error;
}

Result<Communicator::Options> options_of(const gossamerConfig_t* config) {
  Communicator::Options options;
  if (config == nullptr) return options;
  // What the first version does not have is as the initialiser sets it.
  const bool watches = config->size == sizeof(gossamerConfig_t);
  if (!watches && config->size != sizeof(FirstConfig)) {
    return Status::error(Code::kInvalidArgument,
                         "the config has the size of no version of it; start from "
                         "GOSSAMER_CONFIG_INITIALIZER and compile with this version's header");
  }
  if (config->name != nullptr) options.name = config->name;
  if (config->transport != nullptr) options.transport = config->transport;
  if (config->algorithm != nullptr) options.algorithm = config->algorithm;
  options.timeout = std::chrono::milliseconds(config->timeout_ms);
  if (!watches) return options;
  options.membership = config->membership != 0;
  options.probe_interval = std::chrono::milliseconds(config->probe_interval_ms);
  options.stuck_after = std::chrono::milliseconds(config->stuck_after_ms);
  return options;
}

gossamerResult_t hand_over(Result<std::unique_ptr<Communicator>> made, gossamerComm_t* comm) {
  if (!made) return finish(made.status());
  *comm = *made ? new gossamerComm{std::move(made).value()} : nullptr;
  return gossamerSuccess;
}

gossamerResult_t hand_over(Work work, gossamerWork_t* handle) {
  *handle = new gossamerWork{std::move(work)};
  return gossamerSuccess;
}

gossamerResult_t hand_over(Result<PersistentCollective> made, gossamerPlan_t* handle) {
  if (!made) return finish(made.status());
  *handle = new gossamerPlan{.collective = std::move(made).value()};
  return gossamerSuccess;
}

}  // namespace gossamer::boundary
