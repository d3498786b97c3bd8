#include "src/env.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <map>
#include <mutex>
#include <numeric>
#include <string_view>

namespace gossamer {
namespace {

constexpr std::array kVariables{
    EnvVariable{"GOSSAMER_RANK", "from the launcher", "this process's rank, from 0"},
    EnvVariable{"GOSSAMER_SIZE", "from the launcher", "number of ranks in the group"},
    EnvVariable{"GOSSAMER_RENDEZVOUS", "from the launcher",
                "where ranks meet: tcp://host:port (rank 0 listens there) or file:///shared/path"},
    EnvVariable{"GOSSAMER_KEY", "none",
                "passphrase that admits to a tcp:// rendezvous; without one any process that can "
                "reach the port may join"},
    EnvVariable{"GOSSAMER_SOCKET_IFNAME", "all but lo and docker*",
                "interfaces to use: eth (prefix), =eth0 (exact), ^docker,lo (all but); by comma"},
    EnvVariable{"GOSSAMER_SOCKET_FAMILY", "both, IPv4 first",
                "addresses to use: AF_INET (IPv4) or AF_INET6"},
    EnvVariable{"GOSSAMER_PORT_RANGE", "any",
                "TCP ports to listen on, and UDP ports of members: first-last"},
    EnvVariable{"GOSSAMER_IB_HCA", "all that are up",
                "RDMA ports to use: mlx5 (prefix), =mlx5_0:1 (exact), ^mlx5_2 (all but); by comma"},
    EnvVariable{"GOSSAMER_IB_GID_INDEX", "by kind: RoCE v2 over IPv4 first",
                "index of the GID to use on every RDMA port"},
    EnvVariable{
        "GOSSAMER_IB_TIMEOUT", "16",
        "how long a device waits for word of its peer's: 4.096 us x 2 to the power of this"},
    EnvVariable{"GOSSAMER_IB_RETRY_CNT", "6", "how often a device asks again, 0 to 7"},
    EnvVariable{"GOSSAMER_IB_SL", "0", "service level of RDMA traffic, 0 to 15"},
    EnvVariable{"GOSSAMER_IB_TC", "0", "traffic class of RDMA traffic, 0 to 255 (4 x DSCP)"},
    EnvVariable{"GOSSAMER_IB_PCI_RELAXED_ORDERING", "2",
                "devices may write memory in any order: 0 no, 1 yes, 2 where that is possible"},
    EnvVariable{"GOSSAMER_IB_READ", "0",
                "1: receivers read long messages over RDMA, where both ends say so; 0: senders "
                "write them"},
    EnvVariable{"GOSSAMER_IB_SPREAD", "lane",
                "lane: a rank's lanes use its RDMA ports in turn; rank: rank r uses port r alone"},
    EnvVariable{"GOSSAMER_SHM_READ", "1",
                "1: ranks that are threads of one process read long messages where they lie; 0: "
                "these are copied through shared memory"},
    EnvVariable{"GOSSAMER_TRANSPORT", "auto",
                "transport: auto, shm, tcp, shm+tcp (auto without RDMA), verbs, ucx or "
                "loopback"},
    EnvVariable{"GOSSAMER_ALGORITHM", "by predicted time",
                "algorithm for every collective that has one of this name"},
    EnvVariable{"GOSSAMER_TIMEOUT_MS", "30000",
                "deadline to join and of each collective, in milliseconds (also 30s, 2m)"},
    EnvVariable{"GOSSAMER_MEMBERSHIP", "0",
                "1: ranks watch each other over UDP, so that one that is stopped or whose host "
                "vanished is found before a deadline ends"},
    EnvVariable{"GOSSAMER_HOSTID", "boot id, network namespace and user",
                "text that ranks which share memory have in common"},
    EnvVariable{
        "GOSSAMER_FAULTY", "tcp",
        "what transport \"faulty\" does, for tests: tcp:delay_us=50,loss=0.01,cut_after=100"},
    EnvVariable{"GOSSAMER_NCCL_VERSION", "22809", "what ncclGetVersion() says: five digits"},
    EnvVariable{"GOSSAMER_VERIFY", "0", "1: prove each schedule before its first run"},
    EnvVariable{"GOSSAMER_DEBUG", "WARN", "what is logged to stderr: NONE, WARN, INFO or TRACE"},
};

// Never destroyed: other threads may still read settings while the process ends.
struct Fallbacks {
  static Fallbacks& instance() {
    static auto* const kInstance = new Fallbacks;
    return *kInstance;
  }
  std::mutex mutex;
  std::map<std::string, std::string, std::less<>> values;  // guarded by mutex
};

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t above = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, above + 1, diagonal + (a[i] == b[j] ? 0U : 1U)});
      diagonal = above;
    }
  }
  return row.back();
}

Status malformed(const char* name, const std::string& value, const std::string& expected) {
  return Status::error(Code::kInvalidArgument,
                       fmt::format("{}=\"{}\" is not {}", name, value, expected));
}

}  // namespace

std::span<const EnvVariable> env_variables() {
  return kVariables;
}

std::vector<std::string> unknown_env_variables() {
  std::vector<std::string> sentences;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view line(*entry);
    const std::string_view name = line.substr(0, line.find('='));
    if (!name.starts_with("GOSSAMER_") ||
        std::any_of(kVariables.begin(), kVariables.end(),
                    [name](const EnvVariable& v) { return name == v.name; })) {
      continue;
    }
    const EnvVariable& closest = *std::min_element(
        kVariables.begin(), kVariables.end(), [name](const auto& a, const auto& b) {
          return edit_distance(name, a.name) < edit_distance(name, b.name);
        });
    sentences.push_back(fmt::format("{} is set but unknown; did you mean {}?", name, closest.name));
  }
  return sentences;
}

void set_env_fallback(const std::string& name, const std::string& value) {
  Fallbacks& fallbacks = Fallbacks::instance();
  const std::lock_guard lock(fallbacks.mutex);
  fallbacks.values[name] = value;
}

bool env_is_set(const char* name) {
  return !env_string(name).empty();
}

std::string env_string(const char* name, const std::string& fallback) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nobody sets it
  if (value != nullptr && *value != '\0') {
    return value;
  }
  Fallbacks& fallbacks = Fallbacks::instance();
  const std::lock_guard lock(fallbacks.mutex);
  const auto found = fallbacks.values.find(name);
  return found != fallbacks.values.end() && !found->second.empty() ? found->second : fallback;
}

Result<int64_t> parse_int(const std::string& text, int64_t lowest, int64_t highest,
                          const std::string& what) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  if (error == std::errc{} && stopped == end && value >= lowest && value <= highest) {
    return value;
  }
  const std::string range = highest == std::numeric_limits<int64_t>::max()
                                ? fmt::format("of at least {}", lowest)
                                : fmt::format("from {} to {}", lowest, highest);
  return Status::error(Code::kInvalidArgument,
                       fmt::format("{}=\"{}\" is not a whole number {}", what, text, range));
}

Result<int64_t> env_int(const char* name, int64_t fallback, int64_t lowest, int64_t highest) {
  if (!env_is_set(name)) {
    return fallback;
  }
  return parse_int(env_string(name), lowest, highest, name);
}

Result<bool> env_bool(const char* name, bool fallback) {
  if (!env_is_set(name)) {
    return fallback;
  }
  std::string value = env_string(name);
  std::transform(value.begin(), value.end(), value.begin(), [](char c) {
    return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  });
  if (value == "1" || value == "true" || value == "yes" || value == "on") {
    return true;
  }
  if (value == "0" || value == "false" || value == "no" || value == "off") {
    return false;
  }
  return malformed(name, env_string(name), "a switch: use 1 or 0");
}

Result<std::chrono::milliseconds> env_duration(const char* name,
                                               std::chrono::milliseconds fallback) {
  if (!env_is_set(name)) {
    return fallback;
  }
  constexpr int64_t kLongestMs = int64_t{1000} * 86'400 * 365;
  const std::string value = env_string(name);
  int64_t number = 0;
  const char* end = value.data() + value.size();
  const auto [stopped, error] = std::from_chars(value.data(), end, number);
  const std::string_view unit(stopped, static_cast<size_t>(end - stopped));
  const int64_t factor = unit.empty() || unit == "ms" ? 1
                         : unit == "s"                ? 1000
                         : unit == "m"                ? 60'000
                                                      : 0;
  if (error != std::errc{} || factor == 0 || number <= 0 || number > kLongestMs / factor) {
    return malformed(name, value,
                     "a duration: use milliseconds above 0, as 30000, or a unit, as 30s or 2m");
  }
  return std::chrono::milliseconds(number * factor);
}

}  // namespace gossamer
