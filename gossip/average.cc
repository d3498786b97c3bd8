// Averaging with neighbors: collectives that have a graph.

#include "gossamer/gossip.h"

namespace gossamer {
namespace {

CollectiveCall averaging(const void* input, void* output, uint64_t count, DataType type,
                         const Graph& graph, uint64_t round) {
  return {.collective = Collective::kNeighborAverage,
          .input = input,
          .output = output,
          .count = count,
          .type = type,
          .graph = &graph,
          .round = round};
}

CollectiveCall gathering(const void* input, void* output, uint64_t count, DataType type,
                         const Graph& graph, uint64_t round) {
  CollectiveCall call = averaging(input, output, count, type, graph, round);
  call.collective = Collective::kNeighborAllGather;
  return call;
}

}  // namespace

Status neighbor_average(Communicator& comm, const void* input, void* output, uint64_t count,
                        DataType type, const Graph& graph, uint64_t round) {
  return comm.run(averaging(input, output, count, type, graph, round));
}

Work start_neighbor_average(Communicator& comm, const void* input, void* output, uint64_t count,
                            DataType type, const Graph& graph, uint64_t round) {
  return comm.start(averaging(input, output, count, type, graph, round));
}

Result<PersistentCollective> plan_neighbor_average(Communicator& comm, const void* input,
                                                   void* output, uint64_t count, DataType type,
                                                   const Graph& graph, uint64_t round) {
  return comm.plan(averaging(input, output, count, type, graph, round));
}

Status neighbor_all_gather(Communicator& comm, const void* input, void* output, uint64_t count,
                           DataType type, const Graph& graph, uint64_t round) {
  return comm.run(gathering(input, output, count, type, graph, round));
}

Work start_neighbor_all_gather(Communicator& comm, const void* input, void* output, uint64_t count,
                               DataType type, const Graph& graph, uint64_t round) {
  return comm.start(gathering(input, output, count, type, graph, round));
}

Result<PersistentCollective> plan_neighbor_all_gather(Communicator& comm, const void* input,
                                                      void* output, uint64_t count, DataType type,
                                                      const Graph& graph, uint64_t round) {
  return comm.plan(gathering(input, output, count, type, graph, round));
}

}  // namespace gossamer
