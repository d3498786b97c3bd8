// ncclConfig_t as any version of the header may have it, checked and completed.
//
// Threads    Any.

#pragma once

#include <string>

#include "gossamer/status.h"
#include "nccl/nccl.h"

namespace gossamer::nccl {

// What a communicator was made with.
struct Config {
  bool blocking = true;
  std::string name;
  std::string transport = "auto";
};

// `given` over `inherited`, then NCCL_COMM_BLOCKING over both. Of a struct shorter than ours the
// missing members, of a longer one the unknown ones, and of an older version those it did not have,
// count as left alone. Null: all of them.
//   kInvalidArgument  not initialised with NCCL_CONFIG_INITIALIZER, or a member is out of range
Result<Config> read_config(const ncclConfig_t* given, const Config& inherited);

}  // namespace gossamer::nccl
