#include "transports/ucx/api.h"

#include <dlfcn.h>

#include <string>

namespace gossamer::ucx {

namespace {

Api loaded;

Status load() {
  // Never unloaded: UCX leaves handlers behind that must stay callable.
  void* const library = ::dlopen("libucp.so.0", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    return Status::error(Code::kUnavailable,
                         std::string("UCX cannot be loaded; install it (Debian: libucx0) or choose "
                                     "another transport: ") +
                             ::dlerror());
  }
#define GOSSAMER_UCP_LOAD(name)                                                         \
  loaded.name = reinterpret_cast<decltype(&::name)>(::dlsym(library, #name));           \
  if (loaded.name == nullptr) {                                                         \
    return Status::error(Code::kUnavailable,                                            \
                         "this UCX has no " #name "; version 1.13 or newer is needed"); \
  }
  GOSSAMER_UCP_FUNCTIONS(GOSSAMER_UCP_LOAD)
#undef GOSSAMER_UCP_LOAD
  return Status::ok();
}

}  // namespace

Status load_api() {
  static const Status status = load();
  return status;
}

const Api& ucp() {
  return loaded;
}

}  // namespace gossamer::ucx
