// What a unique id says, and the threads that serve the meeting points of this process.
//
//   Layout    magic 8, version 2, zero 2, address 20, key 32, session 8, zero 48, checksum 8
//   Threads   any.

#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <thread>

#include "gossamer/communicator.h"
#include "gossamer/status.h"
#include "src/fd.h"
#include "src/net.h"
#include "src/rendezvous.h"

namespace gossamer {

struct UniqueIdFields {
  SocketAddress address;  // of the meeting point
  Key key{};
  uint64_t session = 0;
};
UniqueId encode(const UniqueIdFields& fields);
// kInvalidArgument: empty, cut, of another library or version, or altered; the message says which.
Result<UniqueIdFields> parse_unique_id(const UniqueId& id);

// A RendezvousServer on a thread of its own. One that has ended holds no descriptor.
class RendezvousThread {
 public:
  static Result<std::unique_ptr<RendezvousThread>> start(Fd listening,
                                                         const RendezvousConfig& config);
  ~RendezvousThread();  // joins: see stop()
  RendezvousThread(const RendezvousThread&) = delete;
  RendezvousThread& operator=(const RendezvousThread&) = delete;

  void stop();  // ends it at once, whatever it is doing
  bool done() const { return done_.load(std::memory_order_acquire); }

 private:
  RendezvousThread() = default;

  std::mutex m_;
  Fd stop_;  // guarded by m_ while the thread runs; closed by it
  std::atomic<bool> done_{false};
  std::thread thread_;
};

// Opens a meeting point on the first suitable interface, with a fresh key and session.
struct OpenedRendezvous {
  UniqueIdFields fields;
  std::unique_ptr<RendezvousThread> thread;
};
Result<OpenedRendezvous> open_rendezvous_thread(const std::string& interfaces,
                                                const std::string& port_range,
                                                std::chrono::milliseconds timeout,
                                                std::chrono::milliseconds linger);

}  // namespace gossamer
