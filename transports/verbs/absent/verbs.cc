// What stands for the verbs transport where libibverbs's headers were not found.

#include "transports/list.h"

namespace gossamer {

namespace {

Result<std::unique_ptr<Transport>> create_absent(const TransportConfig& /*config*/) {
  return Status::error(Code::kUnavailable,
                       "transport verbs was not built: install libibverbs-dev and build again");
}

}  // namespace

const TransportFactory verbs_transport{"verbs", create_absent};

}  // namespace gossamer
