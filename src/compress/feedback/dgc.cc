// DGC: momentum before what is dropped, so that what waits is what momentum would have made of it.
//   Source    Lin, Han, Mao, Wang and Dally, "Deep gradient compression: reducing the communication
//             bandwidth for distributed training", ICLR 2018.
//   Rule      g <- clip(g); u <- m u + g; v <- v + u; C(v) is sent; v <- v - C(v); u <- 0 where
//             something was sent. Nesterov: u <- m (u + g); v <- v + u + g.
//   Clipping  Each parameter's gradient (each piece of a bucket) to the norm `clip`, on this rank,
//             before anything is added: the whole's threshold / sqrt(ranks).
//   Members   A rank that leaves hands v over.

#include <algorithm>
#include <cmath>

#include "src/check.h"
#include "src/compress/feedback/list.h"

namespace gossamer {
namespace {

struct DgcForm {
  float momentum;
  double clip;  // 0: none
  bool masking;
  bool nesterov;
};

class Dgc final : public Feedback {
 public:
  Dgc(StateStore& store, DgcForm form) : Feedback(store), form_(form) {}

  Status arrange(std::span<const StateBucket> buckets) override {
    Status done = store_.arrange(Role::kSender, buckets);
    if (done) done = store_.arrange(Role::kMomentum, buckets);
    return done;
  }
  void compensate(size_t bucket, std::span<const float> gradient, std::span<float> values) override;
  void settle(size_t bucket, std::span<const float> values,
              std::span<const float> decoded) override;
  void apply(size_t /*bucket*/, std::span<const float> mean, std::span<float> output) override {
    pass_on(mean, output);
  }
  Status change_rate(double before, double after) override {
    const Result<float> factor = factor_of_rates(before, after);
    if (!factor) return factor.status();
    Status done = store_.scale(Role::kSender, *factor);
    if (done) done = store_.scale(Role::kMomentum, *factor);
    return done;
  }
  Status regroup(Communicator& /*comm*/) override { return Status::ok(); }

 private:
  float clip_factor(std::span<const float> gradient) const {
    if (form_.clip == 0) return 1;
    double sum = 0;
    for (const float g : gradient) sum += static_cast<double>(g) * static_cast<double>(g);
    const double norm = std::sqrt(sum);
    return norm > form_.clip ? static_cast<float>(form_.clip / norm) : 1;
  }

  DgcForm form_;
};

void Dgc::compensate(size_t bucket, std::span<const float> gradient, std::span<float> values) {
  const std::span<const float> waiting = store_.committed(Role::kSender, bucket);
  const std::span<const float> momentum = store_.committed(Role::kMomentum, bucket);
  const std::span<float> next = store_.stage(Role::kMomentum, bucket);
  GOSSAMER_CHECK(gradient.size() == next.size() && values.size() == next.size());
  const float m = form_.momentum;
  size_t at = 0;
  for (const StatePiece& piece : store_.pieces(Role::kSender, bucket)) {
    const size_t end = at + piece.count;
    const float factor = clip_factor(gradient.subspan(at, piece.count));
    for (; at < end; ++at) {
      const float g = factor * gradient[at];
      if (form_.nesterov) {
        next[at] = m * (momentum[at] + g);
        values[at] = waiting[at] + (next[at] + g);
      } else {
        next[at] = m * momentum[at] + g;
        values[at] = waiting[at] + next[at];
      }
    }
  }
}

void Dgc::settle(size_t bucket, std::span<const float> values, std::span<const float> decoded) {
  const std::span<float> waiting = store_.stage(Role::kSender, bucket);
  const std::span<float> momentum = store_.stage(Role::kMomentum, bucket);
  GOSSAMER_CHECK(values.size() == waiting.size() && decoded.size() == waiting.size());
  for (size_t i = 0; i < waiting.size(); ++i) waiting[i] = values[i] - decoded[i];
  if (!form_.masking) return;
  for (size_t i = 0; i < momentum.size(); ++i) momentum[i] = decoded[i] != 0 ? 0 : momentum[i];
}

Result<std::unique_ptr<Feedback>> create(Parameters& parameters, StateStore& store, Role /*role*/) {
  const Result<double> momentum = parameters.real("momentum", 0, 1);
  if (!momentum) return momentum.status();
  const Result<double> clip = parameters.real("clip", 0, 1e30);
  if (!clip) return clip.status();
  constexpr std::string_view kSwitch[] = {"off", "on"};
  const Result<size_t> masking = parameters.choice("masking", kSwitch);
  if (!masking) return masking.status();
  const Result<size_t> nesterov = parameters.choice("nesterov", kSwitch);
  if (!nesterov) return nesterov.status();
  return std::unique_ptr<Feedback>(std::make_unique<Dgc>(
      store, DgcForm{static_cast<float>(*momentum), *clip, *masking == 1, *nesterov == 1}));
}

}  // namespace

double warm_up_ratio(double ratio, uint64_t stage) {
  return std::max(ratio, std::pow(0.25, static_cast<double>(stage) + 1));
}

const FeedbackFactory dgc_feedback = {
    "dgc", "momentum inside, before what is dropped",
    "momentum=0.9: of the optimiser, which has none itself; "
    "clip=0: largest norm of a parameter's gradient on one rank, 0: any; "
    "masking=on: momentum ends where something was sent; nesterov=off: or on",
    false, create};

}  // namespace gossamer
