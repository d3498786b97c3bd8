// The tables behind src/reduce.h. Each look-up picks this machine's instructions and returns a
// plain function, so that a call of that costs no dispatch.
//
// Threads    Any thread.

#pragma once

#include "gossamer/types.h"
#include "src/reduce.h"

namespace gossamer {

// `op` is kSum, kProd, kMax or kMin in all of these. Null for types that are not theirs.
FoldKernel plain_fold_kernel(DataType type, ReduceOp op);   // integers, fp32, fp64
FoldKernel narrow_fold_kernel(DataType type, ReduceOp op);  // 16- and 8-bit floats
FoldKernel wide_fold_kernel(DataType type, ReduceOp op);    // 16- and 8-bit floats into fp32

ConvertKernel float_scale_kernel(DataType type, bool divide);    // null for integers
ConvertKernel integer_scale_kernel(DataType type, bool divide);  // null for floats

}  // namespace gossamer
