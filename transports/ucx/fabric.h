// One UCX worker. A rank has one for its own host, if UCX may use shared memory, and one for all
// others: UCX notices a peer's end over networks only, and where it is asked to notice, it leaves
// shared memory out.
//
//   Threads    driving thread.
//   Ownership  owns its context and worker; endpoints are their links' until close().

#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gossamer/status.h"
#include "gossamer/types.h"
#include "src/registration_cache.h"

struct ucp_context;
struct ucp_ep;
struct ucp_mem;
struct ucp_worker;

namespace gossamer::ucx {

class Ucx;
struct Link;

// Which of UCX's transports a fabric may use, in UCX_TLS's syntax; empty: there is no such fabric.
struct Choice {
  std::string host;
  std::string network;
};
// `tls` as UCX_TLS holds it.
Choice split_tls(const std::string& tls);

// Memory that peers may put into, with the key they need.
struct Area {
  ucp_mem* handle = nullptr;
  std::byte* data = nullptr;
  uint64_t bytes = 0;
  std::vector<std::byte> key;
};

// What UCX has chosen to reach a peer by.
struct Ways {
  bool puts = false;  // a device writes the peer's memory
  bool tcp = false;
};

class Fabric final : public Registrar {
 public:
  enum class Reach : uint8_t { kHost, kNetwork };

  // Records that arrive go to `owner`.
  static Result<std::unique_ptr<Fabric>> create(Ucx* owner, Reach reach, const std::string& tls,
                                                Rank size, bool emulated_puts);
  ~Fabric() override;
  Fabric(const Fabric&) = delete;
  Fabric& operator=(const Fabric&) = delete;

  std::string address() const;
  // Whether it has devices that write a peer's memory.
  bool puts() const { return puts_; }
  Ways ways(ucp_ep* endpoint) const;
  // Memory of UCX's own, which lives as long as the fabric. Null: it has none that peers can reach.
  const Area* allocate(uint64_t bytes);
  // Registers the caller's memory, for peers that put.
  void* register_memory(std::span<std::byte> pages, std::string* why) override;
  void deregister_memory(void* handle) override;
  static std::span<const std::byte> key_of(void* handle) {
    return static_cast<const Area*>(handle)->key;
  }

  // Begins to connect the link's endpoint. False: UCX has no way there, *why is its reason.
  bool connect(const std::string& address, Link* link, const char** why);
  // Ends these endpoints without asking their peers.
  void close(std::span<ucp_ep* const> endpoints);

  ucp_worker* worker() const { return worker_; }
  int wait_fd() const { return wait_fd_; }

 private:
  explicit Fabric(Reach reach) : reach_(reach) {}
  Status make_context(const std::string& tls, Rank size, bool puts);
  bool has_putting_devices() const;
  Status make_worker(Ucx* owner);
  // Fills in what UCX knows of `area`. Null, with UCX's reason, when it does not map it.
  std::unique_ptr<Area> map(std::byte* data, uint64_t bytes, const char** why);
  void unmap(const Area& area);

  const Reach reach_;
  bool puts_ = false;
  ucp_context* context_ = nullptr;
  ucp_worker* worker_ = nullptr;
  int wait_fd_ = -1;
  std::vector<std::unique_ptr<Area>> areas_;
};

}  // namespace gossamer::ucx
