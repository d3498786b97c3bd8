// The C boundary of gossip: graphs, and the collectives that have one.

#include <memory>
#include <utility>
#include <vector>

#include "src/c_boundary.h"

using gossamer::Collective;
using gossamer::CollectiveCall;
using gossamer::Edge;
using gossamer::Graph;
using gossamer::Result;
using namespace gossamer::boundary;  // NOLINT(google-build-using-namespace)

namespace {

gossamerResult_t hand_over(Result<std::unique_ptr<Graph>> made, gossamerGraph_t* graph) {
  if (!made) return finish(made.status());
  *graph = new gossamerGraph{std::move(made).value()};
  return gossamerSuccess;
}

CollectiveCall neighboring(Collective collective, const void* in, void* out, size_t count,
                           const gossamerDataType_t& type, gossamerGraph_t graph, uint64_t round) {
  return {.collective = collective,
          .input = in,
          .output = out,
          .count = count,
          .type = type_of(type),
          .graph = graph->graph.get(),
          .round = round};
}

}  // namespace

extern "C" {

// --- graphs --------------------------------------------------------------------------------------

gossamerResult_t gossamerGraphCreate(gossamerGraph_t* graph, const char* name, int nranks,
                                     uint64_t seed) {
  if (graph == nullptr) return refuse(kNoResult);
  *graph = nullptr;
  if (name == nullptr) return refuse("the graph's name is null; write for example \"ring\"");
  return guarded([&] { return hand_over(gossamer::make_graph(name, nranks, seed), graph); });
}

gossamerResult_t gossamerGraphCreateEdges(gossamerGraph_t* graph, int nranks, const int* ranks,
                                          size_t edge_count) {
  if (graph == nullptr) return refuse(kNoResult);
  *graph = nullptr;
  if (ranks == nullptr && edge_count > 0) return refuse("the edges are null");
  return guarded([&] {
    std::vector<Edge> edges;
    for (size_t i = 0; i < edge_count; ++i) edges.push_back({ranks[2 * i], ranks[2 * i + 1]});
    return hand_over(gossamer::make_graph(nranks, edges), graph);
  });
}

gossamerResult_t gossamerGraphCreateWeights(gossamerGraph_t* graph, int nranks,
                                            const double* weights) {
  if (graph == nullptr) return refuse(kNoResult);
  *graph = nullptr;
  if (weights == nullptr) return refuse("the weights are null; give nranks * nranks of them");
  return guarded([&] {
    const auto n = static_cast<size_t>(nranks > 0 ? nranks : 0);
    return hand_over(gossamer::make_graph(nranks, std::span(weights, n * n)), graph);
  });
}

gossamerResult_t gossamerGraphHeal(gossamerGraph_t graph, const int* lost, int lost_count,
                                   gossamerGraph_t* healed) {
  if (healed == nullptr) return refuse(kNoResult);
  *healed = nullptr;
  if (graph == nullptr) return refuse(kNoGraph);
  if (lost == nullptr || lost_count <= 0) return refuse("no rank is lost; name at least one");
  return guarded([&] {
    return hand_over(
        gossamer::heal_graph(*graph->graph, std::span(lost, static_cast<size_t>(lost_count))),
        healed);
  });
}

gossamerResult_t gossamerGraphDestroy(gossamerGraph_t graph) {
  if (graph == nullptr) return refuse(kNoGraph);
  delete graph;
  return gossamerSuccess;
}

gossamerResult_t gossamerGraphPeriod(gossamerGraph_t graph, uint64_t* period) {
  if (graph == nullptr) return refuse(kNoGraph);
  if (period == nullptr) return refuse(kNoResult);
  *period = graph->graph->period();
  return gossamerSuccess;
}

gossamerResult_t gossamerGraphSources(gossamerGraph_t graph, uint64_t round, int rank, int* count,
                                      int* sources) {
  if (graph == nullptr) return refuse(kNoGraph);
  if (count == nullptr) return refuse(kNoResult);
  if (rank < 0 || rank >= graph->graph->size()) return refuse("the graph has no such rank");
  return guarded([&] {
    const std::vector<gossamer::Rank> all = graph->graph->mixing(round)->sources(rank);
    *count = static_cast<int>(all.size());
    if (sources != nullptr) std::copy(all.begin(), all.end(), sources);
    return gossamerSuccess;
  });
}

// --- collectives ---------------------------------------------------------------------------------

gossamerResult_t gossamerNeighborAverageInto(const void* sendbuff, void* recvbuff, size_t count,
                                             gossamerDataType_t datatype, gossamerGraph_t graph,
                                             uint64_t round, gossamerComm_t comm) {
  if (comm == nullptr) return refuse(kNoComm);
  if (graph == nullptr) return refuse(kNoGraph);
  return guarded([&] {
    return finish(comm->communicator->run(neighboring(Collective::kNeighborAverage, sendbuff,
                                                      recvbuff, count, datatype, graph, round)));
  });
}

gossamerResult_t gossamerNeighborAverage(void* buff, size_t count, gossamerDataType_t datatype,
                                         gossamerGraph_t graph, uint64_t round,
                                         gossamerComm_t comm) {
  return gossamerNeighborAverageInto(buff, buff, count, datatype, graph, round, comm);
}

gossamerResult_t gossamerNeighborAverageStart(const void* sendbuff, void* recvbuff, size_t count,
                                              gossamerDataType_t datatype, gossamerGraph_t graph,
                                              uint64_t round, gossamerComm_t comm,
                                              gossamerWork_t* work) {
  if (comm == nullptr) return refuse(kNoComm);
  if (graph == nullptr) return refuse(kNoGraph);
  if (work == nullptr) return refuse(kNoResult);
  return guarded([&] {
    return hand_over(
        comm->communicator->start(neighboring(Collective::kNeighborAverage, sendbuff, recvbuff,
                                              count, datatype, graph, round)),
        work);
  });
}

gossamerResult_t gossamerNeighborAverageInit(const void* sendbuff, void* recvbuff, size_t count,
                                             gossamerDataType_t datatype, gossamerGraph_t graph,
                                             uint64_t round, gossamerComm_t comm,
                                             gossamerPlan_t* plan) {
  if (comm == nullptr) return refuse(kNoComm);
  if (graph == nullptr) return refuse(kNoGraph);
  if (plan == nullptr) return refuse(kNoResult);
  *plan = nullptr;
  return guarded([&] {
    return hand_over(comm->communicator->plan(neighboring(Collective::kNeighborAverage, sendbuff,
                                                          recvbuff, count, datatype, graph, round)),
                     plan);
  });
}

gossamerResult_t gossamerNeighborAllGather(const void* sendbuff, void* recvbuff, size_t count,
                                           gossamerDataType_t datatype, gossamerGraph_t graph,
                                           uint64_t round, gossamerComm_t comm) {
  if (comm == nullptr) return refuse(kNoComm);
  if (graph == nullptr) return refuse(kNoGraph);
  return guarded([&] {
    return finish(comm->communicator->run(neighboring(Collective::kNeighborAllGather, sendbuff,
                                                      recvbuff, count, datatype, graph, round)));
  });
}

gossamerResult_t gossamerPairGossip(const void* sendbuff, void* recvbuff, size_t count,
                                    gossamerDataType_t datatype, int peer, gossamerComm_t comm) {
  if (comm == nullptr) return refuse(kNoComm);
  return guarded([&] {
    return finish(gossamer::pair_gossip(*comm->communicator, sendbuff, recvbuff, count,
                                        type_of(datatype), peer));
  });
}

}  // extern "C"
