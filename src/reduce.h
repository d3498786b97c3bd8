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

// target[i] = operand[i] (op) arrived[i]. Integers wrap. A NaN on either side gives the canonical
// NaN and -0 is below +0, so operands may be exchanged without a change of a bit.
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
// precision (narrow ones in fp32, rounded once). Integers multiply as integers, wrapping, when the
// scale is whole and fits; else in double, truncated toward zero and clamped to the type's range.
ConvertKernel scale_kernel(DataType type);
// type -> type, divided by scale (kAvg): integers truncate toward zero as NCCL's do, floats divide.
// `target` may be `from` in these two.
ConvertKernel divide_kernel(DataType type);

// fp32 / scale -> narrow `type`, rounded once (kAvg from a wide accumulator).
ConvertKernel narrow_divide_kernel(DataType type);

// target[i] = own * operand[i] + other * arrived[i], of floats: fp64 in fp64, all others in fp32
// with fp32 factors, rounded once when the target is narrow. One rounding less where the machine
// multiplies and adds in one instruction. Null for integers.
using MixKernel = void (*)(std::byte* target, const std::byte* operand, const std::byte* arrived,
                           uint64_t count, double own, double other);
MixKernel mix_kernel(DataType type);  // all three are of `type`
// For narrow floats, null for others; target is fp32, and operand is fp32 or still `type`.
MixKernel mix_wide_kernel(DataType type);
MixKernel mix_widening_kernel(DataType type);

// Plain loops with the same results bit for bit, for tests and for reading.
FoldKernel scalar_fold_kernel(DataType type, ReduceOp op);
FoldKernel scalar_fold_wide_kernel(DataType type, ReduceOp op);

// memcpy that bypasses the cache where that is faster: when `bytes`, or `whole_bytes`, the size of
// the buffer that this is a piece of, is more than the cache would keep until somebody reads it.
void stream_copy(std::byte* target, const std::byte* from, uint64_t bytes,
                 uint64_t whole_bytes = 0);

// One value of a narrow float as fp32 and back (round to nearest even; overflow becomes
// infinity, in fp8 e4m3 NaN: src/narrow.h).
float widen_one(DataType type, const std::byte* from);
void narrow_one(DataType type, float value, std::byte* into);

}  // namespace gossamer
