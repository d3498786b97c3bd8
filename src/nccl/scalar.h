// The factor of a pre-multiplied sum, read from memory in the type it has there.

#pragma once

#include "gossamer/status.h"
#include "gossamer/types.h"

namespace gossamer::nccl {

// One element of `type` as a double.
//   kInvalidArgument  a 64-bit integer that a double cannot hold, so that products would be wrong
Result<double> read_factor(const void* memory, DataType type);

}  // namespace gossamer::nccl
