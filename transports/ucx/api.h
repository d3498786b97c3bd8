// UCX as this library uses it: its header at build time, its code loaded when a rank first asks for
// the transport. Programs that never do so neither need UCX nor get its signal handlers and hooks.
//
// Threads    any.
// Blocking   ucp() reads a library from disk, once.

#pragma once

#if __has_include(<ucp/api/ucp.h>)

#include <ucp/api/ucp.h>

#include "gossamer/status.h"

#define GOSSAMER_UCP_FUNCTIONS(ENTRY)   \
  ENTRY(ucp_config_read)                \
  ENTRY(ucp_config_modify)              \
  ENTRY(ucp_config_release)             \
  ENTRY(ucp_init_version)               \
  ENTRY(ucp_cleanup)                    \
  ENTRY(ucp_worker_create)              \
  ENTRY(ucp_worker_destroy)             \
  ENTRY(ucp_worker_get_address)         \
  ENTRY(ucp_worker_release_address)     \
  ENTRY(ucp_worker_get_efd)             \
  ENTRY(ucp_worker_arm)                 \
  ENTRY(ucp_worker_progress)            \
  ENTRY(ucp_worker_set_am_recv_handler) \
  ENTRY(ucp_ep_create)                  \
  ENTRY(ucp_ep_close_nbx)               \
  ENTRY(ucp_ep_flush_nbx)               \
  ENTRY(ucp_ep_print_info)              \
  ENTRY(ucp_context_print_info)         \
  ENTRY(ucp_ep_rkey_unpack)             \
  ENTRY(ucp_rkey_destroy)               \
  ENTRY(ucp_rkey_pack)                  \
  ENTRY(ucp_rkey_ptr)                   \
  ENTRY(ucp_rkey_buffer_release)        \
  ENTRY(ucp_mem_map)                    \
  ENTRY(ucp_mem_unmap)                  \
  ENTRY(ucp_mem_query)                  \
  ENTRY(ucp_put_nbx)                    \
  ENTRY(ucp_am_send_nbx)                \
  ENTRY(ucp_am_data_release)            \
  ENTRY(ucp_request_check_status)       \
  ENTRY(ucp_request_free)               \
  ENTRY(ucs_status_string)

namespace gossamer::ucx {

struct Api {
// NOLINTNEXTLINE(bugprone-macro-parentheses): a member's name cannot be put in parentheses
#define GOSSAMER_UCP_MEMBER(name) decltype(&::name) name = nullptr;
  GOSSAMER_UCP_FUNCTIONS(GOSSAMER_UCP_MEMBER)
#undef GOSSAMER_UCP_MEMBER
};

// Loads UCX if that has not been done.
//   kUnavailable  it is not installed or too old; the message names the package
Status load_api();
// Valid once load_api() has succeeded.
const Api& ucp();

}  // namespace gossamer::ucx

#endif
