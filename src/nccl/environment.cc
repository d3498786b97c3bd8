#include "src/nccl/environment.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <pthread.h>
#include <pwd.h>
#include <strings.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <mutex>
#include <sstream>

#include "gossamer/transport.h"
#include "src/env.h"
#include "src/nccl/debug.h"
#include "src/nccl/fork.h"

namespace gossamer::nccl {
namespace {

using Values = std::map<std::string, std::string, std::less<>>;

// NCCL waits for ever. Programs that let ranks wait for each other through minutes of other work
// must go on working, so the deadline is long; GOSSAMER_TIMEOUT_MS sets another.
constexpr const char* kTimeout = "600000";
constexpr const char* kWithoutRdma = "shm+tcp";

// Known to NCCL, said to have no effect on host memory when set.
constexpr std::array kWithoutEffect{
    "NCCL_BUFFSIZE",
    "NCCL_CGA_CLUSTER_SIZE",
    "NCCL_COLLNET_ENABLE",
    "NCCL_CROSS_NIC",
    "NCCL_CUMEM_ENABLE",
    "NCCL_CUMEM_HOST_ENABLE",
    "NCCL_DMABUF_ENABLE",
    "NCCL_GRAPH_DUMP_FILE",
    "NCCL_GRAPH_FILE",
    "NCCL_GRAPH_MIXING_SUPPORT",
    "NCCL_GRAPH_REGISTER",
    "NCCL_IB_AR_THRESHOLD",
    "NCCL_IB_CUDA_SUPPORT",
    "NCCL_IB_MERGE_NICS",
    "NCCL_IB_QPS_PER_CONNECTION",
    "NCCL_IB_ROCE_VERSION_NUM",
    "NCCL_IB_SPLIT_DATA_ON_QPS",
    "NCCL_IGNORE_CPU_AFFINITY",
    "NCCL_IGNORE_DISABLED_P2P",
    "NCCL_LAUNCH_MODE",
    "NCCL_MAX_CTAS",
    "NCCL_MAX_NCHANNELS",
    "NCCL_MAX_NRINGS",
    "NCCL_MIN_CTAS",
    "NCCL_MIN_NCHANNELS",
    "NCCL_MIN_NRINGS",
    "NCCL_MNNVL_ENABLE",
    "NCCL_NCHANNELS_PER_NET_PEER",
    "NCCL_NET_DISABLE_INTRA",
    "NCCL_NET_GDR_C2C",
    "NCCL_NET_GDR_LEVEL",
    "NCCL_NET_GDR_READ",
    "NCCL_NET_PLUGIN",
    "NCCL_NET_SHARED_BUFFERS",
    "NCCL_NET_SHARED_COMMS",
    "NCCL_NSOCKS_PERTHREAD",
    "NCCL_NTHREADS",
    "NCCL_NVLS_ENABLE",
    "NCCL_NVB_DISABLE",
    "NCCL_OOB_NET_ENABLE",
    "NCCL_OOB_NET_IFNAME",
    "NCCL_P2P_DIRECT_DISABLE",
    "NCCL_P2P_DISABLE",
    "NCCL_P2P_LEVEL",
    "NCCL_P2P_NET_CHUNKSIZE",
    "NCCL_PXN_DISABLE",
    "NCCL_PROFILER_PLUGIN",
    "NCCL_RAS_ADDR",
    "NCCL_RAS_ENABLE",
    "NCCL_RAS_TIMEOUT_FACTOR",
    "NCCL_RUNTIME_CONNECT",
    "NCCL_SET_STACK_SIZE",
    "NCCL_SET_THREAD_NAME",
    "NCCL_SINGLE_RING_THRESHOLD",
    "NCCL_SOCKET_NTHREADS",
    "NCCL_TOPO_DUMP_FILE",
    "NCCL_TOPO_FILE",
    "NCCL_TUNER_PLUGIN",
    "NCCL_UID_STAGGER_RATE",
    "NCCL_UID_STAGGER_THRESHOLD",
    "NCCL_WIN_ENABLE",
    "NCCL_WORK_FIFO_DEPTH",
};

// Handed on under the name it has here.
struct Renamed {
  const char* theirs;
  const char* ours;
};
constexpr std::array kRenamed{
    Renamed{"NCCL_SOCKET_IFNAME", "GOSSAMER_SOCKET_IFNAME"},
    Renamed{"NCCL_HOSTID", "GOSSAMER_HOSTID"},
    Renamed{"NCCL_IB_HCA", "GOSSAMER_IB_HCA"},
    Renamed{"NCCL_IB_GID_INDEX", "GOSSAMER_IB_GID_INDEX"},
    Renamed{"NCCL_IB_TIMEOUT", "GOSSAMER_IB_TIMEOUT"},
    Renamed{"NCCL_IB_RETRY_CNT", "GOSSAMER_IB_RETRY_CNT"},
    Renamed{"NCCL_IB_SL", "GOSSAMER_IB_SL"},
    Renamed{"NCCL_IB_TC", "GOSSAMER_IB_TC"},
    Renamed{"NCCL_IB_PCI_RELAXED_ORDERING", "GOSSAMER_IB_PCI_RELAXED_ORDERING"},
};

bool same(std::string_view a, const char* b) {
  return ::strcasecmp(std::string(a).c_str(), b) == 0;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const size_t end = std::min(text.find(separator), text.size());
    if (end > 0) parts.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::string from_environment(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nobody sets it here
  return value != nullptr ? value : "";
}

std::string home_folder() {
  std::string home = from_environment("HOME");
  if (!home.empty()) return home;
  const passwd* entry = ::getpwuid(::getuid());  // NOLINT(concurrency-mt-unsafe): once, at start
  return entry != nullptr && entry->pw_dir != nullptr ? entry->pw_dir : "";
}

Values read_conf(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  if (file) text << file.rdbuf();
  return parse_conf(text.str());
}

// What the files say; never destroyed.
const Values& conf_values() {
  static const Values* const kValues = [] {
    std::string own = from_environment("NCCL_CONF_FILE");
    if (own.empty()) own = home_folder() + "/.nccl.conf";
    auto* values = new Values(read_conf(own));
    values->merge(read_conf("/etc/nccl.conf"));
    return values;
  }();
  return *kValues;
}

void warn_about(const char* name, const std::vector<std::string>& unknown, const char* known) {
  if (unknown.empty()) return;
  print(LogLevel::kWarn, Subsystem::kEnv, {},
        fmt::format("{}: {} {} not known and ignored; there are {}", name, fmt::join(unknown, ", "),
                    unknown.size() == 1 ? "is" : "are", known));
}

void hand_on_network() {
  const std::string network = setting("NCCL_NET");
  std::string transport;
  if (!transport_of_network(network, &transport)) {
    warn_about("NCCL_NET", {network}, "Socket, IB, and the names GOSSAMER_TRANSPORT takes");
  }
  if (transport.empty() && setting("NCCL_IB_DISABLE") == "1") transport = kWithoutRdma;
  const bool any = transport.empty() || transport == kWithoutRdma;
  if (any && setting("NCCL_SHM_DISABLE") == "1") transport = "tcp";
  if (!transport.empty()) set_env_fallback("GOSSAMER_TRANSPORT", transport);
}

void hand_on_family() {
  const std::string family = setting("NCCL_SOCKET_FAMILY");
  if (family == "AF_INET" || family == "AF_INET6") {
    set_env_fallback("GOSSAMER_SOCKET_FAMILY", family);
  } else if (!family.empty()) {
    warn_about("NCCL_SOCKET_FAMILY", {family}, "AF_INET and AF_INET6");
  }
}

void hand_on() {
  set_env_fallback("GOSSAMER_TIMEOUT_MS", kTimeout);
  for (const Renamed& name : kRenamed) {
    if (const std::string value = setting(name.theirs); !value.empty()) {
      set_env_fallback(name.ours, value);
    }
  }
  hand_on_network();
  hand_on_family();
  const AlgorithmWish wish = parse_algorithms(setting("NCCL_ALGO"));
  warn_about("NCCL_ALGO", wish.unknown,
             "Ring, Tree, CollnetDirect, CollnetChain, NVLS, NVLSTree and PAT");
  if (!wish.algorithm.empty()) set_env_fallback("GOSSAMER_ALGORITHM", wish.algorithm);
  if (wish.without_effect) {
    info(Subsystem::kEnv, {},
         "NCCL_ALGO: has an effect here only as one name for all, Ring or Tree");
  }
  warn_about("NCCL_PROTO", unknown_protocols(setting("NCCL_PROTO")), "LL, LL128 and Simple");
  if (!setting("NCCL_PROTO").empty()) {
    info(Subsystem::kEnv, {}, "NCCL_PROTO is set and has no effect: transports choose");
  }
  for (const char* name : kWithoutEffect) {
    if (!setting(name).empty()) {
      info(Subsystem::kEnv, {}, fmt::format("{} is set and has no effect on host memory", name));
    }
  }
}

}  // namespace

Values parse_conf(std::string_view text) {
  Values values;
  for (std::string_view line : split(text, '\n')) {
    line = trimmed(line.substr(0, line.find('#')));
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos || equals == 0) continue;
    values.insert_or_assign(std::string(trimmed(line.substr(0, equals))),
                            std::string(trimmed(line.substr(equals + 1))));
  }
  return values;
}

std::string setting(const char* name) {
  std::string value = from_environment(name);
  if (!value.empty()) return value;
  const auto found = conf_values().find(name);
  return found != conf_values().end() ? found->second : "";
}

AlgorithmWish parse_algorithms(std::string_view text) {
  AlgorithmWish wish;
  std::vector<std::string> chosen;
  const std::vector<std::string_view> parts = split(text, ';');
  for (std::string_view part : parts) {
    const size_t colon = part.find(':');  // "allreduce:tree,ring"
    wish.without_effect |= colon != std::string_view::npos;
    const bool everywhere = colon == std::string_view::npos;
    if (!everywhere) part.remove_prefix(colon + 1);
    const bool leaves_out = part.starts_with('^');
    if (leaves_out) part.remove_prefix(1);
    for (const std::string_view name : split(part, ',')) {
      const bool ring = same(name, "ring");
      const bool tree = same(name, "tree");
      const bool other = same(name, "collnetdirect") || same(name, "collnetchain") ||
                         same(name, "nvls") || same(name, "nvlstree") || same(name, "pat") ||
                         same(name, "collnet");
      if (!ring && !tree && !other) {
        wish.unknown.emplace_back(name);
      } else if ((ring || tree) && everywhere && !leaves_out) {
        chosen.emplace_back(ring ? "ring" : "double_tree");
      } else {
        wish.without_effect = true;
      }
    }
  }
  // Of several the price may choose any, which it does anyway.
  if (chosen.size() == 1) wish.algorithm = chosen.front();
  wish.without_effect |= chosen.size() > 1;
  return wish;
}

std::vector<std::string> unknown_protocols(std::string_view text) {
  std::vector<std::string> unknown;
  for (std::string_view part : split(text, ';')) {
    if (const size_t colon = part.find(':'); colon != std::string_view::npos) {
      part.remove_prefix(colon + 1);
    }
    if (part.starts_with('^')) part.remove_prefix(1);
    for (const std::string_view name : split(part, ',')) {
      if (!same(name, "LL") && !same(name, "LL128") && !same(name, "Simple")) {
        unknown.emplace_back(name);
      }
    }
  }
  return unknown;
}

bool transport_of_network(std::string_view network, std::string* transport) {
  transport->clear();
  // Within a host shared memory is used all the same.
  if (network.empty() || same(network, "IB")) return true;
  if (same(network, "Socket") || same(network, kWithoutRdma)) {
    *transport = kWithoutRdma;
    return true;
  }
  for (const TransportFactory* known : transports()) {
    if (!same(network, known->name)) continue;
    *transport = known->name;
    return true;
  }
  return false;
}

void start_once() {
  static std::once_flag once;
  std::call_once(once, [] {
    read_debug_settings();
    hand_on();
    watch_forks();
    print_version();
  });
}

}  // namespace gossamer::nccl
