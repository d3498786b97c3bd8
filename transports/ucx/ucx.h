// ucx: ranks that reach each other by whatever UCX finds: InfiniBand, RoCE, shared memory, tcp.
// UCX_TLS, UCX_NET_DEVICES and all other variables of UCX hold.

#pragma once

#include <memory>
#include <string>

#include "gossamer/transport.h"

namespace gossamer::ucx {

// Whether large messages that repeat are written by the sender into the receiver's memory.
enum class OneSided : uint8_t {
  kWhereNative,  // where a device does it; elsewhere UCX would emulate it by copies
  kAlways,       // for tests
};

struct Options {
  std::string tls;  // overrides UCX_TLS; empty: as the environment says, else all
  OneSided one_sided = OneSided::kWhereNative;
};

//   kUnavailable  built without UCX, UCX is not installed, or it finds no device to use
Result<std::unique_ptr<Transport>> create(const TransportConfig& config, const Options& options);

}  // namespace gossamer::ucx
