// Moshpit averaging: an all-reduce in groups that change, each rank the owner of one share.

#include <fmt/format.h>

#include <algorithm>

#include "gossamer/gossip_groups.h"
#include "gossip/graph.h"
#include "gossip/methods/checks.h"
#include "gossip/methods/saved_state.h"
#include "gossip/methods/wait_all.h"
#include "src/reduce.h"

namespace gossamer {
namespace {

using Options = MoshpitAverage::Options;

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

// Distances between neighbors in each direction of the grid: 1, m, m^2, ... below `size`.
std::vector<int64_t> strides_of(Rank group, Rank size) {
  std::vector<int64_t> strides = {1};
  while (strides.back() * group < size) strides.push_back(strides.back() * group);
  return strides;
}

std::vector<Rank> grid_group(Rank group, Rank rank, Rank size, uint64_t round) {
  const std::vector<int64_t> strides = strides_of(group, size);
  const int64_t stride = strides[round % strides.size()];
  const int64_t first = rank - rank / stride % group * stride;
  std::vector<Rank> members;
  for (int64_t r = first; r < size && r < first + group * stride; r += stride) {
    members.push_back(static_cast<Rank>(r));
  }
  return members;
}

// As few groups as there can be, whose sizes differ by at most one.
std::vector<Rank> random_group(const Options& options, Rank rank, Rank size, uint64_t round) {
  const std::vector<Rank> order = shuffled(size, options.seed, round);
  const int64_t groups = (size + options.group - 1) / options.group;
  const auto begin = [&](int64_t g) { return g * size / groups; };
  const int64_t place = std::find(order.begin(), order.end(), rank) - order.begin();
  int64_t mine = place * groups / size;
  while (begin(mine + 1) <= place) ++mine;
  std::vector<Rank> members(order.begin() + begin(mine), order.begin() + begin(mine + 1));
  std::sort(members.begin(), members.end());
  return members;
}

}  // namespace

Result<std::unique_ptr<MoshpitAverage>> MoshpitAverage::create(const Options& options) {
  if (Status sound = check_elements(options.count, options.type, true); !sound) return sound;
  if (options.group < 2) {
    return invalid(fmt::format("a group of {} averages nothing; 2 is the least", options.group));
  }
  if (options.grouping != Grouping::kGrid && options.grouping != Grouping::kRandom) {
    return invalid("the grouping is neither kGrid nor kRandom");
  }
  return std::unique_ptr<MoshpitAverage>(new MoshpitAverage(options));
}

std::vector<Rank> MoshpitAverage::group(Rank rank, Rank size, uint64_t round) const {
  if (rank < 0 || rank >= size) return {};
  return options_.grouping == Grouping::kGrid ? grid_group(options_.group, rank, size, round)
                                              : random_group(options_, rank, size, round);
}

// Member k owns elements [k * count / m, (k + 1) * count / m): it gets them from all, averages, and
// gives the mean to all. Empty shares are not sent.
Status MoshpitAverage::average(Communicator& comm, std::byte* x) {
  const DataType type = options_.type;
  const uint64_t element = size_of(type);
  const uint64_t m = members_.size();
  const auto begin = [&](size_t k) { return options_.count / m * k + options_.count % m * k / m; };
  const auto share = [&](size_t k) { return begin(k + 1) - begin(k); };
  const auto me = static_cast<size_t>(std::find(members_.begin(), members_.end(), comm.rank()) -
                                      members_.begin());
  std::byte* const own = x + begin(me) * element;
  const uint64_t own_bytes = share(me) * element;
  arrived_.resize(m * own_bytes);
  for (size_t k = 0; k < m && own_bytes > 0; ++k) {
    if (k == me) continue;
    works_.push_back(
        comm.start_recv(arrived_.data() + k * own_bytes, share(me), type, members_[k]));
  }
  for (size_t k = 0; k < m; ++k) {
    if (k == me || share(k) == 0) continue;
    works_.push_back(comm.start_send(x + begin(k) * element, share(k), type, members_[k]));
  }
  if (Status done = wait_all(&works_); !done) return done;
  const FoldKernel fold = fold_kernel(type, ReduceOp::kSum);
  for (size_t k = 0; k < m && own_bytes > 0; ++k) {
    if (k != me) fold(own, own, arrived_.data() + k * own_bytes, share(me));
  }
  divide_kernel(type)(own, own, share(me), static_cast<double>(m));
  for (size_t k = 0; k < m; ++k) {
    if (k == me || share(k) == 0) continue;
    works_.push_back(comm.start_recv(x + begin(k) * element, share(k), type, members_[k]));
  }
  for (size_t k = 0; k < m && own_bytes > 0; ++k) {
    if (k != me) works_.push_back(comm.start_send(own, share(me), type, members_[k]));
  }
  return wait_all(&works_);
}

Status MoshpitAverage::step(Communicator& comm, void* x, const void* gradient, double rate,
                            std::span<const Rank> absent) {
  const DataType type = options_.type;
  if (Status sound = check_step(x, gradient, rate, options_.count * size_of(type)); !sound) {
    return sound;
  }
  for (const Rank r : absent) {
    if (r >= 0 && r < comm.size()) continue;
    return invalid(fmt::format("rank {} cannot be absent, there are {}", r, comm.size()));
  }
  add_scaled(type, x, x, gradient, options_.count, -rate);
  members_ = group(comm.rank(), comm.size(), round_);
  const auto is_absent = [&](Rank r) {
    return std::find(absent.begin(), absent.end(), r) != absent.end();
  };
  std::erase_if(members_, is_absent);
  if (members_.size() > 1 && !is_absent(comm.rank())) {
    if (Status done = average(comm, static_cast<std::byte*>(x)); !done) return done;
  }
  ++round_;
  return Status::ok();
}

std::vector<std::byte> MoshpitAverage::save() const {
  StateWriter out(MethodKind::kMoshpitAverage, 48);
  out.elements(options_.count, options_.type);
  out.number(static_cast<uint64_t>(options_.group));
  out.number(static_cast<uint64_t>(options_.grouping));
  out.number(options_.seed);
  out.number(round_);
  return out.finish();
}

Status MoshpitAverage::load(std::span<const std::byte> saved) {
  Result<StateReader> in = StateReader::open(MethodKind::kMoshpitAverage, saved);
  if (!in) return in.status();
  in->expect_elements(options_.count, options_.type);
  in->expect(static_cast<uint64_t>(options_.group), "ranks of a group");
  in->expect(static_cast<uint64_t>(options_.grouping), "grouping");
  in->expect(options_.seed, "seed");
  in->take(&round_);
  return in->finish();
}

}  // namespace gossamer
