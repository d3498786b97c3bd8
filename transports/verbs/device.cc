#include "transports/verbs/device.h"

#include <fcntl.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>

#include "src/env.h"
#include "src/system_text.h"
#include "transports/verbs/selection.h"

namespace gossamer::verbs {

namespace {

constexpr uint32_t kPairsPerQueue = 8;
constexpr int kReadsMax = 8;

bool is_ipv4(const ibv_gid& gid) {
  constexpr uint8_t kPrefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
  return std::equal(std::begin(kPrefix), std::end(kPrefix), gid.raw);
}

bool is_link_local(const ibv_gid& gid) {
  return gid.raw[0] == 0xFE && (gid.raw[1] & 0xC0) == 0x80;
}

// Higher is better.
int worth(const ibv_gid_entry& entry) {
  if (entry.gid_type != IBV_GID_TYPE_ROCE_V2) return is_ipv4(entry.gid) ? 2 : 1;
  return is_ipv4(entry.gid) ? 5 : is_link_local(entry.gid) ? 3 : 4;
}

// Devices whose work the kernel does; the numbers are those that rxe and siw report as vendor.
bool is_software(const ibv_device_attr& attributes) {
  constexpr uint32_t kSoftRoce = 0xFFFFFF;
  constexpr uint32_t kSoftIwarp = 0x626D74;
  return attributes.vendor_id == kSoftRoce || attributes.vendor_id == kSoftIwarp;
}

// InfiniBand Architecture Specification, PortInfo: speed per lane in Gbit/s, and how many lanes.
double port_bytes_per_us(const ibv_port_attr& port) {
  constexpr std::pair<int, double> kGbit[] = {{1, 2.5}, {2, 5},   {4, 10},  {8, 10},
                                              {16, 14}, {32, 25}, {64, 50}, {128, 100}};
  constexpr std::pair<int, int> kLanes[] = {{1, 1}, {2, 4}, {4, 8}, {8, 12}, {16, 2}};
  double gbit = 0;
  int lanes = 0;
  for (const auto& [code, value] : kGbit) {
    if (port.active_speed == code) gbit = value;
  }
  for (const auto& [code, value] : kLanes) {
    if (port.active_width == code) lanes = value;
  }
  return gbit * lanes * 125;
}

struct Candidate {
  ibv_device* device;
  std::string name;
  uint8_t port;
};

bool nonblocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  return flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

Status refused(const std::string& device, const char* what, int error) {
  return Status::error(Code::kSystem, device + ": " + what + ": " + system_text(error));
}

// The active ports that `selection` takes; *seen lists what there is.
std::vector<Candidate> active_ports(const Library& library, std::span<ibv_device*> devices,
                                    const Selection& selection, std::string* seen) {
  std::vector<Candidate> found;
  for (ibv_device* device : devices) {
    ibv_context* const context = library.open_device(device);
    if (context == nullptr) continue;
    const std::string name = library.get_device_name(device);
    ibv_device_attr attributes{};
    (void)library.query_device(context, &attributes);
    for (int port = 1; port <= attributes.phys_port_cnt; ++port) {
      ibv_port_attr state{};
      if (library.query_port(context, static_cast<uint8_t>(port), &state) != 0) continue;
      const bool active = state.state == IBV_PORT_ACTIVE;
      *seen += (seen->empty() ? "" : ", ") + name + ":" + std::to_string(port) +
               (active ? "" : " (down)");
      if (active && selection.takes(name, port)) {
        found.push_back({device, name, static_cast<uint8_t>(port)});
      }
    }
    (void)library.close_device(context);
  }
  return found;
}

}  // namespace

std::string registration_refusal(const std::string& device, uint64_t bytes, int error) {
  std::string text = device + " did not register " + std::to_string(bytes) +
                     " bytes of memory: " + system_text(error);
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  if ((error == ENOMEM || error == EPERM || error == EAGAIN) && limit.rlim_cur != RLIM_INFINITY) {
    text += "; locked memory is limited to " + std::to_string(limit.rlim_cur / 1024) +
            " KiB: raise it with `ulimit -l unlimited`, or memlock in /etc/security/limits.conf";
  }
  return text;
}

Device::~Device() {
  for (const auto& queue : queues) {
    library->ack_cq_events(queue->cq, queue->unacknowledged);
    (void)library->destroy_cq(queue->cq);
  }
  if (channel != nullptr) (void)library->destroy_comp_channel(channel);
  if (pd != nullptr) (void)library->dealloc_pd(pd);
  if (context != nullptr) (void)library->close_device(context);
}

Status Devices::open(Rank rank) {
  Result<const Library*> library = load_library();
  if (!library) return library.status();
  library_ = *library;
  const Result<Settings> settings = Settings::read();
  if (!settings) return settings.status();
  settings_ = *settings;
  relaxed_ =
      settings_.relaxed_ordering != RelaxedOrdering::kOff && library_->reg_mr_iova2 != nullptr;
  if (settings_.relaxed_ordering == RelaxedOrdering::kOn && !relaxed_) {
    return Status::error(Code::kUnavailable,
                         "GOSSAMER_IB_PCI_RELAXED_ORDERING=1 needs rdma-core 28 or newer: update "
                         "libibverbs1, or set it to 0 or 2");
  }
  const std::string wanted = env_string("GOSSAMER_IB_HCA");
  Result<Selection> selection = Selection::parse(wanted);
  if (!selection) return selection.status();
  const std::string spread = env_string("GOSSAMER_IB_SPREAD", "lane");
  if (spread != "lane" && spread != "rank") {
    return Status::error(Code::kInvalidArgument,
                         "GOSSAMER_IB_SPREAD=\"" + spread + "\" is neither lane nor rank");
  }
  int count = 0;
  ibv_device** const list = library_->get_device_list(&count);
  if (list == nullptr || count == 0) {
    if (list != nullptr) library_->free_device_list(list);
    return Status::error(Code::kUnavailable,
                         "there is no RDMA device here; `gossamer doctor` tells what is missing, "
                         "and transport tcp needs none");
  }
  std::string seen;
  std::vector<Candidate> found = active_ports(
      *library_, std::span<ibv_device*>(list, static_cast<size_t>(count)), *selection, &seen);
  Status status = Status::ok();
  if (found.empty()) {
    status =
        Status::error(wanted.empty() ? Code::kUnavailable : Code::kInvalidArgument,
                      "no port of an RDMA device is up" +
                          (wanted.empty() ? "" : " that GOSSAMER_IB_HCA=\"" + wanted + "\" takes") +
                          "; there is " + (seen.empty() ? "none" : seen));
  } else if (spread == "rank") {
    found = {found[static_cast<size_t>(rank) % found.size()]};
  }
  for (size_t i = 0; i < found.size() && status; ++i) {
    if (i > 0 && found[i].device == found[i - 1].device) continue;
    std::vector<uint8_t> numbers;
    for (const Candidate& c : found) {
      if (c.device == found[i].device) numbers.push_back(c.port);
    }
    status = open_device(found[i].device, numbers);
  }
  library_->free_device_list(list);
  return status;
}

Status Devices::open_device(ibv_device* handle, const std::vector<uint8_t>& numbers) {
  auto device = std::make_unique<Device>(library_);
  device->name = library_->get_device_name(handle);
  device->index = devices_.size();
  device->context = library_->open_device(handle);
  if (device->context == nullptr) return refused(device->name, "cannot be opened", errno);
  ibv_device_attr attributes{};
  (void)library_->query_device(device->context, &attributes);
  device->cqe_max = attributes.max_cqe;
  device->reads = static_cast<uint8_t>(std::clamp(
      std::min(attributes.max_qp_rd_atom, attributes.max_qp_init_rd_atom), 0, kReadsMax));
  device->in_software = is_software(attributes);
  device->pd = library_->alloc_pd(device->context);
  if (device->pd == nullptr) return refused(device->name, "no protection domain", errno);
  device->channel = library_->create_comp_channel(device->context);
  if (device->channel == nullptr) return refused(device->name, "no completion channel", errno);
  if (!nonblocking(device->channel->fd) || !nonblocking(device->context->async_fd)) {
    return refused(device->name, "fcntl", errno);
  }
  for (const uint8_t number : numbers) {
    const Status opened = open_port(device.get(), number);
    if (!opened) return opened;
  }
  devices_.push_back(std::move(device));
  return Status::ok();
}

Status Devices::open_port(Device* device, uint8_t number) {
  Port port;
  port.device = device;
  port.number = number;
  ibv_port_attr attributes{};
  const int error = library_->query_port(device->context, number, &attributes);
  if (error != 0) return refused(port.name(), "cannot be queried", error);
  port.ethernet = attributes.link_layer == IBV_LINK_LAYER_ETHERNET;
  port.lid = attributes.lid;
  port.mtu = attributes.active_mtu;
  port.message_bytes_max = attributes.max_msg_sz;
  port.bytes_per_us = port_bytes_per_us(attributes);
  const int last = std::min(attributes.gid_tbl_len, 256) - 1;
  const Result<int64_t> index = env_int("GOSSAMER_IB_GID_INDEX", -1, -1, std::max(last, 0));
  if (!index) return index.status();
  const auto take = [&](const ibv_gid_entry& entry, int at) {
    port.gid = entry.gid;
    port.gid_type = entry.gid_type;
    port.gid_index = static_cast<uint8_t>(at);
  };
  int best = 0;
  for (int at = 0; at <= last; ++at) {
    ibv_gid_entry entry{};
    if (*index >= 0 && at != *index) continue;
    if (library_->query_gid_ex(device->context, number, static_cast<uint32_t>(at), &entry, 0,
                               sizeof entry) != 0) {
      continue;
    }
    const int value = port.ethernet ? worth(entry) : at == 0 || *index >= 0 ? 1 : 0;
    if (value > best) {
      best = value;
      take(entry, at);
    }
  }
  if (best == 0 && (port.ethernet || *index >= 0)) {
    return Status::error(
        *index >= 0 ? Code::kInvalidArgument : Code::kUnavailable,
        port.name() + (*index >= 0 ? " has no GID at index " + std::to_string(*index) +
                                         "; unset GOSSAMER_IB_GID_INDEX to choose automatically"
                                   : " has no GID: give its network interface an address"));
  }
  ports_.push_back(port);
  return Status::ok();
}

// What a device in software signals means nothing.
double Devices::bytes_per_us() const {
  double least = 0;
  for (const Port& port : ports_) {
    const double speed = port.device->in_software ? 0 : port.bytes_per_us;
    if (speed > 0 && (least == 0 || speed < least)) least = speed;
  }
  return least;
}

bool Devices::in_software() const {
  return std::any_of(ports_.begin(), ports_.end(),
                     [](const Port& port) { return port.device->in_software; });
}

uint8_t Devices::reads() const {
  if (!settings_.reads || devices_.empty()) return 0;
  uint8_t least = kReadsMax;
  for (const auto& device : devices_) least = std::min(least, device->reads);
  return least;
}

Result<CompletionQueue*> Devices::queue_for(Device* device, int entries) {
  if (!device->queues.empty() && device->queues.back()->pairs < device->queues.back()->pairs_max) {
    ++device->queues.back()->pairs;
    return device->queues.back().get();
  }
  const int all = std::min(entries * static_cast<int>(kPairsPerQueue), device->cqe_max);
  ibv_cq* const cq = library_->create_cq(device->context, all, nullptr, device->channel, 0);
  if (cq == nullptr) {
    return Status::error(
        Code::kSystem, registration_refusal(device->name, static_cast<uint64_t>(all) * 64, errno));
  }
  device->queues.push_back(std::make_unique<CompletionQueue>());
  CompletionQueue* const queue = device->queues.back().get();
  queue->cq = cq;
  queue->pairs = 1;
  queue->pairs_max = static_cast<uint32_t>(all / entries);
  cq->cq_context = queue;
  return queue;
}

ibv_mr* Devices::region_of(const Device& device, std::span<std::byte> memory) const {
  const int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
                     (settings_.reads ? IBV_ACCESS_REMOTE_READ : 0);
  if (!relaxed_) return library_->reg_mr(device.pd, memory.data(), memory.size(), access);
  // An access right that a device or kernel need not know, and then ignores.
  return library_->reg_mr_iova2(device.pd, memory.data(), memory.size(),
                                reinterpret_cast<uintptr_t>(memory.data()),
                                access | IBV_ACCESS_RELAXED_ORDERING);
}

void* Devices::register_memory(std::span<std::byte> pages, std::string* why) {
  auto regions = std::make_unique<ibv_mr*[]>(devices_.size());
  for (const auto& device : devices_) {
    ibv_mr*& region = regions[device->index];
    region = region_of(*device, pages);
    if (region != nullptr) continue;
    *why = registration_refusal(device->name, pages.size(), errno);
    deregister_memory(regions.release());
    return nullptr;
  }
  return regions.release();
}

void Devices::deregister_memory(void* handle) {
  const std::unique_ptr<ibv_mr*[]> regions(static_cast<ibv_mr**>(handle));
  for (size_t i = 0; i < devices_.size(); ++i) {
    if (regions[i] != nullptr) (void)library_->dereg_mr(regions[i]);
  }
}

}  // namespace gossamer::verbs
