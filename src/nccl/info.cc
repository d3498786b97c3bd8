// The library itself: version, error texts, the last warning, debug settings.

#include "src/env.h"
#include "src/nccl/environment.h"
#include "src/nccl/export.h"
#include "src/nccl/result.h"
#include "src/nccl/version.h"

using gossamer::nccl::guarded;
using gossamer::nccl::refuse;

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclGetVersion, int* version) {
  return guarded([version] {
    if (version == nullptr) {
      return refuse(ncclInvalidArgument, "ncclGetVersion: the pointer for the version is NULL");
    }
    const gossamer::Result<int64_t> told =
        gossamer::env_int("GOSSAMER_NCCL_VERSION", gossamer::nccl::kVersion, 10'000, 99'999);
    if (!told) return refuse(ncclInvalidArgument, told.status().message());
    *version = static_cast<int>(*told);
    return ncclSuccess;
  });
}

GOSSAMER_NCCL_DEFINE(const char*, ncclGetErrorString, ncclResult_t result) {
  switch (static_cast<int>(result)) {
    case ncclSuccess:
      return "no error";
    case ncclUnhandledCudaError:
      return "a CUDA call failed";
    case ncclSystemError:
      return "the system refused something (ncclGetLastError() says what)";
    case ncclInternalError:
      return "ended by this rank's own abort or revoke, or a bug of the library";
    case ncclInvalidArgument:
      return "invalid argument (ncclGetLastError() says which)";
    case ncclInvalidUsage:
      return "invalid usage (ncclGetLastError() says what to change)";
    case ncclRemoteError:
      return "another rank is gone, aborted or does not answer";
    case ncclInProgress:
      return "in progress";
    default:
      return "unknown result code";
  }
}

GOSSAMER_NCCL_DEFINE(const char*, ncclGetLastError, [[maybe_unused]] ncclComm_t comm) {
  return gossamer::nccl::last_warning();
}

GOSSAMER_NCCL_DEFINE(void, ncclResetDebugInit) {
  guarded([] {
    gossamer::nccl::start_once();
    gossamer::nccl::read_debug_settings();
    return ncclSuccess;
  });
}

// NCCL's own library exports it, without a twin; some tools look for it.
// NOLINTBEGIN(readability-identifier-naming): its name
extern "C" [[gnu::visibility("default")]] void ncclResetDebugInitInternal();
extern "C" void ncclResetDebugInitInternal() {
  pncclResetDebugInit();
}
// NOLINTEND(readability-identifier-naming)
