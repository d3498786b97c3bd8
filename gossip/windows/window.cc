// Windows: how they are made, and their public face.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "gossamer/gossip_window.h"
#include "gossip/windows/window_impl.h"
#include "src/check.h"
#include "src/env.h"
#include "src/reduce.h"

namespace gossamer {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kTimeoutDefault{30'000};
constexpr size_t kNameBytesMax = 63;

// What ranks must agree on.
struct Claim {
  uint64_t count = 0;
  uint64_t type = 0;
  std::array<char, kNameBytesMax + 1> name{};

  std::string describe() const {
    return fmt::format("\"{}\" of {} {}", name.data(), count,
                       name_of(static_cast<DataType>(static_cast<uint8_t>(type))));
  }
  friend bool operator==(const Claim&, const Claim&) = default;
};

Status refuse(const std::string& name, std::string what, Code code = Code::kInvalidArgument,
              Rank rank = -1) {
  return Status::error(code, fmt::format("window {}: {}", name, what), rank);
}

Status check_shape(const Window::Options& options, const void* data, uint64_t count,
                   DataType type) {
  const std::string& name = options.name;
  if (name.size() > kNameBytesMax || name.find('\0') != std::string::npos) {
    return refuse(name.substr(0, kNameBytesMax),
                  fmt::format("a name has {} bytes at most, none of them zero", kNameBytesMax));
  }
  const uint64_t element = size_of(type);
  if (element == 0) return refuse(name, "the element type is none of gossamer::DataType");
  if (mix_kernel(type) == nullptr) {
    return refuse(
        name, fmt::format("a mean of {} is no {}; use a float type", name_of(type), name_of(type)));
  }
  if (count == 0) return refuse(name, "it has no elements; give count, in elements");
  if (count > INT64_MAX / 256 / element) {
    return refuse(name, fmt::format("count {} of {} is more than any memory; counts are elements, "
                                    "not bytes",
                                    count, name_of(type)));
  }
  if (data == nullptr) return refuse(name, "the value buffer is null");
  if (options.timeout.count() < 0) return refuse(name, "the timeout is negative");
  return Status::ok();
}

// Whether all ranks make the same window; known to all of them.
Status agree(Communicator& comm, uint64_t count, DataType type, const std::string& name) {
  Claim mine;
  mine.count = count;
  mine.type = static_cast<uint64_t>(type);
  std::memcpy(mine.name.data(), name.data(), name.size());
  std::vector<Claim> all(static_cast<size_t>(comm.size()));
  Status told = comm.start_all_gather(&mine, all.data(), sizeof mine, DataType::kUint8).wait();
  if (!told) return told;
  for (size_t r = 1; r < all.size(); ++r) {
    if (all[r] == all[0]) continue;
    return refuse(name,
                  fmt::format("rank 0 makes {} and rank {} makes {}; all ranks give the same",
                              all[0].describe(), r, all[r].describe()),
                  Code::kMismatch, static_cast<Rank>(r));
  }
  return Status::ok();
}

}  // namespace

Window::Impl::Impl(Shape given, Rank of, Rank among, const void* data)
    : shape(std::move(given)),
      bytes(shape.count * size_of(shape.type)),
      rank(of),
      size(among),
      ranks_(static_cast<size_t>(among)),
      places_(static_cast<size_t>(among)),
      own_(bytes),
      peers_(static_cast<size_t>(among)) {
  std::memcpy(own_.data(), data, bytes);
  for (Rank r = 0; r < size; ++r) {
    ranks_[static_cast<size_t>(r)] = r;
    places_[static_cast<size_t>(r)] = r;
  }
}

Window::Impl::~Impl() {
  GOSSAMER_CHECK(!thread_.joinable());
}

void Window::Impl::begin(std::unique_ptr<Communicator> comm) {
  comm_ = std::move(comm);
  for (Rank r = 0; r < size; ++r) {
    if (r != rank) greet(r);
  }
  thread_ = std::thread([this] { serve(); });
}

void Window::Impl::greet(Rank r) {
  WindowPeer& other = peer(r);
  other.hello.kind = WindowPacketKind::kHello;
  other.sends_hello = start_packet(r, other.hello);
}

Status Window::Impl::invalid(const std::string& what) const {
  return refuse(shape.name, what);
}

Status Window::Impl::check_other(Rank other, const char* what) const {
  if (other >= 0 && other < size && other != rank) return Status::ok();
  return refuse(shape.name,
                fmt::format("rank {} is no {} of rank {}; it has the other ranks of 0 to {}", other,
                            what, rank, size - 1),
                Code::kInvalidArgument, other);
}

Status Window::Impl::check_graph_size(const Graph& graph) const {
  if (graph.size() == size) return Status::ok();
  return invalid(fmt::format("the graph {} is of {} ranks and this window of {}", graph.name(),
                             graph.size(), size));
}

Result<std::unique_ptr<Window>> Window::create(Communicator& comm, const void* data, uint64_t count,
                                               DataType type) {
  return create(comm, data, count, type, Options());
}

Result<std::unique_ptr<Window>> Window::create(Communicator& comm, const void* data, uint64_t count,
                                               DataType type, const Options& options) {
  if (Status sound = check_shape(options, data, count, type); !sound) return sound;
  Impl::Shape shape{count, type, options.name, options.timeout};
  if (shape.timeout.count() == 0) {
    const Result<milliseconds> timeout = env_duration("GOSSAMER_TIMEOUT_MS", kTimeoutDefault);
    if (!timeout) return timeout.status();
    shape.timeout = *timeout;
  }
  if (Status agreed = agree(comm, count, type, options.name); !agreed) return agreed;
  Communicator::SplitOptions own;
  own.name = fmt::format("window {}", shape.name);
  own.timeout = Impl::kForever;
  Result<std::unique_ptr<Communicator>> made = comm.split(0, comm.rank(), own);
  if (!made) return made.status();
  auto impl = std::make_unique<Impl>(std::move(shape), comm.rank(), comm.size(), data);
  impl->begin(std::move(made).value());
  return std::unique_ptr<Window>(new Window(std::move(impl)));
}

Window::Window(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Window::~Window() {
  if (impl_->process == getpid()) {
    impl_->close();
  } else {
    (void)impl_.release();
  }
}

Status Window::free() {
  return impl_->free();
}

Status Window::set(const void* value) {
  return impl_->set(value);
}
Status Window::value(void* out) const {
  return impl_->value(out);
}

Status Window::put(const void* value, Rank to, double weight) {
  const Weight target{to, weight};
  return impl_->put(value, std::span(&target, 1), WindowPacketKind::kPut);
}
Status Window::put(const void* value, const Graph& graph, uint64_t round, double weight) {
  const auto targets = impl_->targets_of(graph, round, weight, false);
  if (!targets) return targets.status();
  return impl_->put(value, *targets, WindowPacketKind::kPut);
}
Status Window::accumulate(const void* value, Rank to, double weight) {
  const Weight target{to, weight};
  return impl_->put(value, std::span(&target, 1), WindowPacketKind::kAdd);
}
Status Window::accumulate(const void* value, const Graph& graph, uint64_t round, double weight) {
  const auto targets = impl_->targets_of(graph, round, weight, true);
  if (!targets) return targets.status();
  return impl_->put(value, *targets, WindowPacketKind::kAdd);
}
Status Window::flush() {
  return impl_->flush();
}

Status Window::get(void* out, Rank from, uint64_t* version) {
  return impl_->get(out, from, version);
}

Status Window::update(void* out, double self_weight, std::span<const Weight> sources) {
  return impl_->mix(out, self_weight, sources, false);
}
Status Window::update(void* out, const Graph& graph, uint64_t round) {
  return impl_->mix(out, graph, round);
}
Status Window::collect(void* out, double self_weight, std::span<const Weight> sources) {
  return impl_->mix(out, self_weight, sources, true);
}

uint64_t Window::clock() const {
  return impl_->clock();
}
uint64_t Window::version(Rank source) const {
  return impl_->version(source);
}
Status Window::wait_versions(std::span<const Rank> sources, uint64_t at_least) {
  return impl_->wait_versions(sources, at_least, impl_->shape.timeout);
}
Status Window::wait_versions(std::span<const Rank> sources, uint64_t at_least,
                             std::chrono::nanoseconds timeout) {
  return impl_->wait_versions(sources, at_least, timeout);
}
Status Window::wait_versions(const Graph& graph, uint64_t round, uint64_t at_least) {
  return impl_->wait_versions(graph, round, at_least);
}

Rank Window::rank() const {
  return impl_->rank;
}
Rank Window::size() const {
  return impl_->size;
}
uint64_t Window::count() const {
  return impl_->shape.count;
}
DataType Window::type() const {
  return impl_->shape.type;
}
const std::string& Window::name() const {
  return impl_->shape.name;
}
std::vector<Rank> Window::lost() const {
  return impl_->lost();
}
Status Window::status() const {
  return impl_->status();
}

}  // namespace gossamer
