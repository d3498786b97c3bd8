// nccl-tests' programs by name: `all_reduce_perf -b 8 -e 64M -f 2 -g 2`, a link to this command, is
// `gossamer perf all_reduce ...` with nccl-tests' flags, defaults and columns.
//
// Threads    The main one.

#pragma once

#include <string>
#include <vector>

#include "gossamer/status.h"

namespace gossamer {

// Of what `program` is the nccl-tests name, as `gossamer perf` calls it ("all_reduce" for
// ".../all_reduce_perf"); "" for any other name.
std::string nccl_test_of(const std::string& program);

struct TranslatedCommand {
  std::vector<std::string> arguments;  // for `gossamer`: perf all_reduce --nccl ...
  std::vector<std::string> ignored;    // sentences about flags that mean nothing here
};
// `arguments`: what follows the program's name. `launched`: by mpirun or the like, which then says
// how many ranks there are; else -t times -g local processes are.
//   kInvalidArgument  a flag that nccl-tests do not have, or one without its value
Result<TranslatedCommand> translate_nccl_test(const std::string& test,
                                              const std::vector<std::string>& arguments,
                                              bool launched);

// When the program was called by such a name, goes on as the `gossamer` that it means, in the same
// process; else returns. Returns an exit code only when that cannot be.
int become_nccl_test(int argc, char** argv);
inline constexpr int kNoNcclTest = -1;

}  // namespace gossamer
