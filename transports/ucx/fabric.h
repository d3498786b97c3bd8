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

struct ucp_context;
struct ucp_ep;
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

class Fabric {
 public:
  enum class Reach : uint8_t { kHost, kNetwork };

  // Records that arrive go to `owner`.
  static Result<std::unique_ptr<Fabric>> create(Ucx* owner, Reach reach, const std::string& tls,
                                                Rank size);
  ~Fabric();
  Fabric(const Fabric&) = delete;
  Fabric& operator=(const Fabric&) = delete;

  std::string address() const;
  // Begins to connect the link's endpoint. False: UCX has no way there, *why is its reason.
  bool connect(const std::string& address, Link* link, const char** why);
  // Ends these endpoints without asking their peers.
  void close(std::span<ucp_ep* const> endpoints);

  ucp_worker* worker() const { return worker_; }
  int wait_fd() const { return wait_fd_; }

 private:
  explicit Fabric(Reach reach) : reach_(reach) {}
  Status make_context(const std::string& tls, Rank size);
  Status make_worker(Ucx* owner);

  const Reach reach_;
  ucp_context* context_ = nullptr;
  ucp_worker* worker_ = nullptr;
  int wait_fd_ = -1;
};

}  // namespace gossamer::ucx
