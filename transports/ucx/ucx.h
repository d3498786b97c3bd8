// ucx: ranks that reach each other by whatever UCX finds: InfiniBand, RoCE, shared memory, tcp.
// UCX_TLS, UCX_NET_DEVICES and all other variables of UCX hold.

#pragma once

#include <memory>
#include <string>

#include "gossamer/transport.h"

namespace gossamer::ucx {

struct Options {
  std::string tls;  // overrides UCX_TLS; empty: as the environment says, else all
  // Puts into the caller's memory also where UCX only emulates that. For tests: what such a put
  // still has on its way is written even after abandon().
  bool emulated_puts = false;
};

//   kUnavailable  built without UCX, UCX is not installed, or it finds no device to use
Result<std::unique_ptr<Transport>> create(const TransportConfig& config, const Options& options);

}  // namespace gossamer::ucx
