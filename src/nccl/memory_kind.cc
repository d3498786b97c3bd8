#include "src/nccl/memory_kind.h"

#include <dlfcn.h>

#include <atomic>

namespace gossamer::nccl {
namespace {

// cuPointerGetAttribute() of the driver: 0 is success; other results mean that the driver does not
// know the memory, which is the host's then.
using PointerAttribute = int (*)(void* answer, int attribute, unsigned long long pointer);
constexpr int kMemoryType = 2;
constexpr int kIsManaged = 8;
constexpr unsigned kTypeDevice = 2;

std::atomic<PointerAttribute> driver{nullptr};

}  // namespace

void look_for_driver() {
  if (driver.load(std::memory_order_relaxed) != nullptr) return;
  void* library = ::dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
  if (library == nullptr) return;
  // Stays open: the driver must not go while its function may be called.
  driver.store(reinterpret_cast<PointerAttribute>(::dlsym(library, "cuPointerGetAttribute")));
}

MemoryKind memory_kind(const void* pointer) {
  const PointerAttribute ask = driver.load(std::memory_order_relaxed);
  if (ask == nullptr || pointer == nullptr) return MemoryKind::kHost;
  const auto address = reinterpret_cast<unsigned long long>(pointer);
  unsigned type = 0;
  unsigned managed = 0;
  if (ask(&type, kMemoryType, address) != 0 || type != kTypeDevice) return MemoryKind::kHost;
  return ask(&managed, kIsManaged, address) == 0 && managed != 0 ? MemoryKind::kHost
                                                                 : MemoryKind::kDevice;
}

}  // namespace gossamer::nccl
