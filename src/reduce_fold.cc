// Folds of integers, fp32 and fp64.

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "src/reduce_tables.h"

// time.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "src/reduce_fold.cc"
#include <hwy/foreach_target.h>  // includes this file once per target
#include <hwy/highway.h>

#include "src/reduce_lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace gossamer {
namespace HWY_NAMESPACE {

#if HWY_TARGET >= HWY_EMU128  // nor HWY_SCALAR: no vectors

FoldKernel find_plain_fold(DataType type, ReduceOp op) {
  return scalar_fold_kernel(type, op);
}

#else

template <class T, ReduceOp op>
struct PlainFold {
  using Lane = T;
  using Arrived = T;
  using Whole = hn::ScalableTag<T>;
  using Small = hn::CappedTag<T, 16 / sizeof(T)>;
  template <class D, class V>
  static HWY_INLINE V vector(D d, V a, V b) {
    return combine<op>(d, a, b);
  }
  static HWY_INLINE T one(T a, T b) { return combine_one<op>(a, b); }
};

// Sums and products wrap, so signed and unsigned share code.
template <class T, ReduceOp op>
FoldKernel integer_fold() {
  constexpr bool wraps = op == ReduceOp::kSum || op == ReduceOp::kProd;
  return fold<PlainFold<std::conditional_t<wraps, std::make_unsigned_t<T>, T>, op> >;
}

template <ReduceOp op>
FoldKernel plain_fold_of(DataType type) {
  switch (type) {
    case DataType::kInt8:
      return integer_fold<int8_t, op>();
    case DataType::kUint8:
      return integer_fold<uint8_t, op>();
    case DataType::kInt32:
      return integer_fold<int32_t, op>();
    case DataType::kUint32:
      return integer_fold<uint32_t, op>();
    case DataType::kInt64:
      return integer_fold<int64_t, op>();
    case DataType::kUint64:
      return integer_fold<uint64_t, op>();
    case DataType::kFloat32:
      return fold<PlainFold<float, op> >;
    case DataType::kFloat64:
      return fold<PlainFold<double, op> >;
    default:
      return nullptr;
  }
}

FoldKernel find_plain_fold(DataType type, ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
      return plain_fold_of<ReduceOp::kSum>(type);
    case ReduceOp::kProd:
      return plain_fold_of<ReduceOp::kProd>(type);
    case ReduceOp::kMax:
      return plain_fold_of<ReduceOp::kMax>(type);
    case ReduceOp::kMin:
      return plain_fold_of<ReduceOp::kMin>(type);
    default:
      return nullptr;
  }
}

#endif  // vectors

}  // namespace HWY_NAMESPACE
}  // namespace gossamer
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace gossamer {

HWY_EXPORT(find_plain_fold);

FoldKernel plain_fold_kernel(DataType type, ReduceOp op) {
  return HWY_DYNAMIC_DISPATCH(find_plain_fold)(type, op);
}

}  // namespace gossamer
#endif
