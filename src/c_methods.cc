// The C boundary of gossip methods.

#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "gossamer/gossamer_gossip.h"
#include "gossamer/gossip_factory.h"
#include "src/c_boundary.h"

using gossamer::GossipMethod;
using gossamer::Graph;
using gossamer::Result;
using namespace gossamer::boundary;  // NOLINT(google-build-using-namespace)

struct gossamerMethod {
  std::unique_ptr<GossipMethod> method;
};

namespace {

constexpr const char* kNoMethod = "the method is null; gossamerMethodCreate makes one";

const Graph* graph_of(gossamerGraph_t graph) {
  return graph == nullptr ? nullptr : graph->graph.get();
}

}  // namespace

extern "C" {

gossamerResult_t gossamerMethodCreate(gossamerMethod_t* method, const char* name, size_t count,
                                      gossamerDataType_t datatype, gossamerComm_t comm) {
  if (method == nullptr) return refuse(kNoResult);
  *method = nullptr;
  if (name == nullptr) {
    return refuse("the method's name is null; write for example \"decentralized_sgd\"");
  }
  if (comm == nullptr) return refuse(kNoComm);
  return guarded([&] {
    Result<std::unique_ptr<GossipMethod>> made =
        gossamer::make_method(name, {.rank = comm->communicator->rank(),
                                     .size = comm->communicator->size(),
                                     .count = count,
                                     .type = type_of(datatype)});
    if (!made) return finish(made.status());
    *method = new gossamerMethod{std::move(made).value()};
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerMethodBegin(gossamerMethod_t method, void* x, gossamerComm_t comm) {
  if (method == nullptr) return refuse(kNoMethod);
  if (comm == nullptr) return refuse(kNoComm);
  return guarded([&] { return finish(method->method->begin(*comm->communicator, x)); });
}

gossamerResult_t gossamerMethodStep(gossamerMethod_t method, void* x, const void* gradient,
                                    double rate, gossamerGraph_t graph, gossamerComm_t comm) {
  if (method == nullptr) return refuse(kNoMethod);
  if (comm == nullptr) return refuse(kNoComm);
  return guarded([&] {
    return finish(method->method->step(*comm->communicator, graph_of(graph), x, gradient, rate));
  });
}

gossamerResult_t gossamerMethodFinish(gossamerMethod_t method, void* x, gossamerGraph_t graph,
                                      gossamerComm_t comm) {
  if (method == nullptr) return refuse(kNoMethod);
  if (comm == nullptr) return refuse(kNoComm);
  return guarded(
      [&] { return finish(method->method->finish(*comm->communicator, graph_of(graph), x)); });
}

gossamerResult_t gossamerMethodShrink(gossamerMethod_t method, const int* lost, int lost_count) {
  if (method == nullptr) return refuse(kNoMethod);
  if (lost == nullptr || lost_count <= 0) return refuse("no rank is lost; name at least one");
  return guarded([&] {
    return finish(method->method->shrink({lost, static_cast<size_t>(lost_count)}));
  });
}

gossamerResult_t gossamerMethodSave(gossamerMethod_t method, void* state, size_t* bytes) {
  if (method == nullptr) return refuse(kNoMethod);
  if (bytes == nullptr) return refuse(kNoResult);
  return guarded([&] {
    const Result<std::vector<std::byte>> saved = method->method->save();
    if (!saved) return finish(saved.status());
    const size_t room = std::exchange(*bytes, saved->size());
    if (state == nullptr) return gossamerSuccess;
    if (room < saved->size()) {
      return refuse("there is too little room for the state; *bytes tells now how much it needs");
    }
    std::memcpy(state, saved->data(), saved->size());
    return gossamerSuccess;
  });
}

gossamerResult_t gossamerMethodLoad(gossamerMethod_t method, const void* state, size_t bytes) {
  if (method == nullptr) return refuse(kNoMethod);
  if (state == nullptr) return refuse("the state is null; gossamerMethodSave writes one");
  return guarded([&] {
    return finish(method->method->load({static_cast<const std::byte*>(state), bytes}));
  });
}

gossamerResult_t gossamerMethodDestroy(gossamerMethod_t method) {
  if (method == nullptr) return refuse(kNoMethod);
  return guarded([&] {
    delete method;
    return gossamerSuccess;
  });
}

}  // extern "C"
