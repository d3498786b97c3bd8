#include "transports/ucx/fabric.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "transports/ucx/api.h"
#include "transports/ucx/ucx_transport.h"

namespace gossamer::ucx {

namespace {

// How long closing endpoints may take.
constexpr std::chrono::milliseconds kCloseTime{200};

ucs_status_t arrive(void* owner, const void* header, size_t header_bytes, void* data, size_t bytes,
                    const ucp_am_recv_param_t* param) {
  if ((param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0) return UCS_OK;  // no rank sends such
  const bool holdable = (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_DATA) != 0;
  const bool kept = static_cast<Ucx*>(owner)->on_record(
      {static_cast<const std::byte*>(header), header_bytes}, data, bytes, holdable);
  return kept ? UCS_INPROGRESS : UCS_OK;
}

void endpoint_failed(void* link, ucp_ep_h /*endpoint*/, ucs_status_t status) {
  auto* const broken = static_cast<Link*>(link);
  broken->owner->on_broken(broken, ucp().ucs_status_string(status));
}

Status failed(Code code, const std::string& what, ucs_status_t status) {
  return Status::error(code, what + ": " + ucp().ucs_status_string(status));
}

bool within_host(const std::string& name) {
  static constexpr std::array<std::string_view, 9> kNames = {
      "sm", "shm", "mm", "posix", "sysv", "xpmem", "cma", "knem", "self"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

// What `print` writes.
template <class Print>
std::string text_of(Print print) {
  char* text = nullptr;
  size_t bytes = 0;
  FILE* const stream = ::open_memstream(&text, &bytes);
  if (stream == nullptr) return {};
  print(stream);
  std::fclose(stream);
  std::string all(text, bytes);
  std::free(text);
  return all;
}

// UCX tells nobody but people what it uses.
bool names_any(const std::string& text, std::initializer_list<const char*> names) {
  return std::any_of(names.begin(), names.end(),
                     [&](const char* name) { return text.find(name) != std::string::npos; });
}

bool names_putting_devices(const std::string& text) {
  return names_any(text, {"rc_verbs/", "rc_mlx5/", "dc_mlx5/"});
}

void append(std::string* list, const std::string& name) {
  if (!list->empty()) *list += ',';
  *list += name;
}

}  // namespace

Choice split_tls(const std::string& tls) {
  const bool all_but = !tls.empty() && tls.front() == '^';
  std::vector<std::string> names;
  for (size_t at = all_but ? 1 : 0; at < tls.size();) {
    const size_t end = std::min(tls.find(',', at), tls.size());
    if (end > at) names.push_back(tls.substr(at, end - at));
    at = end + 1;
  }
  const auto named = [&](const char* name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  if (names.empty() || (!all_but && named("all"))) return {"shm,self", tls};
  Choice choice;
  if (all_but) {
    choice.network = tls;
    if (named("sm") || named("shm") || (named("posix") && named("sysv"))) return choice;
    for (const char* name : {"posix", "sysv", "xpmem", "cma", "knem", "self"}) {
      const bool mapped = std::string_view(name) != "cma" && std::string_view(name) != "self";
      if (!named(name) && !(mapped && named("mm"))) append(&choice.host, name);
    }
    return choice;
  }
  bool shared = false;
  bool beyond = false;
  for (const std::string& name : names) {
    if (!within_host(name)) {
      beyond = true;
      continue;
    }
    append(&choice.host, name);
    shared = shared || (name != "self" && name != "cma");
  }
  if (!shared) choice.host.clear();
  if (beyond) choice.network = tls;
  if (!shared && !beyond) choice.network = tls;  // UCX says what is wrong with it
  return choice;
}

// What UCX emulates lets whoever connects to it write our memory, so it is asked for puts only
// where a device does them.
Result<std::unique_ptr<Fabric>> Fabric::create(Ucx* owner, Reach reach, const std::string& tls,
                                               Rank size, bool emulated_puts) {
  std::unique_ptr<Fabric> fabric(new Fabric(reach));
  Status status = fabric->make_context(tls, size, reach == Reach::kHost);
  if (status && reach == Reach::kNetwork && (emulated_puts || fabric->has_putting_devices())) {
    ucp().ucp_cleanup(std::exchange(fabric->context_, nullptr));
    status = fabric->make_context(tls, size, true);
    fabric->puts_ = status.is_ok();
  }
  if (status) status = fabric->make_worker(owner);
  if (!status) return status;
  return fabric;
}

Fabric::~Fabric() {
  if (worker_ != nullptr) ucp().ucp_worker_destroy(worker_);
  for (const auto& area : areas_) unmap(*area);
  if (context_ != nullptr) ucp().ucp_cleanup(context_);
}

Status Fabric::make_context(const std::string& tls, Rank size, bool puts) {
  ucp_config_t* settings = nullptr;
  ucs_status_t status = ucp().ucp_config_read(nullptr, nullptr, &settings);
  if (status != UCS_OK) {
    return failed(Code::kInvalidArgument, "UCX does not accept its UCX_* variables", status);
  }
  if (!tls.empty()) status = ucp().ucp_config_modify(settings, "TLS", tls.c_str());
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_ESTIMATED_NUM_EPS;
  params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP | (puts ? UCP_FEATURE_RMA : 0);
  params.estimated_num_eps = static_cast<size_t>(size);
  if (status == UCS_OK) {
    status = ucp().ucp_init_version(UCP_API_MAJOR, UCP_API_MINOR, &params, settings, &context_);
  }
  ucp().ucp_config_release(settings);
  if (status == UCS_OK) return Status::ok();
  context_ = nullptr;
  return failed(Code::kUnavailable,
                "UCX finds nothing to use; UCX_TLS and UCX_NET_DEVICES say what it may", status);
}

Status Fabric::make_worker(Ucx* owner) {
  ucp_worker_params_t params{};
  params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE | UCP_WORKER_PARAM_FIELD_FLAGS;
  params.thread_mode = UCS_THREAD_MODE_SERIALIZED;  // driving is handed over, never shared
  params.flags = UCP_WORKER_FLAG_IGNORE_REQUEST_LEAK;
  ucs_status_t status = ucp().ucp_worker_create(context_, &params, &worker_);
  if (status != UCS_OK) {
    worker_ = nullptr;
    return failed(Code::kUnavailable,
                  "UCX opens no device; UCX_TLS and UCX_NET_DEVICES say which it may use", status);
  }
  ucp_am_handler_param_t handler{};
  handler.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS |
                       UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
  handler.id = kRecordId;
  handler.flags = UCP_AM_FLAG_WHOLE_MSG;
  handler.cb = &arrive;
  handler.arg = owner;
  status = ucp().ucp_worker_set_am_recv_handler(worker_, &handler);
  if (status == UCS_OK) status = ucp().ucp_worker_get_efd(worker_, &wait_fd_);
  if (status == UCS_OK) return Status::ok();
  return failed(Code::kUnavailable, "UCX cannot wait for events", status);
}

std::string Fabric::address() const {
  ucp_address_t* address = nullptr;
  size_t bytes = 0;
  if (ucp().ucp_worker_get_address(worker_, &address, &bytes) != UCS_OK) return {};
  std::string text(reinterpret_cast<const char*>(address), bytes);
  ucp().ucp_worker_release_address(worker_, address);
  return text;
}

bool Fabric::connect(const std::string& address, Link* link, const char** why) {
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                      UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.address = reinterpret_cast<const ucp_address_t*>(address.data());
  params.err_mode =
      reach_ == Reach::kNetwork ? UCP_ERR_HANDLING_MODE_PEER : UCP_ERR_HANDLING_MODE_NONE;
  params.err_handler = {&endpoint_failed, link};
  const ucs_status_t status = ucp().ucp_ep_create(worker_, &params, &link->endpoint);
  if (status == UCS_OK) return true;
  link->endpoint = nullptr;
  *why = ucp().ucs_status_string(status);
  return false;
}

bool Fabric::has_putting_devices() const {
  return names_putting_devices(
      text_of([&](FILE* to) { ucp().ucp_context_print_info(context_, to); }));
}

Ways Fabric::ways(ucp_ep* endpoint) const {
  const std::string text = text_of([&](FILE* to) { ucp().ucp_ep_print_info(endpoint, to); });
  return {names_putting_devices(text), names_any(text, {":tcp/"})};
}

std::unique_ptr<Area> Fabric::map(std::byte* data, uint64_t bytes, const char** why) {
  auto area = std::make_unique<Area>();
  ucp_mem_map_params_t params{};
  params.field_mask = UCP_MEM_MAP_PARAM_FIELD_LENGTH | UCP_MEM_MAP_PARAM_FIELD_FLAGS |
                      UCP_MEM_MAP_PARAM_FIELD_ADDRESS;
  params.address = data;
  params.length = bytes;
  params.flags = data == nullptr ? UCP_MEM_MAP_ALLOCATE : 0;
  ucs_status_t status = ucp().ucp_mem_map(context_, &params, &area->handle);
  if (status == UCS_OK) {
    ucp_mem_attr_t attributes{};
    attributes.field_mask = UCP_MEM_ATTR_FIELD_ADDRESS | UCP_MEM_ATTR_FIELD_LENGTH;
    void* key = nullptr;
    size_t key_bytes = 0;
    status = ucp().ucp_mem_query(area->handle, &attributes);
    if (status == UCS_OK) status = ucp().ucp_rkey_pack(context_, area->handle, &key, &key_bytes);
    if (status == UCS_OK) {
      const auto* const packed = static_cast<const std::byte*>(key);
      area->key.assign(packed, packed + key_bytes);
      ucp().ucp_rkey_buffer_release(key);
      area->data = static_cast<std::byte*>(attributes.address);
      area->bytes = bytes;
      return area;
    }
    unmap(*area);
  }
  *why = ucp().ucs_status_string(status);
  return nullptr;
}

void Fabric::unmap(const Area& area) {
  (void)ucp().ucp_mem_unmap(context_, area.handle);
}

const Area* Fabric::allocate(uint64_t bytes) {
  const char* why = "";
  std::unique_ptr<Area> area = map(nullptr, bytes, &why);
  if (area == nullptr) return nullptr;
  areas_.push_back(std::move(area));
  return areas_.back().get();
}

void* Fabric::register_memory(std::span<std::byte> pages, std::string* why) {
  const char* reason = "";
  std::unique_ptr<Area> area = map(pages.data(), pages.size(), &reason);
  if (area != nullptr) return area.release();
  *why = std::string("UCX did not register memory (") + reason +
         "); raise the limit on locked memory (ulimit -l)";
  return nullptr;
}

void Fabric::deregister_memory(void* handle) {
  const std::unique_ptr<Area> area(static_cast<Area*>(handle));
  unmap(*area);
}

void Fabric::close(std::span<ucp_ep* const> endpoints) {
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  param.flags = UCP_EP_CLOSE_FLAG_FORCE;
  std::vector<ucs_status_ptr_t> closing;
  for (ucp_ep* const endpoint : endpoints) {
    closing.push_back(ucp().ucp_ep_close_nbx(endpoint, &param));
  }
  const auto end = std::chrono::steady_clock::now() + kCloseTime;
  for (void* const request : closing) {
    if (!UCS_PTR_IS_PTR(request)) continue;
    while (ucp().ucp_request_check_status(request) == UCS_INPROGRESS &&
           std::chrono::steady_clock::now() < end) {
      (void)ucp().ucp_worker_progress(worker_);
    }
    ucp().ucp_request_free(request);
  }
}

}  // namespace gossamer::ucx
