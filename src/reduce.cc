#include "src/reduce.h"

#include "src/check.h"
#include "src/reduce_scalar.h"
#include "src/reduce_tables.h"

namespace gossamer {
namespace {

// The operation that folds two elements: averages and pre-multiplied sums are sums until settled.
ReduceOp folding(ReduceOp op) {
  return op == ReduceOp::kAvg || op == ReduceOp::kPreMulSum ? ReduceOp::kSum : op;
}

}  // namespace

FoldKernel fold_kernel(DataType type, ReduceOp op) {
  return is_narrow_float(type) ? narrow_fold_kernel(type, folding(op))
                               : plain_fold_kernel(type, folding(op));
}

FoldKernel fold_wide_kernel(DataType type, ReduceOp op) {
  return wide_fold_kernel(type, folding(op));
}

ConvertKernel scale_kernel(DataType type) {
  const ConvertKernel kernel = float_scale_kernel(type, /*divide=*/false);
  return kernel != nullptr ? kernel : integer_scale_kernel(type, /*divide=*/false);
}

ConvertKernel divide_kernel(DataType type) {
  const ConvertKernel kernel = float_scale_kernel(type, /*divide=*/true);
  return kernel != nullptr ? kernel : integer_scale_kernel(type, /*divide=*/true);
}

float widen_one(DataType type, const std::byte* from) {
  switch (type) {
    case DataType::kFloat16:
      return Float16::widen(load_one<uint16_t>(from, 0));
    case DataType::kBfloat16:
      return Bfloat16::widen(load_one<uint16_t>(from, 0));
    case DataType::kFloat8E4M3:
      return E4M3::widen(load_one<uint8_t>(from, 0));
    case DataType::kFloat8E5M2:
      return E5M2::widen(load_one<uint8_t>(from, 0));
    default:
      GOSSAMER_CHECK(is_narrow_float(type));
      return 0.0F;
  }
}

void narrow_one(DataType type, float value, std::byte* into) {
  switch (type) {
    case DataType::kFloat16:
      return store_one(Float16::narrow(value), into, 0);
    case DataType::kBfloat16:
      return store_one(Bfloat16::narrow(value), into, 0);
    case DataType::kFloat8E4M3:
      return store_one(E4M3::narrow(value), into, 0);
    case DataType::kFloat8E5M2:
      return store_one(E5M2::narrow(value), into, 0);
    default:
      GOSSAMER_CHECK(is_narrow_float(type));
  }
}

}  // namespace gossamer
