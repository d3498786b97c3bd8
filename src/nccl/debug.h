// Log lines in NCCL's form, by NCCL's variables, and the last warning of the process.
//
//   host:pid:tid [rank] NCCL INFO INIT [name] rank 3 of 8: what happened
//
//   NCCL_DEBUG         VERSION, WARN, INFO or TRACE; nothing is printed when it is unset, but
//                      GOSSAMER_DEBUG wins for the lines of the layers below
//   NCCL_DEBUG_SUBSYS  which INFO and TRACE lines: names by comma, or ^ and those to leave out
//   NCCL_DEBUG_FILE    where to, with %h for the host and %p for the process; else stdout
//
// Threads    Any. One write() per line.

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "nccl/nccl.h"
#include "src/log.h"

namespace gossamer::nccl {

// The values are NCCL's bits.
enum class Subsystem : uint32_t {
  kInit = 0x1,
  kColl = 0x2,
  kP2p = 0x4,
  kShm = 0x8,
  kNet = 0x10,
  kGraph = 0x20,
  kTuning = 0x40,
  kEnv = 0x80,
  kAlloc = 0x100,
  kCall = 0x200,
  kProxy = 0x400,
  kNvls = 0x800,
  kBootstrap = 0x1000,
  kReg = 0x2000,
  kProfile = 0x4000,
  kRas = 0x8000,
};

// What NCCL_DEBUG_SUBSYS says, as bits. Unset: INIT, BOOTSTRAP and ENV. Unknown names say nothing.
uint32_t parse_subsystems(std::string_view text);
// NCCL_DEBUG_FILE with %h, %p and %% replaced.
std::string expand_debug_file(std::string_view pattern, std::string_view host, int pid);

// Reads the variables, again if they were read before, and takes over the lines of the layers
// below.
void read_debug_settings();
bool prints_version();
bool prints(LogLevel level, Subsystem subsystem);
void print(LogLevel level, Subsystem subsystem, const LogIdentity& who, std::string_view message);
inline void info(Subsystem subsystem, const LogIdentity& who, std::string_view message) {
  if (prints(LogLevel::kInfo, subsystem)) print(LogLevel::kInfo, subsystem, who, message);
}
// The line that says which library this is, once per process, if NCCL_DEBUG asks for any.
void print_version();

// Keeps `sentence` as the last warning, prints it at WARN, and returns `result`.
ncclResult_t refuse(ncclResult_t result, const std::string& sentence, const LogIdentity& who = {});
// The last warning, for this thread to keep until it asks again.
const char* last_warning();

// Around fork(): the child finds the locks of this file free.
void lock_debug();
void unlock_debug();

}  // namespace gossamer::nccl
