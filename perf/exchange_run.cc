#include "perf/exchange_run.h"

#include <bit>
#include <cstring>

#include "gossamer/group.h"
#include "perf/pattern.h"
#include "perf/region.h"
#include "perf/rows.h"

namespace gossamer {
namespace {

class Exchange {
 public:
  Exchange(Communicator& communicator, Group& group, const PerfOptions& options)
      : communicator_(communicator),
        group_(group),
        options_(options),
        ring_(options.exchange == kSendRecv),
        parts_(ring_ ? 1 : static_cast<uint64_t>(group.size())) {}

  Status allocate() {
    const uint64_t longest = options_.sizes.back() + 8 * parts_;
    if (Status s = input_.allocate(longest, options_.registered); !s) return s;
    return output_.allocate(longest, options_.registered);
  }

  Result<Cell> run(DataType type, uint64_t bytes, bool in_place) {
    const uint64_t element = size_of(type);
    Cell cell;
    cell.exchange = options_.exchange;
    cell.collective = ring_ ? Collective::kBroadcast : Collective::kAllGather;
    cell.ranks = group_.size();
    cell.type = type;
    cell.in_place = in_place;
    cell.checked = options_.check;
    cell.count = std::max<uint64_t>(bytes / (parts_ * element), 1);
    cell.bytes = cell.count * parts_ * element;
    cell.algorithm = options_.exchange;
    const auto choice =
        communicator_.explain(Collective::kAllGather, cell.count, type, ReduceOp::kSum, in_place);
    if (!choice) return choice.status();
    cell.transport = choice->transport;
    cell.predicted_us = estimate(cell);
    if (Status s = time(&cell); !s) return s;
    return cell;
  }

 private:
  Status call(const Cell& cell, int index) {
    const uint64_t share = cell.count * size_of(cell.type);
    const Rank size = group_.size();
    const Rank rank = group_.rank();
    if (ring_) {
      const bool back = options_.swap && index % 2 == 1;
      Region& from = back ? output_ : input_;
      Region& to = back ? input_ : output_;
      Status s = group_start();
      if (s) s = communicator_.send(from.data(), cell.count, cell.type, (rank + 1) % size);
      if (s) s = communicator_.recv(to.data(), cell.count, cell.type, (rank + size - 1) % size);
      const Status ended = group_end();
      return s ? ended : s;
    }
    std::byte* const all = output_.data();
    if (!cell.in_place)
      std::memcpy(all + static_cast<uint64_t>(rank) * share, input_.data(), share);
    for (Rank bit = 1; bit < size; bit <<= 1) {
      const auto have = static_cast<uint64_t>(rank & ~(bit - 1));
      const uint64_t theirs = have ^ static_cast<uint64_t>(bit);
      const uint64_t count = cell.count * static_cast<uint64_t>(bit);
      Status s = group_start();
      if (s) s = communicator_.send(all + have * share, count, cell.type, rank ^ bit);
      if (s) s = communicator_.recv(all + theirs * share, count, cell.type, rank ^ bit);
      const Status ended = group_end();
      if (!s || !ended) return s ? ended : s;
    }
    return Status::ok();
  }

  // By the price model; nothing is sent.
  double estimate(const Cell& cell) {
    if (group_.size() == 1) return 0;
    const auto price = [&](uint64_t count, Rank to, Rank from) {
      Status s = group_start();
      if (s) s = communicator_.send(input_.data(), count, cell.type, to);
      if (s) s = communicator_.recv(output_.data(), count, cell.type, from);
      const Result<GroupEstimate> priced = group_simulate_end();
      return s && priced ? priced->us : 0;
    };
    const Rank size = group_.size();
    const Rank rank = group_.rank();
    if (ring_) return price(cell.count, (rank + 1) % size, (rank + size - 1) % size);
    double us = 0;
    for (Rank bit = 1; bit < size; bit <<= 1) {
      us += price(cell.count * static_cast<uint64_t>(bit), rank ^ bit, rank ^ bit);
    }
    return us;
  }

  // One operation's data: every rank's share differs, and from group to group.
  void fill(std::byte* to, Rank rank, uint64_t bytes, int salt) const {
    for (uint64_t i = 0; i < bytes; ++i) {
      to[i] = static_cast<std::byte>(i * 7 + static_cast<uint64_t>(rank) * 31 +
                                     static_cast<uint64_t>(salt) * 13);
    }
  }
  uint64_t wrong_bytes(const std::byte* got, Rank rank, uint64_t bytes, int salt) const {
    std::vector<std::byte> right(bytes);
    fill(right.data(), rank, bytes, salt);
    if (std::memcmp(got, right.data(), bytes) == 0) return 0;
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < bytes; ++i) wrong += got[i] == right[i] ? 0 : 1;
    return wrong;
  }

  Status time(Cell* cell) {
    const uint64_t share = cell->count * size_of(cell->type);
    const Rank rank = group_.rank();
    int salt = 0;
    Measured measured;
    measured.prepare = [&](int group) {
      salt = group + 1;
      std::memset(output_.data(), 0xA5, cell->bytes);  // what no operation would leave
      std::byte* const mine =
          cell->in_place ? output_.data() + static_cast<uint64_t>(rank) * share : input_.data();
      fill(mine, rank, share, salt);
    };
    measured.run = [&](int index) { return call(*cell, index); };
    measured.inspect = [&](int operations) -> uint64_t {
      if (!options_.check) return 0;
      const Rank size = group_.size();
      if (ring_) {
        // Swapped, what arrived is passed on: it comes from as far as there were operations.
        const Rank way = options_.swap ? static_cast<Rank>(operations % size) : 1;
        const Region& last = options_.swap && operations % 2 == 0 ? input_ : output_;
        return wrong_bytes(last.data(), (rank + size - way) % size, share, salt) /
               size_of(cell->type);
      }
      uint64_t wrong = 0;
      for (Rank r = 0; r < size; ++r) {
        wrong += wrong_bytes(output_.data() + static_cast<uint64_t>(r) * share, r, share, salt);
      }
      return (wrong + size_of(cell->type) - 1) / size_of(cell->type);
    };
    const Pace pace = pace_for(cell->bytes, options_.iterations, options_.warmup, options_.seconds);
    const Result<Timing> timing = measure(group_, pace, measured);
    if (!timing) return timing.status();
    cell->timing = *timing;
    return Status::ok();
  }

  Communicator& communicator_;
  Group& group_;
  const PerfOptions& options_;
  bool ring_;
  uint64_t parts_;
  Region input_;
  Region output_;
};

}  // namespace

bool is_exchange(const std::string& name) {
  return name == kSendRecv || name == kHypercube;
}

Status measure_exchange(Communicator& communicator, Group& group, const PerfOptions& options,
                        const RowSink& row) {
  if (options.exchange == kHypercube && !std::has_single_bit(static_cast<unsigned>(group.size()))) {
    return Status::error(Code::kInvalidArgument, "hypercube needs 1, 2, 4, 8, ... ranks, not " +
                                                     std::to_string(group.size()));
  }
  Exchange exchange(communicator, group, options);
  if (Status s = exchange.allocate(); !s) return s;
  for (const DataType type : options.types) {
    const auto run = [&](uint64_t bytes, bool in_place) {
      return exchange.run(type, bytes, in_place);
    };
    const bool places = options.exchange != kSendRecv;  // nothing can be in its place
    if (Status s = run_rows(options, places, run, row); !s) return s;
  }
  return Status::ok();
}

}  // namespace gossamer
