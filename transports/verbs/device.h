// The devices and ports one transport uses.
//
//   Ports      all active ones that GOSSAMER_IB_HCA takes, in the order of their devices; with
//              GOSSAMER_IB_SPREAD=rank only the one that is rank mod number of ports.
//   GID        on Ethernet (RoCE) GOSSAMER_IB_GID_INDEX, or the best there is: RoCE v2 over IPv4,
//              RoCE v2 over IPv6, then RoCE v1. On InfiniBand index 0, used only where there is no
//              LID.
//   Threads    driving thread.

#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gossamer/transport.h"
#include "src/registration_cache.h"
#include "transports/verbs/library.h"
#include "transports/verbs/settings.h"

namespace gossamer::verbs {

// A completion queue that some queue pairs share.
struct CompletionQueue {
  ibv_cq* cq = nullptr;
  uint32_t pairs = 0;
  uint32_t pairs_max = 0;
  uint32_t unacknowledged = 0;  // events taken from the channel
};

// An opened device.
struct Device {
  explicit Device(const Library* l) : library(l) {}
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const Library* library;
  std::string name;
  size_t index = 0;  // among the transport's
  ibv_context* context = nullptr;
  ibv_pd* pd = nullptr;
  ibv_comp_channel* channel = nullptr;
  int cqe_max = 0;
  uint8_t reads = 0;         // that a queue pair may have under way, and may serve
  bool in_software = false;  // a processor of this host sends, within the call that posts
  std::vector<std::unique_ptr<CompletionQueue>> queues;
};

struct Port {
  Device* device = nullptr;
  uint8_t number = 1;
  uint8_t gid_index = 0;
  bool ethernet = false;
  uint32_t gid_type = 0;  // ibv_gid_type
  ibv_gid gid{};
  uint16_t lid = 0;
  ibv_mtu mtu = IBV_MTU_1024;
  uint32_t message_bytes_max = 0;
  double bytes_per_us = 0;  // what it signals, one way
  bool down = false;
  std::chrono::steady_clock::time_point down_since{};

  std::string name() const { return device->name + " port " + std::to_string(number); }
};

// What a device in software costs a processor of its host. Soft-RoCE on two emulated cores carried
// 277 bytes/us in both directions together, both cores busy; 25 us went by per message. That both
// are far beyond any network card's is what matters.
inline constexpr double kSoftwareMessageUs = 25;
inline constexpr double kSoftwareByteUs = 1.0 / 277;
// All-reduces of 1 MiB that fold all of it on arrival, against those that fold half.
inline constexpr double kSoftwareFoldByteUs = 1.0 / 320;

class Devices final : public Registrar {
 public:
  Devices() = default;
  ~Devices() override = default;

  //   kUnavailable      no library, no device, or no port that is up; the message says which
  //   kInvalidArgument  a GOSSAMER_IB_* setting is malformed or matches nothing
  //   kSystem           a device refuses; the message says what to do
  Status open(Rank rank);

  std::span<Port> ports() { return ports_; }
  std::span<const std::unique_ptr<Device>> devices() const { return devices_; }
  const Library& library() const { return *library_; }
  // Of the slowest port; as Limits has them.
  double bytes_per_us() const;
  bool in_software() const;  // any of them
  // Reads that a connection may have under way, on any port; 0: long messages are written.
  uint8_t reads() const;
  const Settings& settings() const { return settings_; }
  // A region that the device, and peers through it, may write; null: errno says why not.
  ibv_mr* region_of(const Device& device, std::span<std::byte> memory) const;

  // A queue with room for one more pair of `entries` completions, or why not.
  Result<CompletionQueue*> queue_for(Device* device, int entries);

  // Registrar: a handle is an array of memory regions, one per device.
  void* register_memory(std::span<std::byte> pages, std::string* why) override;
  void deregister_memory(void* handle) override;
  static ibv_mr* region(const void* handle, const Device& device) {
    return static_cast<ibv_mr* const*>(handle)[device.index];
  }

 private:
  Status open_device(ibv_device* handle, const std::vector<uint8_t>& numbers);
  Status open_port(Device* device, uint8_t number);

  const Library* library_ = nullptr;
  Settings settings_;
  bool relaxed_ = false;  // ordering of what devices write
  std::vector<std::unique_ptr<Device>> devices_;
  std::vector<Port> ports_;
};

// What the system's refusal to register `bytes` means, and what to do.
std::string registration_refusal(const std::string& device, uint64_t bytes, int error);

}  // namespace gossamer::verbs
