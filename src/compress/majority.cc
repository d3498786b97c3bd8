// Majority: a bit per element, and of several ranks' what most of them say.
//   Source    Bernstein, Wang, Azizzadenesheli and Anandkumar, "signSGD: compressed optimisation
//             for non-convex problems", ICML 2018; Bernstein, Zhao, Azizzadenesheli and Anandkumar,
//             "signSGD with majority vote is communication efficient and fault tolerant", ICLR
//             2019.
//   Code      A bit per element: 1 for those below 0. Decoded: -1 or 1, without any scale: how far
//             a step goes is the optimiser's to say.
//   Error     Biased, and of the values nothing is kept but the sign: no bound. Error feedback has
//             nothing to make up for. Where ranks differ much, votes find the median of what they
//             want and not the mean.
//   Values    A zero, of either sign, is a vote for 1, as is a NaN; an infinity votes as its sign.
//   Sums      Votes are decoded and added, exactly for up to 2^24 ranks, and the sum's code is the
//             result (CodecTraits::votes): -1 where more ranks said -1, else 1, so that a tie is 1.
//             An average is the same. An all-reduce sends a bit per element either way.

#include <limits>

#include "src/compress/block_codec.h"
#include "src/compress/list.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/compress/majority.cc"
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

#include "src/compress/blocks-inl.h"

#ifndef GOSSAMER_SRC_COMPRESS_MAJORITY_CC_
#define GOSSAMER_SRC_COMPRESS_MAJORITY_CC_
namespace gossamer {

struct VoteForm {};  // there is but one

}  // namespace gossamer
#endif

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

struct Vote : BelowZero {
  explicit Vote(VoteForm /*form*/) {}

  template <class D>
  HWY_INLINE hn::Vec<D> value(D d, hn::Vec<hn::Rebind<uint8_t, D>> code) const {
    const auto sign = hn::ShiftLeft<31>(hn::PromoteTo(hn::RebindToSigned<D>(), code));
    return hn::Xor(hn::Set(d, 1.0F), hn::BitCast(d, sign));
  }
  void put(std::byte* /*code*/) const {}
  void get(const std::byte* /*code*/) {}

  void fit(const float* from, uint64_t count, uint64_t* not_finite) {
    *not_finite += extent_of(from, count).not_finite;
  }
};

BlockLoops<VoteForm> vote_loops() {
  return loops_of<1, Vote, VoteForm>();
}

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {
namespace {

HWY_EXPORT(vote_loops);

// No scale belongs to a block: its length is what codes of parts are cut at, and stays in the
// cache.
constexpr uint64_t kVotesAtOnce = 4096;

class Majority final : public FormCodec<VoteForm> {
 public:
  Majority() : FormCodec(kVotesAtOnce, 0, 1, {}, HWY_DYNAMIC_DISPATCH(vote_loops)()) {}

  CodecTraits traits() const override {
    CodecTraits traits = BlockCodec::traits();
    traits.votes = true;
    return traits;
  }
  double error_max(uint64_t /*count*/) const override {
    return std::numeric_limits<double>::infinity();
  }
};

Result<std::unique_ptr<Codec>> create(Parameters& /*parameters*/) {
  return std::unique_ptr<Codec>(std::make_unique<Majority>());
}

}  // namespace

const CodecFactory majority_codec = {"majority", "signs, and of all ranks' that of most", "",
                                     create};

}  // namespace gossamer
#endif
