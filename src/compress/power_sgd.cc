// PowerSGD: which matrices become products, and a step of it.

#include "gossamer/power_sgd.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

#include "src/check.h"
#include "src/compress/low_rank.h"
#include "src/parameters.h"

namespace gossamer {
namespace {

constexpr char kDescribed[] =
    "rank=4: of the products; "
    "ratio=0: not 0: each matrix's rank is what makes it so many times shorter; "
    "min_rate=2: matrices that become less than so many times shorter stay as they are; "
    "epsilon=1e-08: columns this small beside what they were are replaced by random ones; "
    "warm_start=on: or off, random factors in every step; "
    "residual=local: or aggregate; seed=1: of random numbers, the same on all ranks";
constexpr int64_t kRankMax = 1 << 20;
constexpr uint64_t kElementsMax = uint64_t{1} << 48;

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

// 0: it stays as it is.
uint64_t rank_for(const MatrixShape& shape, const PowerSgd::Options& options) {
  if (shape.columns < 2 || shape.rows < 2) return 0;
  const auto rows = static_cast<double>(shape.rows);
  const auto columns = static_cast<double>(shape.columns);
  uint64_t rank = options.rank;
  if (options.ratio > 0) {
    const double fits = rows * columns / (options.ratio * (rows + columns));
    rank = std::max<uint64_t>(1, static_cast<uint64_t>(fits));
  }
  rank = std::min({rank, shape.rows, shape.columns});
  const double short_enough = (rows + columns) * static_cast<double>(rank) * options.rate_min;
  return short_enough < rows * columns ? rank : 0;
}

LowRank size_of(const MatrixShape& shape, uint64_t rank) {
  return {shape.rows, shape.columns, rank};
}

}  // namespace

Result<PowerSgd::Options> PowerSgd::options(const std::string& text) {
  const auto [name, rest] = split_name(text);
  if (name != "powersgd") return invalid(fmt::format("'{}' is not powersgd", name));
  GivenParameters given;
  if (Status s = read_parameters(rest, "powersgd", kDescribed, &given); !s) return s;
  Parameters parameters("powersgd", kDescribed, given);
  constexpr std::string_view kSwitch[] = {"off", "on"};
  constexpr std::string_view kForms[] = {"local", "aggregate"};
  const Result<int64_t> rank = parameters.integer("rank", 1, kRankMax);
  if (!rank) return rank.status();
  const Result<double> ratio = parameters.real("ratio", 0, 1e9);
  if (!ratio) return ratio.status();
  const Result<double> rate = parameters.real("min_rate", 0, 1e9);
  if (!rate) return rate.status();
  const Result<double> epsilon = parameters.real("epsilon", 0, 0.5);
  if (!epsilon) return epsilon.status();
  const Result<size_t> warm = parameters.choice("warm_start", kSwitch);
  if (!warm) return warm.status();
  const Result<size_t> form = parameters.choice("residual", kForms);
  if (!form) return form.status();
  const Result<int64_t> seed = parameters.integer("seed", 0, INT64_MAX);
  if (!seed) return seed.status();
  Options options;
  options.rank = static_cast<uint64_t>(*rank);
  options.ratio = *ratio;
  options.rate_min = *rate;
  options.epsilon = *epsilon;
  options.warm_start = *warm == 1;
  options.residual = *form == 0 ? Residual::kLocal : Residual::kAggregate;
  options.seed = static_cast<uint64_t>(*seed);
  return options;
}

Result<std::unique_ptr<PowerSgd>> PowerSgd::create(const Options& options,
                                                   std::span<const MatrixShape> shapes) {
  if (options.rank < 1) return invalid("products have a rank of at least 1");
  if (!(options.ratio >= 0 && options.ratio < 1e30 && options.rate_min >= 0 &&
        options.epsilon >= 0 && options.epsilon < 1)) {
    return invalid(
        fmt::format("ratio {}, rate_min {} and epsilon {} must not be negative, and "
                    "epsilon is below 1",
                    options.ratio, options.rate_min, options.epsilon));
  }
  std::set<ParameterKey> keys;
  for (const MatrixShape& shape : shapes) {
    if (shape.rows == 0 || shape.columns == 0 || shape.rows > kElementsMax / shape.columns) {
      return invalid(fmt::format("parameter {:#x} has {} rows of {} elements", shape.key,
                                 shape.rows, shape.columns));
    }
    if (!keys.insert(shape.key).second) {
      return invalid(fmt::format("parameter {:#x} is there twice; register each once", shape.key));
    }
  }
  std::unique_ptr<PowerSgd> made(new PowerSgd(options));
  if (Status sound = made->lay_out(shapes); !sound) return sound;
  return made;
}

PowerSgd::~PowerSgd() = default;

Status PowerSgd::lay_out(std::span<const MatrixShape> shapes) {
  uint64_t p = 0;
  uint64_t q = 0;
  uint64_t residual = 0;
  StateBucket residuals;
  StateBucket factors;
  for (const MatrixShape& shape : shapes) {
    const uint64_t rank = rank_for(shape, options_);
    const uint64_t elements = shape.rows * shape.columns;
    matrices_.push_back({shape, rank, count_, residual, p, q});
    count_ += elements;
    p += rank == 0 ? elements : shape.rows * rank;
    q += shape.columns * rank;
    if (rank == 0) continue;
    residual += elements;
    residuals.push_back({shape.key, 0, elements});
    factors.push_back({shape.key, 0, shape.columns * rank});
  }
  gradients_.resize(matrices_.size());
  means_.resize(matrices_.size());
  p_.resize(p);
  own_q_.resize(q);
  Status done = store_.arrange(Role::kSender, std::vector<StateBucket>{residuals});
  if (done) done = store_.arrange(Role::kFactor, std::vector<StateBucket>{factors});
  if (!done) return done;
  const std::span<float> first = store_.stage(Role::kFactor, 0);
  for (const Matrix& m : matrices_) {
    if (m.rank > 0) draw(m.shape.key, first.subspan(m.q, m.shape.columns * m.rank));
  }
  store_.commit();
  return done;
}

// Normal numbers by sums of twelve uniform ones, which are the same everywhere; logarithms are not.
void PowerSgd::draw(uint64_t salt, std::span<float> into) const {
  std::mt19937_64 generator(options_.seed * 0x9E3779B97F4A7C15U ^ salt);
  for (float& value : into) {
    int64_t sum = 0;
    for (int k = 0; k < 6; ++k) {
      const uint64_t bits = generator();
      sum += static_cast<int64_t>(bits & 0xFFFFFU) + static_cast<int64_t>(bits >> 32 & 0xFFFFFU);
    }
    value = static_cast<float>(static_cast<double>(sum) * 0x1p-20 - 6);
  }
}

uint64_t PowerSgd::wire_bytes() const {
  return (p_.size() + own_q_.size()) * sizeof(float);
}

uint64_t PowerSgd::wire_bytes(const Options& options, std::span<const MatrixShape> shapes) {
  uint64_t elements = 0;
  for (const MatrixShape& shape : shapes) {
    const uint64_t rank = rank_for(shape, options);
    elements += rank == 0 ? shape.rows * shape.columns : (shape.rows + shape.columns) * rank;
  }
  return elements * sizeof(float);
}

uint64_t PowerSgd::rank_of(size_t shape) const {
  GOSSAMER_CHECK(shape < matrices_.size());
  return matrices_[shape].rank;
}

// M = gradient + residual, where the next residual will be; P = M Q.
void PowerSgd::first_half(std::span<const float* const> gradients) {
  const std::span<const float> residual = store_.committed(Role::kSender, 0);
  const std::span<float> next = store_.stage(Role::kSender, 0);
  const std::span<const float> factor = store_.committed(Role::kFactor, 0);
  constexpr uint64_t kPiece = 16384;  // elements that are still in the cache when they are used
  for (size_t k = 0; k < matrices_.size(); ++k) {
    const Matrix& one = matrices_[k];
    const uint64_t elements = one.shape.rows * one.shape.columns;
    const float* const g = gradients[k];
    if (one.rank == 0) {
      std::copy(g, g + elements, p_.begin() + static_cast<ptrdiff_t>(one.p));
      continue;
    }
    const float* q = factor.data() + one.q;
    if (!options_.warm_start) {
      const std::span<float> fresh = std::span(own_q_).subspan(one.q, one.shape.columns * one.rank);
      draw(one.shape.key + store_.version() * 0xD1342543DE82EF95U, fresh);
      q = fresh.data();
    }
    const float* const e = residual.data() + one.residual;
    float* const m = next.data() + one.residual;
    const uint64_t rows_at_once = std::max<uint64_t>(12, kPiece / one.shape.columns / 12 * 12);
    for (uint64_t row = 0; row < one.shape.rows; row += rows_at_once) {
      const uint64_t rows = std::min(rows_at_once, one.shape.rows - row);
      const uint64_t begin = row * one.shape.columns;
      for (uint64_t i = begin; i < begin + rows * one.shape.columns; ++i) m[i] = g[i] + e[i];
      times_right(size_of(one.shape, one.rank), {row, rows}, m, q, p_.data() + one.p);
    }
  }
}

// P orthonormal; Q = M^T P.
void PowerSgd::second_half() {
  const std::span<const float> m = store_.stage(Role::kSender, 0);
  for (const Matrix& one : matrices_) {
    if (one.rank == 0) continue;
    const std::span<float> p = std::span(p_).subspan(one.p, one.shape.rows * one.rank);
    orthonormalise(p, one.shape.rows, options_.epsilon,
                   [&](uint64_t column, uint64_t attempt, std::span<float> into) {
                     draw(one.shape.key ^ (column << 8 | attempt) * 0x9FB21C651E98DF25U, into);
                   });
    times_left(size_of(one.shape, one.rank), m.data() + one.residual, p.data(),
               own_q_.data() + one.q);
  }
}

void PowerSgd::finish(Rank ranks, std::span<float* const> means) {
  const std::span<float> m = store_.stage(Role::kSender, 0);
  const std::span<const float> all_q = store_.stage(Role::kFactor, 0);
  const float share = 1 / static_cast<float>(ranks);
  means_are_finite_ = true;
  for (size_t k = 0; k < matrices_.size(); ++k) {
    const Matrix& one = matrices_[k];
    float* const into = means[k];
    const float* const p = p_.data() + one.p;
    if (one.rank == 0) {
      for (uint64_t i = 0; i < one.shape.rows * one.shape.columns; ++i) {
        into[i] = p[i] * share;
        means_are_finite_ &= std::isfinite(into[i]);
      }
      continue;
    }
    const LowRank size = size_of(one.shape, one.rank);
    const bool local = options_.residual == Residual::kLocal;
    subtract_rebuilt(size, p, (local ? own_q_.data() : all_q.data()) + one.q,
                     m.data() + one.residual);
    means_are_finite_ &= rebuild(size, p, all_q.data() + one.q, into);
  }
}

void PowerSgd::leave_out(size_t shape) {
  GOSSAMER_CHECK(shape < matrices_.size());
  const Matrix& one = matrices_[shape];
  if (one.rank == 0) return;
  const auto restore = [&](Role role, uint64_t first, uint64_t count) {
    const std::span<const float> before = store_.committed(role, 0).subspan(first, count);
    std::copy(before.begin(), before.end(), store_.stage(role, 0).subspan(first, count).begin());
  };
  restore(Role::kSender, one.residual, one.shape.rows * one.shape.columns);
  restore(Role::kFactor, one.q, one.shape.columns * one.rank);
}

Status PowerSgd::step(Communicator& comm, std::span<const float> gradient, std::span<float> mean) {
  Status done = stage(comm, gradient, mean);
  if (done) store_.commit();
  return done;
}

Status PowerSgd::stage(Communicator& comm, std::span<const float> gradient, std::span<float> mean) {
  if (gradient.size() != count_ || mean.size() != count_) {
    return invalid(
        fmt::format("the parameters have {} elements, the gradient has {} and the mean "
                    "has room for {}",
                    count_, gradient.size(), mean.size()));
  }
  for (size_t k = 0; k < matrices_.size(); ++k) {
    gradients_[k] = gradient.data() + matrices_[k].first;
    means_[k] = mean.data() + matrices_[k].first;
  }
  return stage(comm, gradients_, means_);
}

Status PowerSgd::stage(Communicator& comm, std::span<const float* const> gradients,
                       std::span<float* const> means) {
  if (gradients.size() != matrices_.size() || means.size() != matrices_.size()) {
    return invalid(fmt::format("there are {} parameters, {} gradients and {} means",
                               matrices_.size(), gradients.size(), means.size()));
  }
  if (count_ == 0) return Status::ok();
  first_half(gradients);
  Status done = comm.all_reduce(std::span(p_));
  if (done) {
    second_half();
    const std::span<float> factor = store_.stage(Role::kFactor, 0);
    if (!factor.empty()) {
      done = comm.all_reduce(own_q_.data(), factor.data(), factor.size(), DataType::kFloat32,
                             ReduceOp::kAvg);
    }
  }
  if (!done) {
    store_.rollback();
    return done;
  }
  finish(comm.size(), means);
  return done;
}

}  // namespace gossamer
