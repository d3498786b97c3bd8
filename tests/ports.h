// Ports that are this test's own while it runs, so that tests may run side by side.
//
// A port that the system hands out and that is closed again may be handed to another test before
// it is used. These come from below the range that the system hands out from, in blocks that each
// running test takes for itself by the name of a socket, which goes with the process.
//
// Threads    one thread at a time.

#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "src/fd.h"
#include "src/net.h"

namespace gossamer {

class OwnPorts {
 public:
  // The first of `count` ports in a row, none of which is in use. Each is given out once.
  uint16_t take(int count) {
    for (int tries = 0; tries < 2 * kBlocks; ++tries) {
      if (left_ < count && !take_block()) break;
      const auto first = static_cast<uint16_t>(next_);
      next_ += count;
      left_ -= count;
      if (all_free(first, count)) return first;
    }
    ADD_FAILURE() << "no " << count << " ports in a row are free";
    return 0;
  }

 private:
  static constexpr int kFirst = 12'000;
  static constexpr int kBlockPorts = 64;
  static constexpr int kBlocks = 300;  // below 32768, where the system's own range begins

  bool take_block() {
    for (int i = 0; i < kBlocks; ++i) {
      const int block = (static_cast<int>(::getpid()) * 7 + turn_++) % kBlocks;
      sockaddr_un name{};
      name.sun_family = AF_UNIX;  // an abstract name: the byte before it is 0
      const int length = std::snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1,
                                       "gossamer-test-ports-%d", block);
      const auto bytes =
          static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + static_cast<size_t>(length));
      Fd holder(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      if (::bind(holder.get(), reinterpret_cast<const sockaddr*>(&name), bytes) != 0) continue;
      holders_.push_back(std::move(holder));
      next_ = kFirst + block * kBlockPorts;
      left_ = kBlockPorts;
      return true;
    }
    return false;
  }

  // Programs that are not tests of ours may hold some.
  static bool all_free(int first, int count) {
    for (int port = first; port < first + count; ++port) {
      auto socket = listen_on(*SocketAddress::parse("0.0.0.0:" + std::to_string(port)), "");
      if (!socket) return false;
      ::close(*socket);
    }
    return true;
  }

  std::vector<Fd> holders_;
  int turn_ = 0;
  int next_ = 0;
  int left_ = 0;
};

inline uint16_t free_ports(int count) {
  static OwnPorts ports;
  return ports.take(count);
}
inline uint16_t free_port() {
  return free_ports(1);
}

}  // namespace gossamer
