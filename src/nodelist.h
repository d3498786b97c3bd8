// Slurm's compressed lists of hosts: "gpu[003-005,9],login1".
//
// Threads    pure.

#pragma once

#include <string>
#include <string_view>

#include "gossamer/status.h"

namespace gossamer {

// The first host of the list, "gpu003". The whole list is checked.
//   kInvalidArgument  it is empty, brackets do not pair, or a range or name makes no sense
Result<std::string> first_host(std::string_view nodelist);

}  // namespace gossamer
