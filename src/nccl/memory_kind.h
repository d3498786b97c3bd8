// What a buffer's memory is. This library serves host memory; what a CUDA driver says is a device's
// is refused with a sentence, where reading it would end the program.
//
// Threads    Any. The driver is never loaded by us, only asked if the program has it.

#pragma once

#include <cstdint>

namespace gossamer::nccl {

enum class MemoryKind : uint8_t {
  kHost,    // also memory that the driver moves to and fro by itself
  kDevice,  // of a GPU alone
};

// Looks whether the process has a driver by now. Called whenever a communicator is made.
void look_for_driver();
MemoryKind memory_kind(const void* pointer);

}  // namespace gossamer::nccl
