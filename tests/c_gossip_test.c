/* The C API's gossip, from C99: graphs, neighbor averages and pairs, among three processes. */

#define _POSIX_C_SOURCE 200809L

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gossamer/gossamer.h"
#include "tests/c_ranks.h"

enum { kRanks = 3, kCount = 500 };

static int is(double value, double expected) {
  return fabs(value - expected) < 1e-12;
}

static void fill(double* x, int rank) {
  int i;
  for (i = 0; i < kCount; ++i) x[i] = 10 * rank + i;
}

static void test_graphs(void) {
  static const int path[] = {0, 1, 1, 2};
  static const double swap[] = {0, 1, 1, 0};
  static const double lopsided[] = {1, 0, 1, 0};
  gossamerGraph_t graph = NULL;
  uint64_t period = 0;
  int count = 0;
  int sources[4];
  DONE(gossamerGraphCreate(&graph, "base:k=1", 5, 1));
  DONE(gossamerGraphPeriod(graph, &period));
  REQUIRE(period == 5);
  DONE(gossamerGraphDestroy(graph));
  DONE(gossamerGraphCreateEdges(&graph, 3, path, 2));
  DONE(gossamerGraphSources(graph, 9, 1, &count, NULL));
  REQUIRE(count == 2);
  DONE(gossamerGraphSources(graph, 0, 1, &count, sources));
  REQUIRE(sources[0] == 0 && sources[1] == 2);
  REFUSED(gossamerGraphSources(graph, 0, 3, &count, NULL), "no such rank");
  DONE(gossamerGraphDestroy(graph));
  DONE(gossamerGraphCreateWeights(&graph, 2, swap));
  DONE(gossamerGraphDestroy(graph));
  REFUSED(gossamerGraphCreate(&graph, "rink", 4, 1), "ring, torus");
  REQUIRE(graph == NULL);
  REFUSED(gossamerGraphCreate(&graph, NULL, 4, 1), "null");
  REFUSED(gossamerGraphCreate(NULL, "ring", 4, 1), "null");
  REFUSED(gossamerGraphCreateEdges(&graph, 4, path, 2), "not connected");
  REFUSED(gossamerGraphCreateWeights(&graph, 2, lopsided), "column 0");
  REFUSED(gossamerGraphDestroy(NULL), "gossamerGraphCreate");
  REFUSED(gossamerGraphPeriod(NULL, &period), "gossamerGraphCreate");
}

static void test_averages(gossamerComm_t comm, int rank) {
  double x[kCount], y[kCount], all[2 * kCount];
  gossamerGraph_t graph = NULL;
  gossamerWork_t work = NULL;
  gossamerPlan_t plan = NULL;
  int count = 0;
  int sources[kRanks];
  int i;
  DONE(gossamerGraphCreate(&graph, "complete", kRanks, 1));
  fill(x, rank);
  DONE(gossamerNeighborAverageInto(x, y, kCount, gossamerFloat64, graph, 0, comm));
  for (i = 0; i < kCount; ++i) REQUIRE(is(y[i], 10 + i) && is(x[i], 10 * rank + i));
  DONE(gossamerNeighborAverageStart(x, y, kCount, gossamerFloat64, graph, 0, comm, &work));
  DONE(gossamerWorkWait(work, -1));
  DONE(gossamerWorkFree(work));
  DONE(gossamerNeighborAverageInit(x, y, kCount, gossamerFloat64, graph, 0, comm, &plan));
  DONE(gossamerNeighborAllGather(x, all, kCount, gossamerFloat64, graph, 0, comm));
  DONE(gossamerGraphSources(graph, 0, rank, &count, sources));
  for (i = 0; i < 2 * kCount; ++i) {
    REQUIRE(is(all[i], 10 * sources[i / kCount] + i % kCount));
  }
  DONE(gossamerNeighborAverage(x, kCount, gossamerFloat64, graph, 0, comm));
  for (i = 0; i < kCount; ++i) REQUIRE(is(x[i], 10 + i));
  DONE(gossamerGraphDestroy(graph)); /* the plan goes on without it */
  fill(x, rank);
  DONE(gossamerStart(plan));
  DONE(gossamerWait(plan, -1));
  for (i = 0; i < kCount; ++i) REQUIRE(is(y[i], 10 + i));
  DONE(gossamerPlanFree(plan));
}

static void test_pairs(gossamerComm_t comm, int rank) {
  double x[kCount];
  int i;
  fill(x, rank);
  if (rank == 1) return;
  DONE(gossamerPairGossip(x, x, kCount, gossamerFloat64, 2 - rank, comm));
  for (i = 0; i < kCount; ++i) REQUIRE(is(x[i], 10 + i));
}

static void test_bad_calls(gossamerComm_t comm) {
  double x[1] = {0};
  gossamerGraph_t graph = NULL;
  gossamerWork_t work = NULL;
  gossamerPlan_t plan = NULL;
  const gossamerDataType_t type = gossamerFloat64;
  DONE(gossamerGraphCreate(&graph, "ring", kRanks + 1, 1));
  REFUSED(gossamerNeighborAverage(x, 1, type, graph, 0, comm), "4 ranks");
  REFUSED(gossamerNeighborAverage(x, 1, type, NULL, 0, comm), "gossamerGraphCreate");
  REFUSED(gossamerNeighborAverage(x, 1, type, graph, 0, NULL), "communicator is null");
  REFUSED(gossamerNeighborAverageStart(x, x, 1, type, graph, 0, comm, NULL), "result");
  REFUSED(gossamerNeighborAverageStart(x, x, 1, type, NULL, 0, comm, &work), "graph");
  REFUSED(gossamerNeighborAverageInit(x, x, 1, type, graph, 0, comm, NULL), "result");
  REFUSED(gossamerNeighborAverageInit(x, x, 1, type, graph, 0, comm, &plan), "4 ranks");
  REFUSED(gossamerNeighborAllGather(x, x, 1, type, NULL, 0, comm), "graph");
  REFUSED(gossamerPairGossip(x, x, 1, type, kRanks, comm), "no rank");
  REFUSED(gossamerPairGossip(x, x, 1, type, 0, NULL), "communicator is null");
  DONE(gossamerGraphDestroy(graph));
}

static void run_rank(int rank, const char* place) {
  gossamerComm_t comm = NULL;
  DONE(gossamerCommInitRendezvous(&comm, kRanks, place, rank, NULL));
  test_averages(comm, rank);
  test_pairs(comm, rank);
  test_bad_calls(comm);
  DONE(gossamerBarrier(comm));
  DONE(gossamerCommDestroy(comm));
}

int main(void) {
  test_graphs();
  return run_ranks(kRanks, run_rank);
}
