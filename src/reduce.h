// Element kernels: fold, convert, finish. Highway picks the widest instructions at run time.
//
// Threads    Pure functions; user reductions run on the calling thread.
// Units      Counts are elements.
// Aliasing   `target` may equal `operand`; no other overlap.

#pragma once

#include <cstddef>
#include <cstdint>

#include "gossamer/types.h"

namespace gossamer {

// target[i] = operand[i] (op) arrived[i].
using FoldKernel = void (*)(std::byte* target, const std::byte* operand, const std::byte* arrived,
                            uint64_t count);
// target[i] = convert(from[i]); for narrow floats to and from fp32, and scaling.
using ConvertKernel = void (*)(std::byte* target, const std::byte* from, uint64_t count,
                               double scale);

// All three are of data type `type`. kAvg and kPreMulSum fold like kSum; null for kUser.
FoldKernel fold_kernel(DataType type, ReduceOp op);

// For narrow floats: target and operand are fp32, arrived is `type`. Null for other types.
FoldKernel fold_wide_kernel(DataType type, ReduceOp op);

// Narrow `type` -> fp32. `scale` is ignored. Null for other types.
ConvertKernel widen_kernel(DataType type);
// fp32 * scale -> narrow `type`, rounded to nearest even once. Null for other types.
ConvertKernel narrow_kernel(DataType type);
// type -> type, times scale (pre-multiplied sum, and averages as 1/n). Floats multiply in their own
// precision (narrow ones in fp32, rounded once); integers multiply in double and truncate.
ConvertKernel scale_kernel(DataType type);
// type -> type, divided by scale (kAvg): integers truncate toward zero as NCCL's do, floats divide.
ConvertKernel divide_kernel(DataType type);

// fp32 / scale -> narrow `type`, rounded once (kAvg from a wide accumulator).
ConvertKernel narrow_divide_kernel(DataType type);

// Plain loops with the same results bit for bit, for tests and for reading.
FoldKernel scalar_fold_kernel(DataType type, ReduceOp op);
FoldKernel scalar_fold_wide_kernel(DataType type, ReduceOp op);

// memcpy that bypasses the cache for large counts where that is faster.
void stream_copy(std::byte* target, const std::byte* from, uint64_t bytes);

// One value of a narrow float as fp32 and back (round to nearest even; fp8 e4m3 saturates to NaN
// beyond 448 per the OCP "FP8 formats for deep learning", Micikevicius et al., 2022).
float widen_one(DataType type, const std::byte* from);
void narrow_one(DataType type, float value, std::byte* into);

}  // namespace gossamer
