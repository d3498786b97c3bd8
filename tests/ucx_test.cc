// The transport suite over UCX's tcp, its shared memory and, where there are devices, RDMA.
//
// ctest: TIMEOUT 300

#include "transports/ucx/ucx.h"

#include <cstdlib>
#include <filesystem>

#include "tests/transport_suite.h"
#include "transports/list.h"

namespace gossamer::suite {

namespace {

#if defined(__SANITIZE_THREAD__)
// UCX patches the calls that map memory, as the thread sanitizer does: one of the two crashes.
[[maybe_unused]] const int kNoHooks = ::setenv("UCX_MEM_EVENTS", "no", 1);
#endif

constexpr const char* kTcp = "tcp,self";
constexpr const char* kRdma = "rc_verbs,ud_verbs,self";
constexpr const char* kSharedMemory = "posix,sysv,cma,self";

TransportCase over(const char* name, const ucx::Options& options) {
  return {.name = name,
          .create = [options](const TransportConfig& c) { return ucx::create(c, options); },
          .authenticates = true};
}

// Why these tests cannot run, or nothing.
std::string unavailable() {
  const auto made = ucx::create(make_config(0, 1), {});
  return made.is_ok() ? "" : made.status().message();
}

std::vector<TransportCase> cases() {
  if (!unavailable().empty()) return {};
  std::vector<TransportCase> all = {over("tcp", {.tls = kTcp}),
                                    over("shm", {.tls = kSharedMemory})};
  // Only where there are RDMA devices, such as in tests/rdma-vm.
  std::error_code none;
  const std::filesystem::directory_iterator devices("/sys/class/infiniband", none);
  if (!none && devices != std::filesystem::directory_iterator()) {
    all.push_back(over("rc", {.tls = kRdma}));
  }
  return all;
}

}  // namespace

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(TransportSuite);
INSTANTIATE_TEST_SUITE_P(Ucx, TransportSuite, testing::ValuesIn(cases()), case_name);

TEST(Ucx, IsThereOrSaysWhatToInstall) {
  const std::string why = unavailable();
  if (why.empty()) return;
  EXPECT_NE(why.find("libucx"), std::string::npos) << why;
  GTEST_SKIP() << "skipped: " << why;
}

TEST(Ucx, AnUnknownTransportOfUcxIsUnavailableAndSaysWhereToLook) {
  if (!unavailable().empty()) GTEST_SKIP() << "skipped: " << unavailable();
  const auto made = ucx::create(make_config(0, 1), {.tls = "nosuchthing"});
  ASSERT_FALSE(made.is_ok());
  EXPECT_EQ(made.status().code(), Code::kUnavailable);
  EXPECT_NE(made.status().message().find("UCX_TLS"), std::string::npos) << made.status().message();
}

}  // namespace gossamer::suite
