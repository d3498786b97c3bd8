// Random numbers for stochastic rounding: Philox4x32-10, counter-based, so that element i has the
// same number in every replay, whatever the vectors' length and wherever a run is cut.
//   Source    Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC
//   2011. Numbers   Element i belongs to group i / 64. Its number is word i / 16 % 4 of the block
//   whose
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

using Words = hn::CappedTag<uint32_t, 16>;

// Both halves of value * factor.
HWY_INLINE void multiply_wide(Words d, hn::Vec<Words> value, uint32_t factor, hn::Vec<Words>* high,
                              hn::Vec<Words>* low) {
#if HWY_TARGET == HWY_SCALAR  // has no wider lanes
  const uint64_t product = uint64_t{hn::GetLane(value)} * factor;
  *high = hn::Set(d, static_cast<uint32_t>(product >> 32));
  *low = hn::Set(d, static_cast<uint32_t>(product));
#else
  const hn::RepartitionToWide<Words> dw;
  const auto factors = hn::Set(d, factor);
  const auto odd_lanes = hn::BitCast(d, hn::ShiftRight<32>(hn::BitCast(dw, value)));
  const auto even = hn::MulEven(value, factors);
  const auto odd = hn::MulEven(odd_lanes, factors);
  *high = hn::OddEven(hn::BitCast(d, odd), hn::BitCast(d, hn::ShiftRight<32>(even)));
  *low = hn::OddEven(hn::BitCast(d, hn::ShiftLeft<32>(odd)), hn::BitCast(d, even));
#endif
}

// The 64 numbers of one group.
HWY_INLINE void fill_group(uint64_t key, uint64_t group, float* into) {
  const Words d;
  const hn::RebindToSigned<Words> di;
  const hn::RebindToFloat<Words> df;
  const size_t n = hn::Lanes(d);
  const uint64_t first = group * 16;  // 16 divides 2^32: the upper half is the same in all lanes
  for (size_t lane = 0; lane < 16; lane += n) {
    auto c0 = hn::Iota(d, static_cast<uint32_t>(first + lane));
    auto c1 = hn::Set(d, static_cast<uint32_t>(first >> 32));
    auto c2 = hn::Zero(d);
    auto c3 = hn::Zero(d);
    auto key0 = static_cast<uint32_t>(key);
    auto key1 = static_cast<uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
      auto high0 = c0, low0 = c0, high1 = c2, low1 = c2;
      multiply_wide(d, c0, 0xD2511F53U, &high0, &low0);
      multiply_wide(d, c2, 0xCD9E8D57U, &high1, &low1);
      c0 = hn::Xor(hn::Xor(high1, c1), hn::Set(d, key0));
      c1 = low1;
      c2 = hn::Xor(hn::Xor(high0, c3), hn::Set(d, key1));
      c3 = low0;
      key0 += 0x9E3779B9U;
      key1 += 0xBB67AE85U;
    }
    const auto store = hn::Set(df, 0x1p-24F);
    hn::StoreU(hn::Mul(hn::ConvertTo(df, hn::BitCast(di, hn::ShiftRight<8>(c0))), store), df,
               into + lane);
    hn::StoreU(hn::Mul(hn::ConvertTo(df, hn::BitCast(di, hn::ShiftRight<8>(c1))), store), df,
               into + 16 + lane);
    hn::StoreU(hn::Mul(hn::ConvertTo(df, hn::BitCast(di, hn::ShiftRight<8>(c2))), store), df,
               into + 32 + lane);
    hn::StoreU(hn::Mul(hn::ConvertTo(df, hn::BitCast(di, hn::ShiftRight<8>(c3))), store), df,
               into + 48 + lane);
  }
}

// The numbers of up to kPiece elements in a row, wherever they begin.
class Uniform {
 public:
  static constexpr uint64_t kPiece = 1024;

  explicit Uniform(uint64_t key) : key_(key) {}

  // Of elements [first, first + count), count <= kPiece; until the next call.
  HWY_INLINE const float* of(uint64_t first, uint64_t count) {
    const uint64_t group = first / 64;
    for (uint64_t g = 0; g * 64 < first % 64 + count; ++g) {
      fill_group(key_, group + g, numbers_ + g * 64);
    }
    return numbers_ + first % 64;
  }

 private:
  uint64_t key_;
  float numbers_[kPiece + 64];
};

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#endif  // toggled guard
