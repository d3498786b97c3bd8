// What tests over RDMA devices begin with. `./dev test --rdma` brings devices (tests/rdma-vm):
// there a missing one is a failure; elsewhere what needs one is skipped, and says why.

#pragma once

#include <cstdlib>
#include <string>

#include "tests/transport_ranks.h"
#include "transports/list.h"

namespace gossamer::suite {

// Rank i on device i, as on two machines.
inline const bool kSpread = ::setenv("GOSSAMER_IB_SPREAD", "rank", 0) == 0;

// Why verbs cannot be used here; empty: it can.
inline std::string missing() {
  const auto made = verbs_transport.create(make_config(0, 1));
  return made.is_ok() ? "" : made.status().message();
}

// Long messages are read instead of written.
inline Result<std::unique_ptr<Transport>> create_reading(const TransportConfig& config) {
  ::setenv("GOSSAMER_IB_READ", "1", 1);
  auto made = verbs_transport.create(config);
  ::unsetenv("GOSSAMER_IB_READ");
  return made;
}

class VerbsDevice : public testing::Test {
 protected:
  void SetUp() override {
    const std::string why = missing();
    if (why.empty()) return;
    ASSERT_EQ(std::getenv("RDMA_VM"), nullptr) << why;
    GTEST_SKIP() << why;
  }
};

}  // namespace gossamer::suite
