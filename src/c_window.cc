// The C boundary of windows.

#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "gossamer/gossamer_window.h"
#include "gossamer/gossip_window.h"
#include "src/c_boundary.h"

using gossamer::Rank;
using gossamer::Result;
using gossamer::Status;
using gossamer::Weight;
using gossamer::Window;
using namespace gossamer::boundary;  // NOLINT(google-build-using-namespace)

struct gossamerWindow {
  std::unique_ptr<Window> window;
};

namespace {

constexpr const char* kNoWindow = "the window is null; gossamerWindowCreate makes one";
constexpr const char* kBadSources = "the sources or their weights are null, or n is negative";

// What a call on a window comes to.
template <class Call>
gossamerResult_t on(gossamerWindow_t window, Call call) {
  if (window == nullptr) return refuse(kNoWindow);
  return guarded([&] { return finish(call(*window->window)); });
}

template <class Call>
gossamerResult_t on(gossamerWindow_t window, gossamerGraph_t graph, Call call) {
  if (window != nullptr && graph == nullptr) return refuse(kNoGraph);
  return on(window, [&](Window& w) { return call(w, *graph->graph); });
}

bool sound(int n, const int* sources) {
  return n == 0 || (n > 0 && sources != nullptr);
}

std::vector<Weight> weighed(int n, const int* sources, const double* weights) {
  std::vector<Weight> all;
  all.reserve(static_cast<size_t>(n));
  for (int k = 0; k < n; ++k) all.push_back({sources[k], weights[k]});
  return all;
}

}  // namespace

extern "C" {

gossamerResult_t gossamerWindowCreate(gossamerWindow_t* window, const char* name, const void* buff,
                                      size_t count, gossamerDataType_t datatype,
                                      gossamerComm_t comm, int timeout_ms) {
  if (window == nullptr) return refuse(kNoResult);
  *window = nullptr;
  if (comm == nullptr) return refuse(kNoComm);
  if (name == nullptr) return refuse("the window's name is null; it is shown in errors");
  return guarded([&] {
    Window::Options options;
    options.name = name;
    options.timeout = std::chrono::milliseconds(timeout_ms);
    Result<std::unique_ptr<Window>> made =
        Window::create(*comm->communicator, buff, count, type_of(datatype), options);
    if (!made) return finish(made.status());
    *window = new gossamerWindow{std::move(made).value()};
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerWindowFree(gossamerWindow_t window) {
  const gossamerResult_t freed = on(window, [](Window& w) { return w.free(); });
  delete window;
  return freed;
}

gossamerResult_t gossamerWindowDestroy(gossamerWindow_t window) {
  if (window == nullptr) return refuse(kNoWindow);
  delete window;
  return gossamerSuccess;
}

gossamerResult_t gossamerWindowSet(gossamerWindow_t window, const void* buff) {
  return on(window, [&](Window& w) { return w.set(buff); });
}

gossamerResult_t gossamerWindowValue(gossamerWindow_t window, void* buff) {
  return on(window, [&](const Window& w) { return w.value(buff); });
}

gossamerResult_t gossamerWindowPut(gossamerWindow_t window, const void* buff, double weight,
                                   int peer) {
  return on(window, [&](Window& w) { return w.put(buff, peer, weight); });
}

gossamerResult_t gossamerWindowPutNeighbors(gossamerWindow_t window, const void* buff,
                                            double weight, gossamerGraph_t graph, uint64_t round) {
  return on(window, graph,
            [&](Window& w, const gossamer::Graph& g) { return w.put(buff, g, round, weight); });
}

gossamerResult_t gossamerWindowAccumulate(gossamerWindow_t window, const void* buff, double weight,
                                          int peer) {
  return on(window, [&](Window& w) { return w.accumulate(buff, peer, weight); });
}

gossamerResult_t gossamerWindowAccumulateNeighbors(gossamerWindow_t window, const void* buff,
                                                   double weight, gossamerGraph_t graph,
                                                   uint64_t round) {
  return on(window, graph, [&](Window& w, const gossamer::Graph& g) {
    return w.accumulate(buff, g, round, weight);
  });
}

gossamerResult_t gossamerWindowFlush(gossamerWindow_t window) {
  return on(window, [](Window& w) { return w.flush(); });
}

gossamerResult_t gossamerWindowGet(gossamerWindow_t window, void* buff, int peer,
                                   uint64_t* version) {
  return on(window, [&](Window& w) { return w.get(buff, peer, version); });
}

gossamerResult_t gossamerWindowUpdate(gossamerWindow_t window, void* buff, double self_weight,
                                      int n, const int* sources, const double* weights) {
  if (!sound(n, sources) || (n > 0 && weights == nullptr)) return refuse(kBadSources);
  return on(window,
            [&](Window& w) { return w.update(buff, self_weight, weighed(n, sources, weights)); });
}

gossamerResult_t gossamerWindowUpdateNeighbors(gossamerWindow_t window, void* buff,
                                               gossamerGraph_t graph, uint64_t round) {
  return on(window, graph,
            [&](Window& w, const gossamer::Graph& g) { return w.update(buff, g, round); });
}

gossamerResult_t gossamerWindowCollect(gossamerWindow_t window, void* buff, double self_weight,
                                       int n, const int* sources, const double* weights) {
  if (!sound(n, sources) || (n > 0 && weights == nullptr)) return refuse(kBadSources);
  return on(window,
            [&](Window& w) { return w.collect(buff, self_weight, weighed(n, sources, weights)); });
}

gossamerResult_t gossamerWindowClock(gossamerWindow_t window, uint64_t* clock) {
  if (window != nullptr && clock == nullptr) return refuse(kNoResult);
  return on(window, [&](const Window& w) {
    *clock = w.clock();
    return Status::ok();
  });
}

gossamerResult_t gossamerWindowVersion(gossamerWindow_t window, int source, uint64_t* version) {
  if (window != nullptr && version == nullptr) return refuse(kNoResult);
  return on(window, [&](const Window& w) {
    *version = w.version(source);
    return Status::ok();
  });
}

gossamerResult_t gossamerWindowWaitVersions(gossamerWindow_t window, int n, const int* sources,
                                            uint64_t at_least, int timeout_ms) {
  if (!sound(n, sources)) return refuse(kBadSources);
  return on(window, [&](Window& w) {
    const std::vector<Rank> all(sources, sources + n);
    if (timeout_ms < 0) return w.wait_versions(all, at_least);
    return w.wait_versions(all, at_least, std::chrono::milliseconds(timeout_ms));
  });
}

}  // extern "C"
