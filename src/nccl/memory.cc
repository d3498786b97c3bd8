// Memory that peers read in place, and memory that is registered.
//
// Registering makes operations faster and changes nothing else. So where it cannot be done, the
// answer is success with nothing in the handle, as NCCL's is.

#include "gossamer/memory.h"

#include <fmt/format.h>

#include <memory>

#include "src/nccl/environment.h"
#include "src/nccl/export.h"
#include "src/nccl/result.h"
#include "src/nccl/seat.h"

namespace gossamer::nccl {
namespace {

ncclResult_t allocate(void** memory, size_t bytes) {
  if (memory == nullptr) {
    return refuse(ncclInvalidArgument, "ncclMemAlloc: the pointer for the memory is NULL");
  }
  start_once();
  *memory = nullptr;
  if (bytes == 0) return ncclSuccess;
  const Result<void*> made = allocate_memory(bytes);
  if (!made) return refuse(result_of(made.status().code(), false), made.status().to_string());
  *memory = *made;
  return ncclSuccess;
}

ncclResult_t release(void* memory) {
  if (memory == nullptr) return ncclSuccess;
  const Status freed = free_memory(memory);
  return freed ? ncclSuccess : refuse(result_of(freed.code(), false), freed.to_string());
}

// 0: not registered, which is no error.
RegistrationId try_to_register(ncclComm_t comm, void* memory, size_t bytes) {
  if (memory == nullptr || bytes == 0 || setting("NCCL_LOCAL_REGISTER") == "0") return 0;
  const Result<RegistrationId> made = comm->usable.load()->register_memory(memory, bytes);
  if (made) return *made;
  info(Subsystem::kReg, comm->identity,
       fmt::format("not registered: {}", made.status().to_string()));
  return 0;
}

ncclResult_t deregister(ncclComm_t comm, RegistrationId registration) {
  Communicator* const native = comm->native.load();
  if (registration == 0 || native == nullptr || is_foreign(comm)) return ncclSuccess;
  return report(comm, native->deregister_memory(registration));
}

ncclResult_t register_buffer(ncclComm_t comm, void* memory, size_t bytes, void** handle) {
  const Visit visit(comm);
  if (!visit || comm->usable.load() == nullptr) return diagnose(comm, visit, "ncclCommRegister");
  if (handle == nullptr) {
    return refuse(ncclInvalidArgument, "ncclCommRegister: the pointer for the handle is NULL",
                  comm->identity);
  }
  *handle = reinterpret_cast<void*>(static_cast<uintptr_t>(try_to_register(comm, memory, bytes)));
  return ncclSuccess;
}

ncclResult_t deregister_buffer(ncclComm_t comm, void* handle) {
  const Visit visit(comm);
  if (!visit) return diagnose(comm, visit, "ncclCommDeregister");
  return deregister(comm, reinterpret_cast<uintptr_t>(handle));
}

// A handle that programs may read, but that means something to this library only: device code,
// which would look into it, is not served.
ncclWindow_t handle_of(Window* window) {
  return reinterpret_cast<ncclWindow_t>(window);
}

ncclResult_t register_window(ncclComm_t comm, void* memory, size_t bytes, ncclWindow_t* handle,
                             int flags) {
  constexpr const char* kCall = "ncclCommWindowRegister";
  const Visit visit(comm);
  if (!visit || comm->usable.load() == nullptr) return diagnose(comm, visit, kCall);
  if (handle == nullptr || (flags & ~NCCL_WIN_COLL_SYMMETRIC) != 0) {
    return refuse(ncclInvalidArgument,
                  handle == nullptr ? fmt::format("{}: the pointer for the window is NULL", kCall)
                                    : fmt::format("{}: flags are {}; use NCCL_WIN_DEFAULT or "
                                                  "NCCL_WIN_COLL_SYMMETRIC",
                                                  kCall, flags),
                  comm->identity);
  }
  if (memory == nullptr || bytes == 0 || setting("NCCL_WIN_ENABLE") == "0") return ncclSuccess;
  auto window = std::make_unique<Window>();
  window->registration = try_to_register(comm, memory, bytes);
  const std::lock_guard lock(comm->mutex);
  *handle = handle_of(window.get());
  comm->windows.emplace(*handle, std::move(window));
  return ncclSuccess;
}

ncclResult_t deregister_window(ncclComm_t comm, ncclWindow_t handle) {
  constexpr const char* kCall = "ncclCommWindowDeregister";
  if (handle == nullptr) return ncclSuccess;
  const Visit visit(comm);
  if (!visit) return diagnose(comm, visit, kCall);
  RegistrationId registration = 0;
  {
    const std::lock_guard lock(comm->mutex);
    const auto found = comm->windows.find(handle);
    if (found == comm->windows.end()) {
      return refuse(ncclInvalidArgument,
                    fmt::format("{}: the window is none of this communicator's, or was "
                                "deregistered before",
                                kCall),
                    comm->identity);
    }
    registration = found->second->registration;
    comm->windows.erase(found);
  }
  return deregister(comm, registration);
}

}  // namespace
}  // namespace gossamer::nccl

using gossamer::nccl::guarded;

// NOLINTBEGIN(readability-identifier-naming): NCCL's names
GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclMemAlloc, void** ptr, size_t size) {
  return guarded([&] { return gossamer::nccl::allocate(ptr, size); });
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclMemFree, void* ptr) {
  return guarded([&] { return gossamer::nccl::release(ptr); });
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclCommRegister, ncclComm_t comm, void* buff, size_t size,
                     void** handle) {
  return guarded([&] { return gossamer::nccl::register_buffer(comm, buff, size, handle); });
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclCommDeregister, ncclComm_t comm, void* handle) {
  return guarded([&] { return gossamer::nccl::deregister_buffer(comm, handle); });
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclCommWindowRegister, ncclComm_t comm, void* buff, size_t size,
                     ncclWindow_t* win, int winFlags) {
  return guarded([&] { return gossamer::nccl::register_window(comm, buff, size, win, winFlags); });
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclCommWindowDeregister, ncclComm_t comm, ncclWindow_t win) {
  return guarded([&] { return gossamer::nccl::deregister_window(comm, win); });
}
// NOLINTEND(readability-identifier-naming)
