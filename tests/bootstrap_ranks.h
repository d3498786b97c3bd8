// Ranks as threads of one test, meeting by any rendezvous; and raw sockets to disturb them.
//
// Threads    run_ranks() starts and joins one per rank.

#pragma once

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "src/bootstrap.h"
#include "src/fd.h"
#include "src/net.h"
#include "tests/ports.h"
#include "tests/temporary_folder.h"

namespace gossamer {

using std::chrono::milliseconds;

inline BootstrapConfig config_of(Rank rank, Rank size, const std::string& rendezvous,
                                 milliseconds timeout = milliseconds(10'000)) {
  BootstrapConfig config;
  config.rank = rank;
  config.size = size;
  config.rendezvous = rendezvous;
  config.timeout = timeout;
  return config;
}

inline BootstrapConfig config_of(Rank rank, Rank size, const UniqueId& id,
                                 milliseconds timeout = milliseconds(10'000)) {
  BootstrapConfig config = config_of(rank, size, "", timeout);
  config.id = &id;
  return config;
}

// What one rank saw: how it joined, and what it gathered.
struct Seen {
  Status status;
  Meeting meeting;
  std::vector<std::string> blobs;
};

inline Seen join_and_gather(const BootstrapConfig& config, const std::string& blob) {
  Seen seen;
  auto bootstrap = Bootstrap::join(config);
  if (!bootstrap) {
    seen.status = bootstrap.status();
    return seen;
  }
  seen.meeting = (*bootstrap)->meeting();
  auto blobs = (*bootstrap)->all_gather(blob);
  seen.status = blobs.status();
  if (blobs) {
    seen.blobs = *blobs;
  }
  return seen;
}

inline std::vector<Seen> run_ranks(const std::vector<BootstrapConfig>& configs) {
  std::vector<Seen> seen(configs.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < configs.size(); ++i) {
    threads.emplace_back([&, i] {
      seen[i] = join_and_gather(configs[i], "blob of " + std::to_string(configs[i].rank));
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  return seen;
}

template <class Where>
std::vector<BootstrapConfig> group_of(Rank size, const Where& where,
                                      milliseconds timeout = milliseconds(10'000)) {
  std::vector<BootstrapConfig> configs;
  for (Rank rank = 0; rank < size; ++rank) {
    configs.push_back(config_of(rank, size, where, timeout));
  }
  return configs;
}

// Everybody has everybody's blob, and all agree on session and key.
inline void expect_complete(const std::vector<Seen>& seen) {
  for (size_t rank = 0; rank < seen.size(); ++rank) {
    ASSERT_TRUE(seen[rank].status) << "rank " << rank << ": " << seen[rank].status.message();
    EXPECT_EQ(seen[rank].meeting.rank, static_cast<Rank>(rank));
    EXPECT_EQ(seen[rank].meeting.size, static_cast<Rank>(seen.size()));
    EXPECT_EQ(seen[rank].meeting.session, seen[0].meeting.session);
    EXPECT_EQ(seen[rank].meeting.key, seen[0].meeting.key);
    ASSERT_EQ(seen[rank].blobs.size(), seen.size());
    for (size_t other = 0; other < seen.size(); ++other) {
      EXPECT_EQ(seen[rank].blobs[other], "blob of " + std::to_string(other));
    }
  }
}

inline void expect_all(const std::vector<Seen>& seen, Code code, Rank rank,
                       const std::string& part) {
  for (size_t i = 0; i < seen.size(); ++i) {
    EXPECT_EQ(seen[i].status.code(), code) << i << ": " << seen[i].status.message();
    EXPECT_EQ(seen[i].status.rank(), rank) << i << ": " << seen[i].status.message();
    EXPECT_NE(seen[i].status.message().find(part), std::string::npos)
        << i << ": " << seen[i].status.message();
  }
}

inline std::string tcp_place(uint16_t port) {
  return "tcp://127.0.0.1:" + std::to_string(port);
}

// A blocking connection to 127.0.0.1:port, tried for ten seconds.
inline Fd connect_raw(const SocketAddress& to) {
  const Deadline deadline(milliseconds(10'000));
  while (!deadline.expired()) {
    Fd fd(::socket(to.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to.storage), to.length) == 0) {
      return fd;
    }
    std::this_thread::sleep_for(milliseconds(5));
  }
  ADD_FAILURE() << "nobody listens on " << to.to_string();
  return Fd();
}

inline void send_raw(const Fd& fd, const std::string& bytes) {
  ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

// A rendezvous in a file.
class ScratchFile {
 public:
  std::string path() const { return folder_.path("id"); }
  std::string place() const { return folder_.place("id"); }
  bool exists() const { return ::access(path().c_str(), F_OK) == 0; }

 private:
  TemporaryFolder folder_;
};

}  // namespace gossamer
