// What an all-reduce costs that is made of remote procedure calls: every message is a header and a
// serialised tensor in a private buffer. It is what persistent collectives are compared with.
//
// The same transports, the same kernels and the same waiting as the library's own collectives; what
// differs is what a call does with the bytes: it writes a header, copies the tensor behind it,
// sends, receives into a private buffer, checks the header and copies the tensor out, and only then
// adds it up. Buffers are allocated once. Up to 16 KiB every rank calls every other with all it
// has, and the reply is a bare header; beyond, it calls each with that one's block, and the reply
// has the sum, as in the library's two-shot. Without `replies` the small calls are one-way: the
// least that messages with headers and copies can cost, and no remote procedure call any more.
//
// Threads    One per rank; all ranks make the same calls.
// Blocking   all_reduce() until the timeout.

#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "gossamer/communicator.h"
#include "gossamer/transport.h"
#include "src/reduce.h"

namespace gossamer {

class RpcBaseline {
 public:
  // A transport of its own between the ranks of `communicator`, for sums of at most `count_max`
  // floats. All ranks call it.
  //   kInvalidArgument  no transport has this name
  static Result<std::unique_ptr<RpcBaseline>> create(Communicator& communicator,
                                                     const std::string& transport,
                                                     uint64_t count_max, bool replies,
                                                     std::chrono::milliseconds timeout);
  ~RpcBaseline();
  RpcBaseline(const RpcBaseline&) = delete;
  RpcBaseline& operator=(const RpcBaseline&) = delete;

  // values[i] = sum over all ranks of their values[i].
  Status all_reduce(float* values, uint64_t count);

 private:
  struct Header;
  RpcBaseline(Rank rank, Rank size, uint64_t count_max, bool replies,
              std::chrono::milliseconds timeout);
  Status connect(Communicator& communicator, const std::string& transport);
  Status open();
  std::byte* serialise(Rank slot, uint32_t method, const float* values, uint64_t count);
  Status parse(Rank from, uint32_t method, uint64_t count, float* into) const;
  Status exchange();
  Status acknowledge();
  Status finish(uint32_t operations);
  std::pair<uint64_t, uint64_t> block(Rank index, uint64_t count) const;

  const Rank rank_;
  const Rank size_;
  const bool replies_;
  const uint64_t stride_;  // of a private buffer
  const std::chrono::milliseconds timeout_;
  const FoldKernel fold_;
  std::vector<std::unique_ptr<Transport>> transports_;  // one
  int sleep_fd_ = -1;
  uint32_t call_ = 0;
  std::vector<std::byte> outgoing_;  // by peer
  std::vector<std::byte> incoming_;  // by peer
  std::vector<float> tensor_;        // what was copied out last
  // Of the exchange under way, by peer: the message, and how many floats it and the awaited one
  // have.
  std::vector<const std::byte*> outgoing_of_;
  std::vector<uint64_t> sent_of_;
  std::vector<uint64_t> expected_of_;
  std::vector<Token> done_;
};

}  // namespace gossamer
