/* The C API's windows, from C99: puts, gets, versions and mass among three processes. */

#define _POSIX_C_SOURCE 200809L

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gossamer/gossamer_window.h"
#include "tests/c_ranks.h"

enum { kRanks = 3, kCount = 500 };

static int is(double value, double expected) {
  return fabs(value - expected) < 1e-12;
}

static void fill(double* x, double value) {
  int i;
  for (i = 0; i < kCount; ++i) x[i] = value;
}

static void require_all(const double* x, double value) {
  int i;
  for (i = 0; i < kCount; ++i) REQUIRE(is(x[i], value));
}

static gossamerWindow_t make(gossamerComm_t comm, double value) {
  double x[kCount];
  gossamerWindow_t window = NULL;
  fill(x, value);
  DONE(gossamerWindowCreate(&window, "c", x, kCount, gossamerFloat64, comm, 20000));
  REQUIRE(window != NULL);
  return window;
}

static void test_puts(gossamerComm_t comm, int rank) {
  const int others[] = {(rank + 1) % kRanks, (rank + 2) % kRanks};
  const double weights[] = {0.25, 0.25};
  double x[kCount], out[kCount];
  uint64_t version = 0, clock = 0;
  gossamerGraph_t graph = NULL;
  gossamerWindow_t window = make(comm, rank);
  DONE(gossamerGraphCreate(&graph, "complete", kRanks, 1));
  DONE(gossamerWindowGet(window, out, others[0], &version));
  require_all(out, others[0]);
  REQUIRE(version == 0);
  DONE(gossamerBarrier(comm));
  fill(x, 10 * rank);
  DONE(gossamerWindowPutNeighbors(window, x, 0.5, graph, 0));
  DONE(gossamerWindowWaitVersions(window, 2, others, 1, -1));
  DONE(gossamerWindowUpdate(window, out, 0.5, 2, others, weights));
  require_all(out, 0.5 * rank + 0.25 * 5 * (others[0] + others[1]));
  DONE(gossamerWindowSet(window, x));
  DONE(gossamerWindowUpdateNeighbors(window, NULL, graph, 0));
  DONE(gossamerWindowValue(window, out));
  require_all(out, (10 * rank + 5 * (others[0] + others[1])) / 3.0);
  DONE(gossamerBarrier(comm)); /* all have read what was put first */
  DONE(gossamerWindowPut(window, x, 1, others[0]));
  DONE(gossamerWindowFlush(window));
  DONE(gossamerWindowClock(window, &clock));
  REQUIRE(clock == 2);
  DONE(gossamerWindowWaitVersions(window, 1, others + 1, 2, 20000));
  DONE(gossamerWindowVersion(window, others[1], &version));
  REQUIRE(version == 2);
  DONE(gossamerGraphDestroy(graph));
  DONE(gossamerWindowFree(window));
}

static void test_accumulates(gossamerComm_t comm, int rank) {
  const int others[] = {(rank + 1) % kRanks, (rank + 2) % kRanks};
  const double weights[] = {1, 1};
  double x[kCount], out[kCount];
  gossamerGraph_t graph = NULL;
  gossamerWindow_t window = make(comm, rank / 3.0);
  DONE(gossamerGraphCreate(&graph, "complete", kRanks, 1));
  fill(x, rank);
  DONE(gossamerWindowAccumulateNeighbors(window, x, 1, graph, 0)); /* a third to each */
  DONE(gossamerWindowFlush(window));
  DONE(gossamerBarrier(comm));
  DONE(gossamerWindowCollect(window, out, 1, 2, others, weights));
  require_all(out, 1); /* the mean of 0, 1 and 2 */
  DONE(gossamerWindowCollect(window, out, 1, 2, others, weights));
  require_all(out, 1);
  DONE(gossamerWindowAccumulate(window, x, 2, others[0]));
  DONE(gossamerWindowFlush(window));
  DONE(gossamerBarrier(comm));
  DONE(gossamerWindowCollect(window, out, 0, 1, others + 1, weights));
  require_all(out, 2 * others[1]);
  DONE(gossamerGraphDestroy(graph));
  DONE(gossamerBarrier(comm));
  if (rank == 2) {
    DONE(gossamerWindowDestroy(window));
  } else {
    const int gone = 2;
    REQUIRE(gossamerWindowWaitVersions(window, 1, &gone, 1000, -1) == gossamerPeerLost);
    REQUIRE(strstr(gossamerGetLastError(NULL), "rank 2") != NULL);
    DONE(gossamerWindowFree(window));
  }
}

static void test_bad_calls(gossamerComm_t comm, int rank) {
  const int self[] = {rank};
  const int other[] = {(rank + 1) % kRanks};
  double x[kCount] = {0};
  uint64_t number = 0;
  gossamerGraph_t graph = NULL;
  gossamerWindow_t window = NULL;
  const gossamerDataType_t type = gossamerFloat64;
  REFUSED(gossamerWindowCreate(NULL, "c", x, kCount, type, comm, 0), "result");
  REFUSED(gossamerWindowCreate(&window, "c", x, kCount, type, NULL, 0), "communicator is null");
  REFUSED(gossamerWindowCreate(&window, NULL, x, kCount, type, comm, 0), "name");
  REFUSED(gossamerWindowCreate(&window, "c", NULL, kCount, type, comm, 0), "null");
  REFUSED(gossamerWindowCreate(&window, "c", x, 0, type, comm, 0), "no elements");
  REFUSED(gossamerWindowCreate(&window, "c", x, kCount, gossamerInt32, comm, 0), "float");
  REFUSED(gossamerWindowCreate(&window, "c", x, kCount, type, comm, -1), "negative");
  REFUSED(gossamerWindowFree(NULL), "gossamerWindowCreate");
  REFUSED(gossamerWindowDestroy(NULL), "gossamerWindowCreate");
  REFUSED(gossamerWindowSet(NULL, x), "gossamerWindowCreate");
  window = make(comm, 1);
  DONE(gossamerGraphCreate(&graph, "ring", 5, 1));
  REFUSED(gossamerWindowPut(window, NULL, 1, other[0]), "null");
  REFUSED(gossamerWindowPut(window, x, 1, rank), "no target");
  REFUSED(gossamerWindowPut(window, x, NAN, other[0]), "finite");
  REFUSED(gossamerWindowPutNeighbors(window, x, 1, graph, 0), "5 ranks");
  REFUSED(gossamerWindowPutNeighbors(window, x, 1, NULL, 0), "gossamerGraphCreate");
  REFUSED(gossamerWindowAccumulate(window, x, 1, kRanks), "no target");
  REFUSED(gossamerWindowAccumulateNeighbors(window, x, 1, graph, 0), "5 ranks");
  REFUSED(gossamerWindowGet(window, NULL, other[0], NULL), "null");
  REFUSED(gossamerWindowValue(window, NULL), "null");
  REFUSED(gossamerWindowUpdate(window, x, 1, 1, NULL, NULL), "sources");
  REFUSED(gossamerWindowUpdate(window, x, 1, 1, other, NULL), "weights");
  REFUSED(gossamerWindowUpdate(window, x, 1, -1, other, x), "negative");
  REFUSED(gossamerWindowUpdateNeighbors(window, x, graph, 0), "5 ranks");
  REFUSED(gossamerWindowCollect(window, x, 1, 1, self, x), "no source");
  REFUSED(gossamerWindowClock(window, NULL), "result");
  REFUSED(gossamerWindowVersion(window, 0, NULL), "result");
  REFUSED(gossamerWindowWaitVersions(window, 1, self, 1, 0), "no source");
  REFUSED(gossamerWindowWaitVersions(window, 1, NULL, 1, 0), "sources");
  REQUIRE(gossamerWindowWaitVersions(window, 1, other, 1, 10) == gossamerTimeout);
  DONE(gossamerWindowClock(window, &number));
  REQUIRE(number == 0);
  DONE(gossamerGraphDestroy(graph));
  DONE(gossamerWindowFree(window));
}

static void run_rank(int rank, const char* place) {
  gossamerComm_t comm = NULL;
  DONE(gossamerCommInitRendezvous(&comm, kRanks, place, rank, NULL));
  test_puts(comm, rank);
  test_accumulates(comm, rank);
  test_bad_calls(comm, rank);
  DONE(gossamerBarrier(comm));
  DONE(gossamerCommDestroy(comm));
}

int main(void) {
  return run_ranks(kRanks, run_rank);
}
