#include "src/nccl/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include "src/nccl/debug.h"
#include "src/nccl/environment.h"

namespace gossamer::nccl {
namespace {

constexpr unsigned kMagic = 0xcafebeef;
constexpr int kCgaSizeMax = 8;

// A number in the struct, the version that brought it and what it may be.
struct Number {
  const char* name;
  int ncclConfig_t::*member;
  unsigned since;
  int lowest;
  int highest;
};
constexpr std::array kNumbers{
    Number{"blocking", &ncclConfig_t::blocking, 21400, 0, 1},
    Number{"cgaClusterSize", &ncclConfig_t::cgaClusterSize, 21700, 0, kCgaSizeMax},
    Number{"minCTAs", &ncclConfig_t::minCTAs, 21700, 1, INT_MAX},
    Number{"maxCTAs", &ncclConfig_t::maxCTAs, 21700, 1, INT_MAX},
    Number{"splitShare", &ncclConfig_t::splitShare, 21700, 0, 1},
    Number{"trafficClass", &ncclConfig_t::trafficClass, 22500, 0, INT_MAX},
    Number{"collnetEnable", &ncclConfig_t::collnetEnable, 22700, 0, 1},
    Number{"CTAPolicy", &ncclConfig_t::CTAPolicy, 22700, NCCL_CTA_POLICY_DEFAULT,
           NCCL_CTA_POLICY_ZERO},
    Number{"shrinkShare", &ncclConfig_t::shrinkShare, 22700, 0, 1},
    Number{"nvlsCTAs", &ncclConfig_t::nvlsCTAs, 22700, 1, INT_MAX},
    Number{"nChannelsPerNetPeer", &ncclConfig_t::nChannelsPerNetPeer, 22800, 1, INT_MAX},
    Number{"nvlinkCentricSched", &ncclConfig_t::nvlinkCentricSched, 22800, 0, 1},
};
constexpr unsigned kNetNameSince = 21700;
constexpr unsigned kCommNameSince = 22500;

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

// The caller's struct as one of ours.
Result<ncclConfig_t> copy(const ncclConfig_t* given) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  size_t bytes = 0;
  std::memcpy(&bytes, given, sizeof(bytes));
  constexpr size_t kHead = offsetof(ncclConfig_t, blocking);
  unsigned magic = 0;
  if (bytes >= kHead) {
    const auto* raw = reinterpret_cast<const std::byte*>(given);
    std::memcpy(&magic, raw + offsetof(ncclConfig_t, magic), sizeof(magic));
  }
  if (magic != kMagic) {
    return invalid("the config was not initialised; start from NCCL_CONFIG_INITIALIZER");
  }
  std::memcpy(&config, given, std::min(bytes, sizeof(config)));
  for (const Number& number : kNumbers) {
    if (config.version < number.since) config.*number.member = NCCL_CONFIG_UNDEF_INT;
  }
  if (config.version < kNetNameSince) config.netName = nullptr;
  if (config.version < kCommNameSince) config.commName = nullptr;
  return config;
}

Status check(const ncclConfig_t& config) {
  for (const Number& number : kNumbers) {
    const int value = config.*number.member;
    if (value == NCCL_CONFIG_UNDEF_INT || (value >= number.lowest && value <= number.highest)) {
      continue;
    }
    return invalid(number.highest == INT_MAX
                       ? fmt::format("config.{} is {}; it must be at least {}, or left alone",
                                     number.name, value, number.lowest)
                       : fmt::format("config.{} is {}; it must be from {} to {}, or left alone",
                                     number.name, value, number.lowest, number.highest));
  }
  if (config.minCTAs != NCCL_CONFIG_UNDEF_INT && config.maxCTAs != NCCL_CONFIG_UNDEF_INT &&
      config.minCTAs > config.maxCTAs) {
    return invalid(fmt::format("config.minCTAs is {}, more than config.maxCTAs, which is {}",
                               config.minCTAs, config.maxCTAs));
  }
  return Status::ok();
}

}  // namespace

Result<Config> read_config(const ncclConfig_t* given, const Config& inherited) {
  Config config = inherited;
  if (given != nullptr) {
    Result<ncclConfig_t> copied = copy(given);
    if (!copied) return copied.status();
    Status sound = check(*copied);
    if (!sound) return sound;
    if (copied->blocking != NCCL_CONFIG_UNDEF_INT) config.blocking = copied->blocking != 0;
    if (copied->commName != nullptr) config.name = copied->commName;
    if (copied->netName != nullptr) {
      std::string transport;
      if (!transport_of_network(copied->netName, &transport)) {
        print(LogLevel::kWarn, Subsystem::kEnv, {},
              fmt::format("config.netName: {} is not known and ignored; use Socket, IB, or a name "
                          "that GOSSAMER_TRANSPORT takes",
                          copied->netName));
      }
      if (!transport.empty()) config.transport = transport;
    }
  }
  if (const std::string blocking = setting("NCCL_COMM_BLOCKING");
      blocking == "0" || blocking == "1") {
    config.blocking = blocking == "1";
  }
  return config;
}

}  // namespace gossamer::nccl
