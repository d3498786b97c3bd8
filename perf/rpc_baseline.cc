#include "perf/rpc_baseline.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "src/env.h"
#include "src/patience.h"

namespace gossamer {
namespace {

constexpr uint64_t kWholeBytesMax = 16 * 1024;  // up to here everybody sends everything
constexpr uint64_t kAddressBytes = 1024;
constexpr uint32_t kCollect = 1;
constexpr uint32_t kReturn = 2;

Status failed(const Fault& fault) {
  return Status::error(fault.code, fault.text.data(), fault.rank);
}

}  // namespace

struct RpcBaseline::Header {
  uint32_t method;
  uint32_t call;
  uint32_t type;
  int32_t from;
  uint64_t count;
  uint64_t bytes;
  std::array<char, 32> name;
};

RpcBaseline::RpcBaseline(Rank rank, Rank size, uint64_t count_max, bool replies,
                         std::chrono::milliseconds timeout)
    : rank_(rank),
      size_(size),
      replies_(replies),
      stride_((sizeof(Header) + count_max * sizeof(float) + 4095) / 4096 * 4096),
      timeout_(timeout),
      fold_(fold_kernel(DataType::kFloat32, ReduceOp::kSum)),
      outgoing_(stride_ * static_cast<size_t>(size)),
      incoming_(stride_ * static_cast<size_t>(size)),
      tensor_(count_max),
      outgoing_of_(static_cast<size_t>(size)),
      sent_of_(static_cast<size_t>(size)),
      expected_of_(static_cast<size_t>(size)) {}

RpcBaseline::~RpcBaseline() {
  transports_.clear();
  if (sleep_fd_ >= 0) close(sleep_fd_);
}

Result<std::unique_ptr<RpcBaseline>> RpcBaseline::create(Communicator& communicator,
                                                         const std::string& transport,
                                                         uint64_t count_max, bool replies,
                                                         std::chrono::milliseconds timeout) {
  auto made = std::unique_ptr<RpcBaseline>(
      new RpcBaseline(communicator.rank(), communicator.size(), count_max, replies, timeout));
  if (Status s = made->connect(communicator, transport); !s) return s;
  if (Status s = made->open(); !s) return s;
  return made;
}

// Tells each other the addresses through the communicator.
Status RpcBaseline::connect(Communicator& communicator, const std::string& transport) {
  const TransportFactory* const factory = find_transport(transport);
  if (factory == nullptr) {
    return Status::error(Code::kInvalidArgument,
                         "the baseline runs over one transport, shm or tcp: name it with "
                         "--transport");
  }
  TransportConfig config;
  config.rank = rank_;
  config.size = size_;
  config.interfaces = env_string("GOSSAMER_SOCKET_IFNAME");
  config.port_range = env_string("GOSSAMER_PORT_RANGE");
  config.timeout = timeout_;
  // Rank 0's process and moment tell this group from others; nothing secret goes through it.
  const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
  uint64_t session = rank_ == 0 ? static_cast<uint64_t>(now) ^ static_cast<uint64_t>(getpid()) : 0;
  Status s = communicator.all_reduce(&session, &session, 1, DataType::kUint64, ReduceOp::kMax);
  if (!s) return s;
  config.session = session;
  std::memcpy(config.key.data(), &session, sizeof(session));
  Result<std::unique_ptr<Transport>> made = factory->create(config);
  if (!made) return made.status();
  const std::string mine = (*made)->address();
  if (mine.size() >= kAddressBytes) return Status::error(Code::kSystem, "an address is too long");
  std::vector<char> all(kAddressBytes * static_cast<size_t>(size_));
  std::array<char, kAddressBytes> own{};
  std::memcpy(own.data(), mine.data(), mine.size());
  s = communicator.all_gather(own.data(), all.data(), kAddressBytes, DataType::kUint8);
  if (!s) return s;
  std::vector<std::string> addresses;
  for (Rank r = 0; r < size_; ++r) {
    addresses.emplace_back(all.data() + kAddressBytes * static_cast<size_t>(r));
  }
  s = (*made)->start(std::move(addresses));
  if (!s) return s;
  sleep_fd_ = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN;
  if (epoll_ctl(sleep_fd_, EPOLL_CTL_ADD, (*made)->wait_fd(), &event) != 0) {
    return Status::error(Code::kSystem, "cannot watch the baseline's transport");
  }
  transports_.push_back(std::move(*made));
  return Status::ok();
}

Status RpcBaseline::open() {
  Patience patience(transports_[0]->limits(), sleep_fd_, transports_, timeout_);
  for (Rank peer = 0; peer < size_; ++peer) {
    if (peer == rank_) continue;
    for (;;) {
      Fault fault;
      const Code code = transports_[0]->open(peer, &fault);
      if (code == Code::kOk) break;
      if (code != Code::kAgain) return failed(fault);
      if (transports_[0]->poll(&done_, &fault) != Code::kOk) return failed(fault);
      if (!patience.idle()) return Status::error(Code::kTimeout, "a baseline link did not open");
    }
  }
  return Status::ok();
}

std::pair<uint64_t, uint64_t> RpcBaseline::block(Rank index, uint64_t count) const {
  const auto n = static_cast<uint64_t>(size_);
  const auto i = static_cast<uint64_t>(index);
  const uint64_t begin = (count / n * i + std::min(i, count % n)) / 16 * 16;
  const uint64_t next = (count / n * (i + 1) + std::min(i + 1, count % n)) / 16 * 16;
  return {begin, (index + 1 == size_ ? count : next) - begin};
}

std::byte* RpcBaseline::serialise(Rank slot, uint32_t method, const float* values, uint64_t count) {
  std::byte* const buffer = outgoing_.data() + stride_ * static_cast<size_t>(slot);
  Header header{method,      call_, static_cast<uint32_t>(DataType::kFloat32),
                rank_,       count, count * sizeof(float),
                {"gradient"}};
  std::memcpy(buffer, &header, sizeof(header));
  std::memcpy(buffer + sizeof(header), values, header.bytes);
  return buffer;
}

Status RpcBaseline::parse(Rank from, uint32_t method, uint64_t count, float* into) const {
  const std::byte* const buffer = incoming_.data() + stride_ * static_cast<size_t>(from);
  Header header;
  std::memcpy(&header, buffer, sizeof(header));
  if (header.method != method || header.call != call_ || header.count != count ||
      header.from != from) {
    return Status::error(Code::kMismatch, "the baseline received another call's tensor", from);
  }
  std::memcpy(into, buffer + sizeof(header), count * sizeof(float));
  return Status::ok();
}

// Sends every peer its message and receives one from each.
Status RpcBaseline::exchange() {
  Transport& transport = *transports_[0];
  uint32_t open = 0;
  done_.clear();
  for (const bool sends : {true, false}) {
    for (Rank step = 1; step < size_; ++step) {
      const Rank peer = (rank_ + step) % size_;
      const auto at = static_cast<size_t>(peer);
      Fault fault;
      Code code = Code::kOk;
      if (sends) {
        Message message;
        message.data = outgoing_of_[at];
        message.bytes = sizeof(Header) + sent_of_[at] * sizeof(float);
        message.fingerprint = call_;
        code = transport.send(peer, 0, message, 0, &fault);
      } else {
        Sink sink;
        sink.target = incoming_.data() + stride_ * at;
        sink.bytes = sizeof(Header) + expected_of_[at] * sizeof(float);
        sink.fingerprint = call_;
        code = transport.recv(peer, 0, sink, 0, &fault);
      }
      if (code == Code::kPending) {
        ++open;
      } else if (code != Code::kOk) {
        return failed(fault);
      }
    }
  }
  return finish(open);
}

// Every call returns: a header that says so.
Status RpcBaseline::acknowledge() {
  const std::byte* const reply = serialise(rank_, kReturn, tensor_.data(), 0);
  for (Rank peer = 0; peer < size_; ++peer) {
    outgoing_of_[static_cast<size_t>(peer)] = reply;
    sent_of_[static_cast<size_t>(peer)] = 0;
    expected_of_[static_cast<size_t>(peer)] = 0;
  }
  if (Status s = exchange(); !s) return s;
  for (Rank peer = 0; peer < size_; ++peer) {
    if (peer == rank_) continue;
    if (Status s = parse(peer, kReturn, 0, tensor_.data()); !s) return s;
  }
  return Status::ok();
}

Status RpcBaseline::finish(uint32_t operations) {
  Patience patience(transports_[0]->limits(), sleep_fd_, transports_, timeout_);
  while (done_.size() < operations) {
    const size_t before = done_.size();
    Fault fault;
    if (transports_[0]->poll(&done_, &fault) != Code::kOk) return failed(fault);
    if (done_.size() > before) {
      patience.progressed();
    } else if (!patience.idle()) {
      return Status::error(Code::kTimeout, "the baseline's peer did not answer in time");
    }
  }
  return Status::ok();
}

Status RpcBaseline::all_reduce(float* values, uint64_t count) {
  ++call_;
  const bool whole = count * sizeof(float) <= kWholeBytesMax;
  const auto [own_first, own_count] =
      whole ? std::pair<uint64_t, uint64_t>(0, count) : block(rank_, count);
  const std::byte* request = nullptr;
  for (Rank peer = 0; peer < size_; ++peer) {
    if (peer == rank_) continue;
    const auto at = static_cast<size_t>(peer);
    const auto [first, length] =
        whole ? std::pair<uint64_t, uint64_t>(0, count) : block(peer, count);
    // One request for all where all are sent the same.
    if (!whole || request == nullptr) request = serialise(peer, kCollect, values + first, length);
    outgoing_of_[at] = request;
    sent_of_[at] = length;
    expected_of_[at] = own_count;
  }
  if (Status s = exchange(); !s) return s;
  std::vector<float>& own = tensor_;
  float* const target = values + own_first;
  for (Rank peer = 0; peer < size_; ++peer) {
    if (peer == rank_) continue;
    if (Status s = parse(peer, kCollect, own_count, own.data()); !s) return s;
    auto* const into = reinterpret_cast<std::byte*>(target);
    fold_(into, into, reinterpret_cast<const std::byte*>(own.data()), own_count);
  }
  if (whole) return replies_ ? acknowledge() : Status::ok();
  const std::byte* const reply = serialise(rank_, kReturn, target, own_count);
  for (Rank peer = 0; peer < size_; ++peer) {
    outgoing_of_[static_cast<size_t>(peer)] = reply;
    sent_of_[static_cast<size_t>(peer)] = own_count;
    expected_of_[static_cast<size_t>(peer)] = block(peer, count).second;
  }
  if (Status s = exchange(); !s) return s;
  for (Rank peer = 0; peer < size_; ++peer) {
    if (peer == rank_) continue;
    const auto [first, length] = block(peer, count);
    if (Status s = parse(peer, kReturn, length, values + first); !s) return s;
  }
  return Status::ok();
}

}  // namespace gossamer
