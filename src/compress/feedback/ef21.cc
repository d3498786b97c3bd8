// EF21: what is encoded is the difference to what the others know already.
//   Source    Richtarik, Sokolov and Fatkhullin, "EF21: a new, simpler, theoretically better, and
//             practically faster error feedback", NeurIPS 2021; Fatkhullin, Tyurin and Richtarik,
//             "Momentum provably improves error feedback!", NeurIPS 2023 (EF21-SGDM).
//   Rule      c = C(v - h) is sent; h <- h + c; H <- H + mean of all c, which the optimiser takes.
//             v is the gradient; in EF21-SGDM v <- (1 - eta) v + eta g.
//   Keeps     H the mean of all ranks' h, up to the last bits of the largest change so far: what
//             means lose when they are rounded adds up. regroup() takes H anew.
//   Members   A rank that leaves takes its part of H with it: regroup() makes H the mean of the
//             others' h. One that joins begins with zeros.

#include <fmt/format.h>

#include <cmath>

#include "gossamer/communicator.h"
#include "src/check.h"
#include "src/compress/feedback/list.h"

namespace gossamer {
namespace {

class Ef21 final : public Feedback {
 public:
  // eta 0: without momentum.
  Ef21(StateStore& store, float eta) : Feedback(store), eta_(eta) {}

  Status arrange(std::span<const StateBucket> buckets) override {
    Status done = store_.arrange(Role::kEstimate, buckets);
    if (done) done = store_.arrange(Role::kMean, buckets);
    if (done && eta_ > 0) done = store_.arrange(Role::kMomentum, buckets);
    return done;
  }
  void compensate(size_t bucket, std::span<const float> gradient,
                  std::span<float> values) override {
    const std::span<const float> estimate = store_.committed(Role::kEstimate, bucket);
    GOSSAMER_CHECK(gradient.size() == estimate.size() && values.size() == estimate.size());
    if (eta_ == 0) {
      for (size_t i = 0; i < values.size(); ++i) values[i] = gradient[i] - estimate[i];
      return;
    }
    const std::span<const float> momentum = store_.committed(Role::kMomentum, bucket);
    const std::span<float> next = store_.stage(Role::kMomentum, bucket);
    for (size_t i = 0; i < values.size(); ++i) {
      next[i] = (1 - eta_) * momentum[i] + eta_ * gradient[i];
      values[i] = next[i] - estimate[i];
    }
  }
  void settle(size_t bucket, std::span<const float> /*values*/,
              std::span<const float> decoded) override {
    add(Role::kEstimate, bucket, decoded);
  }
  void apply(size_t bucket, std::span<const float> mean, std::span<float> output) override {
    const std::span<const float> all = add(Role::kMean, bucket, mean);
    GOSSAMER_CHECK(output.size() == all.size());
    std::copy(all.begin(), all.end(), output.begin());
  }
  // The estimate is of gradients, whatever the rate.
  Status change_rate(double /*before*/, double /*after*/) override { return Status::ok(); }
  Status regroup(Communicator& comm) override;

 private:
  std::span<const float> add(Role role, size_t bucket, std::span<const float> change) {
    const std::span<const float> now = store_.committed(role, bucket);
    const std::span<float> next = store_.stage(role, bucket);
    GOSSAMER_CHECK(change.size() == next.size());
    for (size_t i = 0; i < next.size(); ++i) next[i] = now[i] + change[i];
    return next;
  }

  float eta_;
};

Status Ef21::regroup(Communicator& comm) {
  if (store_.has_staged()) {
    return Status::error(Code::kInvalidArgument,
                         "regroup() while an iteration is staged: commit() or rollback() it first");
  }
  Status done = Status::ok();
  for (size_t b = 0; done && b < store_.buckets(Role::kEstimate); ++b) {
    const std::span<const float> estimate = store_.committed(Role::kEstimate, b);
    const std::span<float> mean = store_.stage(Role::kMean, b);
    if (estimate.empty()) continue;
    done = comm.all_reduce(estimate.data(), mean.data(), mean.size(), DataType::kFloat32,
                           ReduceOp::kAvg);
  }
  done ? store_.commit() : store_.rollback();
  return done;
}

Result<std::unique_ptr<Feedback>> create(Parameters& /*parameters*/, StateStore& store,
                                         Role /*role*/) {
  return std::unique_ptr<Feedback>(std::make_unique<Ef21>(store, 0.0F));
}

Result<std::unique_ptr<Feedback>> create_sgdm(Parameters& parameters, StateStore& store,
                                              Role /*role*/) {
  const Result<double> eta = parameters.real("eta", 1e-6, 1);
  if (!eta) return eta.status();
  return std::unique_ptr<Feedback>(std::make_unique<Ef21>(store, static_cast<float>(*eta)));
}

}  // namespace

const FeedbackFactory ef21_feedback = {
    "ef21", "differences to an estimate are sent; for gradients without noise", "", false, create};
const FeedbackFactory ef21_sgdm_feedback = {
    "ef21_sgdm", "differences of a running mean of gradients to an estimate are sent",
    "eta=0.1: how much of the running mean a new gradient is", false, create_sgdm};

}  // namespace gossamer
