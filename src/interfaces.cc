// Which network interfaces to use, and which host this is.

#include <fmt/format.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <string_view>

#include "src/env.h"
#include "src/net.h"
#include "src/system_text.h"

namespace gossamer {
namespace {

struct Pattern {
  bool exclude = false;
  bool exact = false;
  std::vector<std::string> names;
};

Pattern parse_pattern(std::string_view text) {
  Pattern pattern;
  if (text.starts_with('^')) {
    pattern.exclude = true;
    text.remove_prefix(1);
  }
  if (text.starts_with('=')) {
    pattern.exact = true;
    text.remove_prefix(1);
  }
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    if (comma > 0) {
      pattern.names.emplace_back(text.substr(0, comma));
    }
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return pattern;
}

// The place of the first entry that names `interface`, or the number of entries.
size_t match(const Pattern& pattern, const std::string& interface) {
  size_t i = 0;
  while (i < pattern.names.size() && !(pattern.exact ? interface == pattern.names[i]
                                                     : interface.starts_with(pattern.names[i]))) {
    ++i;
  }
  return i;
}

struct Found {
  Interface interface;
  bool loopback = false;
};

int quality(const SocketAddress& address) {
  if (address.storage.ss_family == AF_INET) {
    return 2;
  }
  const auto& in6 = *reinterpret_cast<const sockaddr_in6*>(&address.storage);
  return IN6_IS_ADDR_LINKLOCAL(&in6.sin6_addr) ? 0 : 1;
}

// Every interface that is up and has an address of the family, in the system's order, its best
// address each.
Result<std::vector<Found>> list_interfaces(int family) {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) {
    return Status::error(Code::kSystem,
                         fmt::format("cannot list network interfaces: {}", system_text(errno)));
  }
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owned(list, &::freeifaddrs);
  std::vector<Found> found;
  for (const ifaddrs* i = list; i != nullptr; i = i->ifa_next) {
    if (i->ifa_addr == nullptr || (i->ifa_flags & IFF_UP) == 0 ||
        (i->ifa_addr->sa_family != AF_INET && i->ifa_addr->sa_family != AF_INET6) ||
        (family != AF_UNSPEC && i->ifa_addr->sa_family != family)) {
      continue;
    }
    SocketAddress address;
    address.length = i->ifa_addr->sa_family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    std::memcpy(&address.storage, i->ifa_addr, address.length);
    auto known = std::find_if(found.begin(), found.end(),
                              [i](const Found& f) { return f.interface.name == i->ifa_name; });
    if (known == found.end()) {
      found.push_back({{i->ifa_name, address}, (i->ifa_flags & IFF_LOOPBACK) != 0});
    } else if (quality(address) > quality(known->interface.address)) {
      known->interface.address = address;
    }
  }
  return found;
}

std::vector<Interface> choose_by_default(const std::vector<Found>& found) {
  std::vector<Interface> chosen;
  for (const Found& f : found) {
    if (!f.loopback && !f.interface.name.starts_with("docker")) {
      chosen.push_back(f.interface);
    }
  }
  std::stable_sort(chosen.begin(), chosen.end(), [](const Interface& a, const Interface& b) {
    return quality(a.address) > quality(b.address);
  });
  if (chosen.empty()) {
    for (const Found& f : found) {
      if (f.loopback) {
        chosen.push_back(f.interface);
      }
    }
  }
  return chosen;
}

}  // namespace

Result<int> socket_family() {
  const std::string text = env_string("GOSSAMER_SOCKET_FAMILY");
  if (text.empty()) return AF_UNSPEC;
  if (text == "AF_INET") return AF_INET;
  if (text == "AF_INET6") return AF_INET6;
  return Status::error(
      Code::kInvalidArgument,
      fmt::format("GOSSAMER_SOCKET_FAMILY=\"{}\" is neither AF_INET nor AF_INET6", text));
}

Result<std::vector<Interface>> choose_interfaces(const std::string& pattern_text) {
  const Result<int> family = socket_family();
  if (!family) return family.status();
  auto found = list_interfaces(*family);
  if (!found) {
    return found.status();
  }
  const Pattern pattern = parse_pattern(pattern_text);
  std::vector<Interface> chosen;
  if (pattern.names.empty()) {
    chosen = choose_by_default(*found);
  } else if (pattern.exclude) {
    for (const Found& f : *found) {
      if (match(pattern, f.interface.name) == pattern.names.size()) {
        chosen.push_back(f.interface);
      }
    }
  } else {
    for (size_t place = 0; place < pattern.names.size(); ++place) {
      for (const Found& f : *found) {
        if (match(pattern, f.interface.name) == place) {
          chosen.push_back(f.interface);
        }
      }
    }
  }
  if (!chosen.empty()) {
    return chosen;
  }
  std::string names;
  for (const Found& f : *found) {
    names += (names.empty() ? "" : ", ") + f.interface.name;
  }
  if (names.empty() && *family != AF_UNSPEC) {
    return Status::error(Code::kInvalidArgument,
                         fmt::format("GOSSAMER_SOCKET_FAMILY={} leaves no interface: none that is "
                                     "up has such an address; unset it to use what there is",
                                     env_string("GOSSAMER_SOCKET_FAMILY")));
  }
  if (names.empty()) {
    return Status::error(Code::kSystem,
                         "no network interface is up, not even lo: run `ip link set lo up`");
  }
  return Status::error(Code::kInvalidArgument,
                       fmt::format("GOSSAMER_SOCKET_IFNAME=\"{}\" leaves no interface that is up "
                                   "and has an address; this host has {}",
                                   pattern_text, names));
}

double speed_of(const std::string& interface) {
  constexpr double kBytesPerUsOfMbit = 0.125;
  std::ifstream file("/sys/class/net/" + interface + "/speed");
  int64_t mbit_per_s = 0;
  // Not readable while the link is down; -1 where the driver does not know.
  return file >> mbit_per_s && mbit_per_s > 0 ? static_cast<double>(mbit_per_s) * kBytesPerUsOfMbit
                                              : 0;
}

std::string host_identity() {
  if (env_is_set("GOSSAMER_HOSTID")) {
    return "id:" + env_string("GOSSAMER_HOSTID");
  }
  std::string boot;
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::getline(file, boot);
  if (boot.empty()) {  // /proc hidden: the name is the next best
    char name[256] = "";
    ::gethostname(name, sizeof(name) - 1);
    boot = name;
  }
  struct stat space {};
  const bool known = ::stat("/proc/self/ns/net", &space) == 0;
  return fmt::format("boot:{}/net:{}/uid:{}", boot, known ? space.st_ino : 0, ::getuid());
}

}  // namespace gossamer
