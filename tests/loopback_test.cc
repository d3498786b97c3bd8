#include "tests/transport_suite.h"
#include "transports/list.h"

namespace gossamer::suite {

INSTANTIATE_TEST_SUITE_P(Loopback, TransportSuite,
                         testing::Values(TransportCase{.name = "loopback",
                                                       .create = loopback_transport.create}),
                         case_name);

TEST(Loopback, RefusesARankOfAnotherProcess) {
  TransportConfig config = make_config(0, 2);
  auto made = loopback_transport.create(config);
  ASSERT_TRUE(made.is_ok());
  ASSERT_TRUE((*made)->start({(*made)->address(), "1:1"}).is_ok());
  Fault fault;
  EXPECT_EQ((*made)->open(1, &fault), Code::kUnavailable);
  EXPECT_EQ(fault.rank, 1);
}

}  // namespace gossamer::suite
