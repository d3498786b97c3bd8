// One process, one thread per rank: the id is made once and handed to all threads.
//
// run: 1 process

#include <cstdio>
#include <numeric>
#include <thread>
#include <vector>

#include "gossamer/communicator.h"

namespace {

constexpr gossamer::Rank kRanks = 4;

bool work(const gossamer::UniqueId& id, gossamer::Rank rank) {
  gossamer::Communicator::Options options;
  options.rank = rank;
  options.size = kRanks;
  options.id = &id;
  auto comm = gossamer::Communicator::create(options);
  if (!comm) {
    std::fprintf(stderr, "rank %d: %s\n", rank, comm.status().to_string().c_str());
    return false;
  }
  std::vector<double> values(1'000);
  std::iota(values.begin(), values.end(), rank);
  // Summed while this thread does something else.
  gossamer::Work sum =
      (*comm)->start_all_reduce(values.data(), values.data(), values.size(),
                                gossamer::DataType::kFloat64, gossamer::ReduceOp::kSum);
  std::vector<double> next(values.size());
  std::iota(next.begin(), next.end(), 0.0);
  const gossamer::Status status = sum.wait();
  if (!status) {
    std::fprintf(stderr, "rank %d: %s\n", rank, status.to_string().c_str());
    return false;
  }
  return values[10] == 4 * 10 + 6;
}

}  // namespace

int main() {
  const auto id = gossamer::UniqueId::create();
  if (!id) {
    std::fprintf(stderr, "%s\n", id.status().to_string().c_str());
    return 1;
  }
  std::vector<int> good(kRanks);
  std::vector<std::thread> threads;
  for (gossamer::Rank rank = 0; rank < kRanks; ++rank) {
    threads.emplace_back([&, rank] { good[static_cast<size_t>(rank)] = work(*id, rank) ? 1 : 0; });
  }
  for (std::thread& thread : threads) thread.join();
  const int all = std::accumulate(good.begin(), good.end(), 0);
  std::printf("%d of %d ranks are done\n", all, kRanks);
  return all == kRanks ? 0 : 1;
}
