#include "src/nccl/stream.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <memory>

namespace gossamer::nccl {
namespace {

// gossamerStreamCall(): 0: function(argument) will run on the stream, else it never does. Refuses
// what is no stream.
using Launch = int (*)(void* stream, void (*function)(void*), void* argument);

Launch find_launch() {
  constexpr const char* kName = "gossamerStreamCall";
  void* found = ::dlsym(RTLD_DEFAULT, kName);
  if (found == nullptr) {  // loaded out of sight, as Python does
    if (void* library = ::dlopen("libgossamer.so.0", RTLD_LAZY | RTLD_NOLOAD)) {
      found = ::dlsym(library, kName);
      ::dlclose(library);  // whoever made the stream keeps it loaded
    }
  }
  return reinterpret_cast<Launch>(found);
}

void call_once(void* context) {
  const std::unique_ptr<std::function<void()>> function(
      static_cast<std::function<void()>*>(context));
  (*function)();
}

}  // namespace

bool run_on(cudaStream_t stream, std::function<void()> function) {
  const Launch launch = find_launch();
  if (launch == nullptr) return false;
  auto boxed = std::make_unique<std::function<void()>>(std::move(function));
  if (launch(stream, call_once, boxed.get()) != 0) return false;
  static_cast<void>(boxed.release());  // call_once() has it
  return true;
}

std::string why_no_stream(cudaStream_t stream) {
  return fmt::format(
      "stream {} is not one of gossamerStreamCreate() of a loaded libgossamer.so; pass NULL to run "
      "at once (this library serves host memory and knows no CUDA streams)",
      static_cast<void*>(stream));
}

}  // namespace gossamer::nccl
