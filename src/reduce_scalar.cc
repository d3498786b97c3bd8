// Plain loops over combine_one(): what the vector kernels are tested against.

#include "src/reduce_scalar.h"

#include "src/reduce.h"

namespace gossamer {
namespace {

template <class T, ReduceOp op>
void fold_plain(std::byte* target, const std::byte* operand, const std::byte* arrived,
                uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    store_one(combine_one<op>(load_one<T>(operand, i), load_one<T>(arrived, i)), target, i);
  }
}

template <class F, ReduceOp op>
void fold_narrow(std::byte* target, const std::byte* operand, const std::byte* arrived,
                 uint64_t count) {
  using Lane = typename F::Lane;
  for (uint64_t i = 0; i < count; ++i) {
    const float a = F::widen(load_one<Lane>(operand, i));
    const float b = F::widen(load_one<Lane>(arrived, i));
    store_one(F::narrow(combine_one<op>(a, b)), target, i);
  }
}

template <class F, ReduceOp op>
void fold_wide(std::byte* target, const std::byte* operand, const std::byte* arrived,
               uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    const float b = F::widen(load_one<typename F::Lane>(arrived, i));
    store_one(combine_one<op>(load_one<float>(operand, i), b), target, i);
  }
}

template <ReduceOp op>
FoldKernel fold_of(DataType type) {
  switch (type) {
    case DataType::kInt8:
      return fold_plain<int8_t, op>;
    case DataType::kUint8:
      return fold_plain<uint8_t, op>;
    case DataType::kInt32:
      return fold_plain<int32_t, op>;
    case DataType::kUint32:
      return fold_plain<uint32_t, op>;
    case DataType::kInt64:
      return fold_plain<int64_t, op>;
    case DataType::kUint64:
      return fold_plain<uint64_t, op>;
    case DataType::kFloat32:
      return fold_plain<float, op>;
    case DataType::kFloat64:
      return fold_plain<double, op>;
    case DataType::kFloat16:
      return fold_narrow<Float16, op>;
    case DataType::kBfloat16:
      return fold_narrow<Bfloat16, op>;
    case DataType::kFloat8E4M3:
      return fold_narrow<E4M3, op>;
    case DataType::kFloat8E5M2:
      return fold_narrow<E5M2, op>;
  }
  return nullptr;
}

template <ReduceOp op>
FoldKernel fold_wide_of(DataType type) {
  switch (type) {
    case DataType::kFloat16:
      return fold_wide<Float16, op>;
    case DataType::kBfloat16:
      return fold_wide<Bfloat16, op>;
    case DataType::kFloat8E4M3:
      return fold_wide<E4M3, op>;
    case DataType::kFloat8E5M2:
      return fold_wide<E5M2, op>;
    default:
      return nullptr;
  }
}

}  // namespace

FoldKernel scalar_fold_kernel(DataType type, ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
    case ReduceOp::kAvg:
    case ReduceOp::kPreMulSum:
      return fold_of<ReduceOp::kSum>(type);
    case ReduceOp::kProd:
      return fold_of<ReduceOp::kProd>(type);
    case ReduceOp::kMax:
      return fold_of<ReduceOp::kMax>(type);
    case ReduceOp::kMin:
      return fold_of<ReduceOp::kMin>(type);
    case ReduceOp::kUser:
      return nullptr;
  }
  return nullptr;
}

FoldKernel scalar_fold_wide_kernel(DataType type, ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
    case ReduceOp::kAvg:
    case ReduceOp::kPreMulSum:
      return fold_wide_of<ReduceOp::kSum>(type);
    case ReduceOp::kProd:
      return fold_wide_of<ReduceOp::kProd>(type);
    case ReduceOp::kMax:
      return fold_wide_of<ReduceOp::kMax>(type);
    case ReduceOp::kMin:
      return fold_wide_of<ReduceOp::kMin>(type);
    case ReduceOp::kUser:
      return nullptr;
  }
  return nullptr;
}

}  // namespace gossamer
