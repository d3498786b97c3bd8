#include "transports/verbs/library.h"

#include <dlfcn.h>

#include <cerrno>
#include <cstddef>
#include <string>

namespace gossamer::verbs {

namespace {

int query_port(ibv_context* context, uint8_t port, ibv_port_attr* attributes) {
  verbs_context* const extended = verbs_get_ctx(context);
  const bool has = extended != nullptr &&
                   extended->sz >= sizeof *extended - offsetof(verbs_context, query_port) &&
                   extended->query_port != nullptr;
  if (!has) return ENOSYS;
  return extended->query_port(context, port, attributes, sizeof *attributes);
}

template <class Function>
bool find(void* handle, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(::dlsym(handle, name));
  return *function != nullptr;
}

Result<Library> load() {
  void* const handle = ::dlopen("libibverbs.so.1", RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    return Status::error(Code::kUnavailable,
                         "transport verbs needs libibverbs.so.1, which is not installed: install "
                         "libibverbs1 and ibverbs-providers");
  }
  Library l;
  l.query_port = query_port;
  const bool all =
      find(handle, "ibv_fork_init", &l.fork_init) &&
      find(handle, "ibv_get_device_list", &l.get_device_list) &&
      find(handle, "ibv_free_device_list", &l.free_device_list) &&
      find(handle, "ibv_get_device_name", &l.get_device_name) &&
      find(handle, "ibv_open_device", &l.open_device) &&
      find(handle, "ibv_close_device", &l.close_device) &&
      find(handle, "ibv_query_device", &l.query_device) &&
      find(handle, "_ibv_query_gid_ex", &l.query_gid_ex) &&
      find(handle, "ibv_alloc_pd", &l.alloc_pd) && find(handle, "ibv_dealloc_pd", &l.dealloc_pd) &&
      find(handle, "ibv_reg_mr", &l.reg_mr) && find(handle, "ibv_dereg_mr", &l.dereg_mr) &&
      find(handle, "ibv_create_comp_channel", &l.create_comp_channel) &&
      find(handle, "ibv_destroy_comp_channel", &l.destroy_comp_channel) &&
      find(handle, "ibv_create_cq", &l.create_cq) &&
      find(handle, "ibv_destroy_cq", &l.destroy_cq) &&
      find(handle, "ibv_get_cq_event", &l.get_cq_event) &&
      find(handle, "ibv_ack_cq_events", &l.ack_cq_events) &&
      find(handle, "ibv_create_qp", &l.create_qp) && find(handle, "ibv_modify_qp", &l.modify_qp) &&
      find(handle, "ibv_destroy_qp", &l.destroy_qp) &&
      find(handle, "ibv_get_async_event", &l.get_async_event) &&
      find(handle, "ibv_ack_async_event", &l.ack_async_event) &&
      find(handle, "ibv_event_type_str", &l.event_type_str) &&
      find(handle, "ibv_wc_status_str", &l.wc_status_str);
  if (!all) {
    return Status::error(Code::kUnavailable,
                         "transport verbs needs a libibverbs.so.1 of rdma-core 32 or newer: update "
                         "libibverbs1");
  }
  (void)find(handle, "ibv_reg_mr_iova2", &l.reg_mr_iova2);
  // Memory that a device uses must stay where it is when this process forks. Kernels since 5.12 see
  // to it themselves; older ones need to be told before the first registration.
  (void)l.fork_init();
  return l;
}

}  // namespace

Result<const Library*> load_library() {
  static const Result<Library> kLibrary = load();
  if (!kLibrary) return kLibrary.status();
  return &kLibrary.value();
}

}  // namespace gossamer::verbs
