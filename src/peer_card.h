// What each rank tells the others when they meet, before transports are opened.
#pragma once

#include <fmt/format.h>

#include <array>
#include <string>

#include "src/communicator_impl.h"
#include "src/env.h"

namespace gossamer {

struct Communicator::Impl::Peer {
  std::string host;
  uint64_t cache_bytes = 0;
  std::string cores;  // as usable_core_numbers()
  std::string transport;
  std::string algorithm;
  std::string membership = "0";  // whether ranks are watched, and how
  std::string watch;             // Watch::card(); empty: not watched

  std::string encode() const {
    return fmt::format("{}\n{}\n{}\n{}\n{}\n{}\n{}", cores, cache_bytes, transport, algorithm,
                       membership, watch, host);
  }
  static Result<Peer> decode(const std::string& blob, Rank from) {
    Peer peer;
    std::array<size_t, 6> ends{};
    size_t at = 0;
    for (size_t& end : ends) {
      end = blob.find('\n', at);
      if (end == std::string::npos) {
        return Status::error(Code::kMismatch,
                             fmt::format("rank {} speaks another version of gossamer", from), from);
      }
      at = end + 1;
    }
    const auto field = [&](size_t i) {
      return blob.substr(ends[i - 1] + 1, ends[i] - ends[i - 1] - 1);
    };
    Result<int64_t> cache = parse_int(field(1), 1, INT64_MAX, "the size of the cache");
    if (!cache) return cache.status();
    peer.cores = blob.substr(0, ends[0]);
    peer.cache_bytes = static_cast<uint64_t>(*cache);
    peer.transport = field(2);
    peer.algorithm = field(3);
    peer.membership = field(4);
    peer.watch = field(5);
    peer.host = blob.substr(at);
    return peer;
  }
};

}  // namespace gossamer
