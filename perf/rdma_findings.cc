#include "perf/rdma_findings.h"

#include <dirent.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <memory>

#include "gossamer/transport.h"
#include "src/memory_watch.h"

namespace gossamer {
namespace {

constexpr int kGidsShown = 4;
constexpr int kGidsMax = 256;

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// Names in a folder, sorted; none if it is not there.
std::vector<std::string> entries(const std::string& path) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(path.c_str()), ::closedir);
  if (folder == nullptr) return names;
  while (const dirent* entry = ::readdir(folder.get())) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

// "4: ACTIVE" without the number.
std::string word_of(const std::string& line) {
  const size_t colon = line.find(": ");
  return colon == std::string::npos ? line : line.substr(colon + 2);
}

bool is_zero(const std::string& gid) {
  return gid.find_first_not_of("0:") == std::string::npos;
}

std::string gids(const std::string& port) {
  std::string text;
  int shown = 0;
  int more = 0;
  for (int index = 0; index < kGidsMax; ++index) {
    const std::string number = std::to_string(index);
    const std::string gid = first_line(port + "/gids/" + number);
    if (gid.empty() || is_zero(gid)) continue;
    if (shown == kGidsShown) {
      ++more;
      continue;
    }
    ++shown;
    const std::string type = first_line(port + "/gid_attrs/types/" + number);
    text += fmt::format("{}{} {}{}", text.empty() ? "GID " : ", ", index, gid,
                        type.empty() ? "" : " (" + type + ")");
  }
  if (more > 0) text += fmt::format(" and {} more", more);
  return text.empty() ? "no GID" : text;
}

Finding port_finding(const std::string& device, const std::string& number,
                     const std::string& path) {
  const std::string state = word_of(first_line(path + "/state"));
  const std::string link = first_line(path + "/link_layer");
  const std::string table = gids(path);
  Finding f{Grade::kGood, device + " port " + number,
            fmt::format("{}, {}, {}; {}", state, link, first_line(path + "/rate"), table), ""};
  if (state != "ACTIVE") {
    f.grade = Grade::kNote;
    f.fix =
        link == "Ethernet"
            ? "bring its network interface up: ip link set dev NAME up"
            : "connect the cable; InfiniBand also needs a subnet manager (opensm) in the fabric";
  } else if (link == "Ethernet" && table == "no GID") {
    f.grade = Grade::kNote;
    f.fix = "give its network interface an IPv4 address: ip addr add ADDRESS dev NAME";
  }
  return f;
}

// Whether the transport can be used, found out by making one.
Finding usable() {
  const TransportFactory* const factory = find_transport("verbs");
  if (factory == nullptr) return {Grade::kNote, "transport verbs", "not in this build", ""};
  const auto made = factory->create(TransportConfig());
  if (made) return {Grade::kGood, "transport verbs", "can be used", ""};
  return {made.status().code() == Code::kUnavailable ? Grade::kNote : Grade::kHurts,
          "transport verbs", "cannot be used: " + made.status().message(), ""};
}

Finding permitted() {
  for (const std::string& name : entries("/dev/infiniband")) {
    if (!name.starts_with("uverbs")) continue;
    const std::string path = "/dev/infiniband/" + name;
    if (::access(path.c_str(), R_OK | W_OK) == 0) continue;
    return {Grade::kHurts, "RDMA permission", "no access to " + path,
            "chmod 666 " + path + "; in a container --device=/dev/infiniband"};
  }
  if (entries("/dev/infiniband").empty()) {
    return {Grade::kHurts, "RDMA permission",
            "there is no /dev/infiniband, though there are devices",
            "modprobe ib_uverbs; in a container --device=/dev/infiniband"};
  }
  return {Grade::kGood, "RDMA permission", "/dev/infiniband is open to this user", ""};
}

Finding memory_watch() {
  const std::string why = MemoryWatch::instance().unavailable();
  if (why.empty()) {
    return {Grade::kGood, "registration cache", "any buffer: the kernel tells when it is unmapped",
            ""};
  }
  return {Grade::kNote, "registration cache",
          why + ": only registered memory is used in place, other is copied",
          "register buffers with the communicator; in a container allow userfaultfd"};
}

}  // namespace

std::vector<Finding> rdma_findings(const std::string& root) {
  std::vector<Finding> findings;
  for (const std::string& device : entries(root)) {
    const std::string ports = root + "/" + device + "/ports";
    for (const std::string& number : entries(ports)) {
      findings.push_back(port_finding(device, number, ports + "/" + number));
    }
  }
  if (findings.empty()) {
    findings.push_back({Grade::kNote, "RDMA devices", "none",
                        "an adapter and its kernel driver (lspci, modprobe), or Soft-RoCE on any "
                        "interface: rdma link add rxe0 type rxe netdev eth0"});
  } else {
    findings.push_back(permitted());
    findings.push_back(memory_watch());
  }
  findings.push_back(usable());
  return findings;
}

}  // namespace gossamer
