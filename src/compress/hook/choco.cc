#include "src/compress/hook/choco.h"

#include <fmt/format.h>

#include <algorithm>

#include "src/parameters.h"

namespace gossamer {
namespace {

constexpr char kDescribed[] =
    "rate=0: how far values go to the neighbors' in a round, below what the codec allows: for topk "
    "3 times its ratio, 1 for int8";

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

}  // namespace

bool Choco::is_named(const std::string& text) {
  return split_name(text).name == "choco";
}

Result<std::unique_ptr<Choco>> Choco::make(const std::string& text, StateStore& store,
                                           std::vector<StateBucket> places) {
  GivenParameters given;
  const std::string owner = "feedback choco";
  if (Status s = read_parameters(split_name(text).parameters, owner, kDescribed, &given); !s) {
    return s;
  }
  const Result<double> rate = real_parameter(given, owner, "rate", 0);
  if (!rate) return rate.status();
  if (!(*rate > 0 && *rate <= 1)) {
    return invalid(
        fmt::format("choco has a rate of {}; give one in (0, 1], as in choco:rate=0.2: for topk 3 "
                    "times its ratio, 1 for int8",
                    *rate));
  }
  if (Status arranged = store.arrange(Role::kCopy, places); !arranged) return arranged;
  return std::unique_ptr<Choco>(new Choco(store, std::move(places), static_cast<float>(*rate)));
}

Status Choco::check(const Graph& graph) {
  if (graph.period() != 1) {
    return invalid(fmt::format("graph {} has rounds that differ; choco needs neighbors that stay",
                               graph.name()));
  }
  return check_graph(graph, Stochastic::kDouble, true);
}

Status Choco::meet(Communicator& comm, const Graph& graph) {
  const std::shared_ptr<const Mixing> mixing = graph.mixing(0);
  for (const Rank before : sources_) {
    if (Status done = store_.forget(copy_role(before)); !done) return done;
  }
  graph_ = graph.identity();
  sources_ = mixing->sources(comm.rank());
  weights_.clear();
  for (const Rank source : sources_) {
    weights_.push_back(static_cast<float>(mixing->weight(comm.rank(), source)));
    if (Status done = store_.arrange(copy_role(source), places_); !done) return done;
  }
  for (std::vector<bool>& fresh : fresh_) fresh.assign(sources_.size() + 1, false);
  std::vector<float> copies;
  for (size_t place = 0; place < places_.size(); ++place) {
    const std::span<const float> own = store_.committed(Role::kCopy, place);
    copies.resize(own.size() * std::max<size_t>(sources_.size(), 1));
    Status done = neighbor_all_gather(comm, own.data(), copies.data(), own.size(),
                                      DataType::kFloat32, graph, 0);
    if (!done) {
      store_.rollback();
      return done;
    }
    for (size_t k = 0; k < sources_.size(); ++k) {
      const auto from = copies.begin() + static_cast<ptrdiff_t>(k * own.size());
      std::copy_n(from, own.size(), store_.stage(copy_role(sources_[k]), place).begin());
    }
  }
  store_.commit();
  return Status::ok();
}

void Choco::begin(size_t place) {
  std::fill(fresh_[place].begin(), fresh_[place].end(), false);
}

std::span<const float> Choco::now(Role role, size_t place, bool fresh) {
  return fresh ? store_.stage(role, place) : store_.committed(role, place);
}

void Choco::subtract(size_t place, std::span<float> difference) const {
  const std::span<const float> own = store_.committed(Role::kCopy, place);
  for (size_t i = 0; i < own.size(); ++i) difference[i] -= own[i];
}

// An unbiased codec is as far off as its variance makes it; divided by 1 + that it is closer.
void Choco::add(Role role, size_t place, const Codec& codec, std::span<float> decoded) {
  if (codec.traits().unbiased) {
    const auto scale = static_cast<float>(1 / (1 + codec.error_max(decoded.size())));
    for (float& value : decoded) value *= scale;
  }
  const std::span<const float> before = store_.committed(role, place);
  const std::span<float> next = store_.stage(role, place);
  for (size_t i = 0; i < next.size(); ++i) next[i] = before[i] + decoded[i];
}

void Choco::told(size_t place, const Codec& codec, std::span<float> decoded) {
  add(Role::kCopy, place, codec, decoded);
  fresh_[place][0] = true;
}

void Choco::heard(size_t k, size_t place, const Codec& codec, std::span<float> decoded) {
  add(copy_role(sources_[k]), place, codec, decoded);
  fresh_[place][k + 1] = true;
}

void Choco::approach(size_t place, std::span<float> change) {
  std::fill(change.begin(), change.end(), 0.0F);
  const std::span<const float> own = now(Role::kCopy, place, fresh_[place][0]);
  for (size_t k = 0; k < sources_.size(); ++k) {
    const std::span<const float> theirs = now(copy_role(sources_[k]), place, fresh_[place][k + 1]);
    const float factor = rate_ * weights_[k];
    for (size_t i = 0; i < change.size(); ++i) change[i] += factor * (theirs[i] - own[i]);
  }
}

}  // namespace gossamer
