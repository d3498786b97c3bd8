// What stands in for the transport where UCX's headers were not found at build time.

#include "transports/ucx/ucx.h"

#include "transports/list.h"

namespace gossamer {

namespace ucx {

Result<std::unique_ptr<Transport>> create(const TransportConfig&, const Options&) {
  return Status::error(Code::kUnavailable,
                       "built without UCX: install libucx-dev (Debian) and build again, or choose "
                       "another transport");
}

}  // namespace ucx

const TransportFactory ucx_transport{
    "ucx", [](const TransportConfig& config) { return ucx::create(config, {}); }};

}  // namespace gossamer
