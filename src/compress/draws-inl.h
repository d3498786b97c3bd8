// Random numbers for stochastic rounding: Philox4x32-7, counter-based, so that element i has the
// same number in every replay, whatever the vectors' length and wherever a run is cut.
//   Source    Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC
//             2011.
//   Numbers   Element i belongs to group i / 64. Its number is word i / 16 % 4 of the block whose
//             counter is (16 (i / 64) + i % 16, 0) as two 64-bit halves and whose key is the draws'
//             key: 16 blocks side by side fill a group. The upper 24 bits make a float in [0, 1).
//
// Compiled once per instruction set, as src/compress/lanes-inl.h is.

#if defined(GOSSAMER_SRC_COMPRESS_DRAWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GOSSAMER_SRC_COMPRESS_DRAWS_INL_H_
#undef GOSSAMER_SRC_COMPRESS_DRAWS_INL_H_
#else
#define GOSSAMER_SRC_COMPRESS_DRAWS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The keys of the rounds: seven are the fewest that pass the statistical tests of the source.
struct Rounds {
  static constexpr int kNumber = 7;
  uint64_t key0[kNumber];
  uint64_t key1[kNumber];

  explicit Rounds(uint64_t key) {
    for (uint32_t round = 0; round < kNumber; ++round) {
      key0[round] = static_cast<uint32_t>(key) + round * 0x9E3779B9U;
      key1[round] = static_cast<uint32_t>(key >> 32) + round * 0xBB67AE85U;
    }
  }
};

using Counters = hn::CappedTag<uint64_t, 8>;

// Of the lower halves.
HWY_INLINE hn::Vec<Counters> product(Counters d, hn::Vec<Counters> value, uint64_t factor) {
#if HWY_TARGET == HWY_SCALAR  // has no wider lanes
  return hn::Mul(hn::And(value, hn::Set(d, 0xffffffffU)), hn::Set(d, factor));
#else
  const hn::Repartition<uint32_t, Counters> half;
  return hn::MulEven(hn::BitCast(half, value), hn::BitCast(half, hn::Set(d, factor)));
#endif
}

// The four words of each counter. All words are the lower halves of their lanes, where products are
// made of them: what is above is never looked at, and no round has to bring halves together.
struct Mixed {
  hn::Vec<Counters> word0, word1, word2, word3;

  HWY_INLINE Mixed(Counters d, const Rounds& rounds, hn::Vec<Counters> low, uint64_t high)
      : word0(low), word1(hn::Set(d, high)), word2(hn::Zero(d)), word3(hn::Zero(d)) {
    for (int round = 0; round < Rounds::kNumber; ++round) {
      const auto product0 = product(d, word0, 0xD2511F53U);
      const auto product1 = product(d, word2, 0xCD9E8D57U);
      word0 = hn::Xor(hn::Xor(hn::ShiftRight<32>(product1), word1), hn::Set(d, rounds.key0[round]));
      word1 = product1;
      word2 = hn::Xor(hn::Xor(hn::ShiftRight<32>(product0), word3), hn::Set(d, rounds.key1[round]));
      word3 = product0;
    }
  }
};

#if HWY_TARGET == HWY_SCALAR

HWY_INLINE void fill_group(const Rounds& rounds, uint64_t group, float* into) {
  const Counters d;
  const uint64_t first = group * 16;
  for (uint64_t lane = 0; lane < 16; ++lane) {
    const Mixed mixed(d, rounds, hn::Set(d, first + lane), first >> 32);
    const uint64_t words[] = {hn::GetLane(mixed.word0), hn::GetLane(mixed.word1),
                              hn::GetLane(mixed.word2), hn::GetLane(mixed.word3)};
    for (uint64_t w = 0; w < 4; ++w) {
      into[16 * w + lane] = static_cast<float>(static_cast<uint32_t>(words[w]) >> 8) * 0x1p-24F;
    }
  }
}

#else

// Of the counters at even places and those at odd ones.
HWY_INLINE void put_numbers(hn::Vec<Counters> even, hn::Vec<Counters> odd, float* into) {
  const hn::Repartition<uint32_t, Counters> d;
  const hn::RebindToFloat<decltype(d)> df;
  const auto words = hn::OddEven(hn::BitCast(d, hn::ShiftLeft<32>(odd)), hn::BitCast(d, even));
  const auto whole = hn::BitCast(hn::RebindToSigned<decltype(d)>(), hn::ShiftRight<8>(words));
  hn::StoreU(hn::Mul(hn::ConvertTo(df, whole), hn::Set(df, 0x1p-24F)), df, into);
}

// The 64 numbers of one group.
HWY_INLINE void fill_group(const Rounds& rounds, uint64_t group, float* into) {
  const Counters d;
  const hn::Repartition<uint32_t, Counters> words;
  const uint64_t first = group * 16;  // 16 divides 2^32: the upper half is the same in all lanes
  for (size_t lane = 0; lane < 16; lane += hn::Lanes(words)) {
    // Iota(words, n) of an n that is not constant would be put together in memory.
    const auto places =
        hn::Add(hn::Iota(words, 0), hn::Set(words, static_cast<uint32_t>(first + lane)));
    const auto counters = hn::BitCast(d, places);
    const Mixed even(d, rounds, counters, first >> 32);
    const Mixed odd(d, rounds, hn::ShiftRight<32>(counters), first >> 32);
    put_numbers(even.word0, odd.word0, into + lane);
    put_numbers(even.word1, odd.word1, into + 16 + lane);
    put_numbers(even.word2, odd.word2, into + 32 + lane);
    put_numbers(even.word3, odd.word3, into + 48 + lane);
  }
}

#endif  // vectors

// The numbers of up to kPiece elements in a row, wherever they begin.
class Uniform {
 public:
  static constexpr uint64_t kPiece = 1024;

  explicit Uniform(uint64_t key) : rounds_(key) {}

  // Of elements [first, first + count), count <= kPiece; until the next call.
  HWY_INLINE const float* of(uint64_t first, uint64_t count) {
    const uint64_t group = first / 64;
    for (uint64_t g = 0; g * 64 < first % 64 + count; ++g) {
      fill_group(rounds_, group + g, numbers_ + g * 64);
    }
    return numbers_ + first % 64;
  }

 private:
  Rounds rounds_;
  float numbers_[kPiece + 64];
};

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#endif  // toggled guard
