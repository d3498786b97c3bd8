// EF14: what was dropped is added to the next gradient.
//   Source    Seide, Fu, Droppo, Li and Yu, "1-bit stochastic gradient descent", Interspeech 2014;
//             Karimireddy, Rebjock, Stich and Jaggi, "Error feedback fixes SignSGD and other
//             gradient compression schemes", ICML 2019.
//   Rule      p = decay e + g; C(p) is sent; e <- p - C(p)
//   Keeps     sum over iterations of what was sent, and e, is the sum of g, where decay is 1.
//   Sides     A Feedback is one side. Where parts have owners that encode their sums once more,
//             there is another one for these (Tang et al., "DoubleSqueeze: parallel stochastic
//             gradient descent with double-pass error-compensated compression", ICML 2019).
//   Members   A rank that leaves hands e over; one that joins begins with zeros.

#include <algorithm>

#include "src/check.h"
#include "src/compress/feedback/list.h"
#include "src/compress/joined.h"

namespace gossamer {
namespace {

class Ef14 final : public Feedback {
 public:
  Ef14(StateStore& store, Role role, float decay, Sides sides)
      : Feedback(store, sides), role_(role), decay_(decay) {}

  Status arrange(std::span<const StateBucket> buckets) override {
    return store_.arrange(role_, buckets);
  }
  void compensate(size_t bucket, std::span<const float> gradient,
                  std::span<float> values) override {
    GOSSAMER_CHECK(gradient.size() == store_.committed(role_, bucket).size());
    add_residual(bucket, 0, gradient, values);
  }
  void settle(size_t bucket, std::span<const float> values,
              std::span<const float> decoded) override {
    const std::span<float> next = store_.stage(role_, bucket);
    GOSSAMER_CHECK(values.size() == next.size() && decoded.size() == next.size());
    for (size_t i = 0; i < next.size(); ++i) next[i] = values[i] - decoded[i];
  }
  Encoded encode(size_t bucket, std::span<const float> gradient, const Codec& codec,
                 const Draws& draws, std::span<std::byte> code, std::span<float> scratch,
                 std::span<std::byte> workspace) override;
  uint64_t scratch_count(uint64_t /*count*/) const override { return 0; }
  void apply(size_t /*bucket*/, std::span<const float> mean, std::span<float> output) override {
    pass_on(mean, output);
  }
  Status change_rate(double before, double after) override {
    const Result<float> factor = factor_of_rates(before, after);
    if (!factor) return factor.status();
    return store_.scale(role_, *factor);
  }
  Status regroup(Communicator& /*comm*/) override { return Status::ok(); }

 private:
  // Of elements from `first` on.
  void add_residual(size_t bucket, uint64_t first, std::span<const float> gradient,
                    std::span<float> values) const {
    const std::span<const float> kept = store_.committed(role_, bucket).subspan(first);
    GOSSAMER_CHECK(gradient.size() <= kept.size() && values.size() == gradient.size());
    const float decay = decay_;
    for (size_t i = 0; i < values.size(); ++i) values[i] = decay * kept[i] + gradient[i];
  }

  Role role_;
  float decay_;
};

// Values are made where the next residual is to be, and what their code says is taken away there.
Encoded Ef14::encode(size_t bucket, std::span<const float> gradient, const Codec& codec,
                     const Draws& draws, std::span<std::byte> code, std::span<float> /*scratch*/,
                     std::span<std::byte> workspace) {
  const std::span<float> next = store_.stage(role_, bucket);
  const uint64_t step = part_count_of(codec, gradient.size());
  Encoded all;
  for (uint64_t at = 0; at < gradient.size(); at += step) {
    const uint64_t count = std::min(step, gradient.size() - at);
    const std::span<float> values = next.subspan(at, count);
    add_residual(bucket, at, gradient.subspan(at, count), values);
    Draws here = draws;
    here.first += at;
    const Encoded made = codec.encode(values, here, code.subspan(all.bytes), workspace);
    codec.add(code.subspan(all.bytes, made.bytes), -1, values);
    all.bytes += made.bytes;
    all.not_finite += made.not_finite;
  }
  return all;
}

Result<std::unique_ptr<Feedback>> create(Parameters& parameters, StateStore& store, Role role) {
  const Result<double> decay = parameters.real("decay", 0, 1);
  if (!decay) return decay.status();
  constexpr std::string_view kSides[] = {"auto", "1", "2"};
  const Result<size_t> sides = parameters.choice("sides", kSides);
  if (!sides) return sides.status();
  return std::unique_ptr<Feedback>(std::make_unique<Ef14>(store, role, static_cast<float>(*decay),
                                                          static_cast<Feedback::Sides>(*sides)));
}

}  // namespace

const FeedbackFactory ef14_feedback = {"ef14", "what was dropped is added to the next gradient",
                                       "decay=1: of the residual before it is added; "
                                       "sides=auto: 1: of what ranks send, 2: of what owners of "
                                       "parts make of it too, auto: what takes less time",
                                       true, create};

}  // namespace gossamer
