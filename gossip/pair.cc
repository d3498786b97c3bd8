// Two ranks alone average their values.

#include "gossip/pair.h"

#include <fmt/format.h>

#include <memory>

#include "gossamer/gossip.h"
#include "src/reduce.h"

namespace gossamer {
namespace {

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

}  // namespace

Status check_pair(const Communicator& comm, const std::byte* input, const std::byte* output,
                  uint64_t count, DataType type, Rank peer) {
  const uint64_t element = size_of(type);
  if (element == 0) return invalid("the element type is none of gossamer::DataType");
  if (mix_kernel(type) == nullptr) {
    return invalid(fmt::format("a mean of {} is no {}; convert to a float type first",
                               name_of(type), name_of(type)));
  }
  if (peer == comm.rank()) return invalid("a rank cannot gossip with itself; name another");
  if (count > INT64_MAX / element) {
    return invalid(fmt::format("count {} of {} overflows; counts are elements, not bytes", count,
                               name_of(type)));
  }
  if (count > 0 && (input == nullptr || output == nullptr)) {
    return invalid(fmt::format("the {} buffer is null but count is {}",
                               input == nullptr ? "input" : "output", count));
  }
  const uint64_t bytes = count * element;
  if (input != output && input < output + bytes && output < input + bytes) {
    return invalid("input and output overlap; in place means input == output");
  }
  return Status::ok();
}

Status pair_gossip(Communicator& comm, const void* input, void* output, uint64_t count,
                   DataType type, Rank peer) {
  const auto* const mine = static_cast<const std::byte*>(input);
  auto* const mean = static_cast<std::byte*>(output);
  if (Status sound = check_pair(comm, mine, mean, count, type, peer); !sound) return sound;
  std::unique_ptr<std::byte[]> aside;
  if (mine == mean) aside.reset(new std::byte[count * size_of(type)]);
  std::byte* const theirs = aside ? aside.get() : mean;
  Work arrives = comm.start_recv(theirs, count, type, peer);
  const Status sent = comm.start_send(mine, count, type, peer).wait();
  const Status arrived = arrives.wait();
  if (!sent || !arrived) return arrived ? sent : arrived;
  mix_kernel(type)(mean, mine, theirs, count, 0.5, 0.5);
  return Status::ok();
}

}  // namespace gossamer
