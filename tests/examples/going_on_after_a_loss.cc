// A rank is lost while the others sum: they hear which one, close up, and go on.
//
//   mpirun -n 4 example_going_on_after_a_loss
//
// run: 4 processes

#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "gossamer/communicator.h"

int main() {
  auto joined = gossamer::Communicator::from_environment();
  if (!joined) {
    std::fprintf(stderr, "%s\n", joined.status().to_string().c_str());
    return 1;
  }
  std::unique_ptr<gossamer::Communicator> comm = std::move(joined).value();
  std::vector<float> values(10'000);
  for (int step = 0; step < 100;) {
    if (step == 50 && comm->rank() == 3) {
      std::_Exit(0);  // as if it had crashed: it tells nobody
    }
    std::fill(values.begin(), values.end(), 1.0F);
    const gossamer::Status status = comm->all_reduce(std::span<float>(values));
    if (status) {
      ++step;
      continue;
    }
    if (status.code() != gossamer::Code::kPeerLost) {
      std::fprintf(stderr, "%s\n", status.to_string().c_str());
      return 1;
    }
    const std::array<gossamer::Rank, 1> lost = {status.rank()};
    auto smaller = comm->shrink(lost, {.abort = true});
    if (!smaller) {
      std::fprintf(stderr, "%s\n", smaller.status().to_string().c_str());
      return 1;
    }
    comm = std::move(smaller).value();
    std::printf("rank %d of %d goes on without the former rank %d\n", comm->rank(), comm->size(),
                lost[0]);
  }
  return values[0] == static_cast<float>(comm->size()) ? 0 : 1;
}
