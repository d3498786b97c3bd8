// Interfaces, addresses, ports and host identity.

#include "src/net.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>
#include <string>

#include "src/fd.h"
#include "tests/ports.h"

namespace gossamer {
namespace {

SocketAddress loopback(uint16_t port = 0) {
  return *SocketAddress::parse("127.0.0.1:" + std::to_string(port));
}

TEST(Address, ReadsAndPrintsBothFamilies) {
  for (const char* text : {"10.0.0.1:4711", "[fe80::1%lo]:4711", "[::1]:1", "127.0.0.1:65535"}) {
    auto address = SocketAddress::parse(text);
    ASSERT_TRUE(address) << text << ": " << address.status().message();
    EXPECT_EQ(address->to_string(), text);
  }
  EXPECT_EQ(SocketAddress::parse("10.0.0.1:4711")->port(), 4711);
}

TEST(Address, RefusesWhatIsNone) {
  for (const char* bad : {"", ":", "10.0.0.1", "10.0.0.1:", "10.0.0.1:70000", "10.0.0.1:-1",
                          "::1:5", "[::1]", "[::1", "host:5", "10.0.0.1:5x", "[]:5"}) {
    auto address = SocketAddress::parse(bad);
    ASSERT_FALSE(address) << bad;
    EXPECT_EQ(address.status().code(), Code::kInvalidArgument) << bad;
  }
}

TEST(Address, KnowsItsKind) {
  EXPECT_TRUE(SocketAddress::parse("127.9.0.1:1")->is_loopback());
  EXPECT_TRUE(SocketAddress::parse("[::1]:1")->is_loopback());
  EXPECT_FALSE(SocketAddress::parse("10.0.0.1:1")->is_loopback());
  EXPECT_TRUE(SocketAddress::parse("0.0.0.0:1")->is_any());
  EXPECT_TRUE(SocketAddress::parse("[::]:1")->is_any());
  EXPECT_TRUE(SocketAddress::parse("[fe80::1]:1")->is_link_local());
  EXPECT_TRUE(is_local_address(loopback(7)));
  EXPECT_FALSE(is_local_address(*SocketAddress::parse("198.51.100.1:7")));  // reserved for texts
}

TEST(Address, ResolvesLocalhostToIpv4) {
  auto address = SocketAddress::resolve("localhost", 77);
  ASSERT_TRUE(address);
  EXPECT_EQ(address->to_string(), "127.0.0.1:77");
  auto nowhere = SocketAddress::resolve("no..such..host", 77);
  ASSERT_FALSE(nowhere);
  EXPECT_NE(nowhere.status().message().find("no..such..host"), std::string::npos);
}

std::set<std::string> names(const std::string& pattern) {
  std::set<std::string> found;
  auto chosen = choose_interfaces(pattern);
  for (const Interface& i : chosen ? *chosen : std::vector<Interface>{}) {
    EXPECT_TRUE(found.insert(i.name).second) << i.name;
  }
  return found;
}

TEST(Interfaces, FollowNcclsPatterns) {
  EXPECT_EQ(names("lo"), std::set<std::string>{"lo"});
  EXPECT_EQ(names("=lo"), std::set<std::string>{"lo"});
  EXPECT_EQ(names("l"), std::set<std::string>{"lo"});
  EXPECT_TRUE(names("=l").empty());
  EXPECT_FALSE(names("^eth").empty());
  EXPECT_EQ(names("^lo").count("lo"), 0U);
  EXPECT_EQ(names("^=l").count("lo"), 1U);
  std::set<std::string> all = names("^=no-such-interface");
  EXPECT_EQ(all.count("lo"), 1U);
  EXPECT_EQ(names("no-such,lo"), std::set<std::string>{"lo"});
}

TEST(Interfaces, PreferOthersToTheLoopback) {
  const std::set<std::string> chosen = names("");
  EXPECT_FALSE(chosen.empty());
  std::set<std::string> others = names("^=lo");
  std::erase_if(others, [](const std::string& name) { return name.starts_with("docker"); });
  EXPECT_EQ(chosen, others.empty() ? std::set<std::string>{"lo"} : others);
}

bool has_ipv6() {
  std::ifstream file("/proc/net/if_inet6");
  std::string first;
  return static_cast<bool>(file >> first);
}

TEST(Interfaces, FollowTheFamily) {
  const auto families = [](const char* family) {
    ::setenv("GOSSAMER_SOCKET_FAMILY", family, 1);
    std::set<int> found;
    const auto chosen = choose_interfaces("lo");
    for (const Interface& i : chosen ? *chosen : std::vector<Interface>{}) {
      found.insert(i.address.storage.ss_family);
    }
    ::unsetenv("GOSSAMER_SOCKET_FAMILY");
    return found;
  };
  EXPECT_EQ(families("AF_INET"), std::set<int>{AF_INET});
  EXPECT_EQ(families(""), std::set<int>{AF_INET});
  EXPECT_EQ(families("AF_INET6"), has_ipv6() ? std::set<int>{AF_INET6} : std::set<int>{});
  ::setenv("GOSSAMER_SOCKET_FAMILY", "IPv6", 1);
  const auto wrong = choose_interfaces("lo");
  const auto numeric = SocketAddress::parse("127.0.0.1:1");
  const auto named = SocketAddress::resolve("localhost", 1);
  ::setenv("GOSSAMER_SOCKET_FAMILY", "AF_INET6", 1);
  const auto other = SocketAddress::resolve("127.0.0.1", 1);
  ::unsetenv("GOSSAMER_SOCKET_FAMILY");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.status().code(), Code::kInvalidArgument);
  EXPECT_NE(wrong.status().message().find("neither AF_INET nor AF_INET6"), std::string::npos);
  EXPECT_FALSE(named);
  EXPECT_TRUE(numeric);
  EXPECT_TRUE(other);  // numbers are taken as they are
}

TEST(Interfaces, SayWhatThereIs) {
  auto chosen = choose_interfaces("=nothing0");
  ASSERT_FALSE(chosen);
  EXPECT_EQ(chosen.status().code(), Code::kInvalidArgument);
  EXPECT_NE(chosen.status().message().find("=nothing0"), std::string::npos);
  EXPECT_NE(chosen.status().message().find("lo"), std::string::npos);
}

TEST(Listen, StaysInThePortRange) {
  const uint16_t first = free_ports(10);
  auto probe = listen_on(loopback(first), "");
  ASSERT_TRUE(probe) << probe.status().message();
  const Fd held(*probe);
  const std::string range = std::to_string(first) + "-" + std::to_string(first + 9);
  std::vector<Fd> sockets;
  std::set<uint16_t> ports{first};
  for (int i = 0; i < 3; ++i) {
    auto socket = listen_on(loopback(), range);
    ASSERT_TRUE(socket) << socket.status().message();
    sockets.emplace_back(*socket);
    const uint16_t port = local_address(*socket)->port();
    EXPECT_GT(port, first);
    EXPECT_LE(port, first + 9);
    EXPECT_TRUE(ports.insert(port).second);
  }
}

TEST(Listen, NamesTheRangeThatIsFull) {
  auto probe = listen_on(loopback(), "");
  ASSERT_TRUE(probe);
  const Fd held(*probe);
  const std::string port = std::to_string(local_address(*probe)->port());
  auto socket = listen_on(loopback(), port + "-" + port);
  ASSERT_FALSE(socket);
  EXPECT_EQ(socket.status().code(), Code::kSystem);
  EXPECT_NE(socket.status().message().find(port + "-" + port), std::string::npos);
  EXPECT_NE(socket.status().message().find("GOSSAMER_PORT_RANGE"), std::string::npos);

  auto taken = listen_on(*local_address(*probe), "");
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.status().code(), Code::kSystem);
  EXPECT_NE(taken.status().message().find("port " + port + " is in use"), std::string::npos);
}

TEST(Listen, RefusesAMalformedRange) {
  for (const char* bad : {"-", "5-", "-5", "9-5", "0-5", "5-70000", "a-b", "1-2-3"}) {
    auto socket = listen_on(loopback(), bad);
    ASSERT_FALSE(socket) << bad;
    EXPECT_EQ(socket.status().code(), Code::kInvalidArgument) << bad;
    EXPECT_NE(socket.status().message().find(std::string("\"") + bad + "\""), std::string::npos);
  }
}

TEST(HostIdentity, IsStableUnlessTold) {
  ::unsetenv("GOSSAMER_HOSTID");
  const std::string here = host_identity();
  EXPECT_EQ(here, host_identity());
  EXPECT_NE(here.find("uid:" + std::to_string(::getuid())), std::string::npos);
  ::setenv("GOSSAMER_HOSTID", "rack7", 1);
  EXPECT_EQ(host_identity(), "id:rack7");
  ::unsetenv("GOSSAMER_HOSTID");
}

}  // namespace
}  // namespace gossamer
