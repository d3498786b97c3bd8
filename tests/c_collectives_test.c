/* The C API's collectives beyond all-reduce and all-gather, from C99: blocking, started and bound
 * to their buffers, among three processes. */

#define _POSIX_C_SOURCE 200809L

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gossamer/gossamer.h"
#include "tests/c_ranks.h"
#include "tests/c_require.h"

enum { kRanks = 3, kCount = 500, kAll = kRanks * kCount };

/* Rank r's element i. */
static int64_t value(int r, int i) {
  return 1000 * (r + 1) + i;
}

static int64_t sum(int i) {
  int64_t all = 0;
  int r;
  for (r = 0; r < kRanks; ++r) all += value(r, i);
  return all;
}

static void fill(int64_t* in, int64_t* out, int rank) {
  int i;
  for (i = 0; i < kAll; ++i) in[i] = value(rank, i);
  for (i = 0; i < kAll; ++i) out[i] = -1;
}

/* How a collective may be run. */
enum Mode { kBlocking, kStarted, kBound };

static void wait_for(gossamerWork_t work) {
  DONE(gossamerWorkWait(work, -1));
  DONE(gossamerWorkFree(work));
}

static void run_twice(gossamerPlan_t plan) {
  int k;
  for (k = 0; k < 2; ++k) {
    DONE(gossamerStart(plan));
    DONE(gossamerWait(plan, -1));
  }
  DONE(gossamerPlanFree(plan));
}

/* CALL(name, arguments): the call in the mode at hand. */
#define CALL(name, ...)                             \
  do {                                              \
    gossamerWork_t work = NULL;                     \
    gossamerPlan_t plan = NULL;                     \
    if (mode == kBlocking) DONE(name(__VA_ARGS__)); \
    if (mode == kStarted) {                         \
      DONE(name##Start(__VA_ARGS__, &work));        \
      wait_for(work);                               \
    }                                               \
    if (mode == kBound) {                           \
      DONE(name##Init(__VA_ARGS__, &plan));         \
      run_twice(plan);                              \
    }                                               \
  } while (0)

static void test_rooted(gossamerComm_t comm, int rank, enum Mode mode, int root) {
  static int64_t in[kAll], out[kAll];
  const gossamerDataType_t type = gossamerInt64;
  const int is_root = rank == root;
  int i;
  fill(in, out, rank);
  CALL(gossamerBroadcast, is_root ? in : NULL, out, kCount, type, root, comm);
  for (i = 0; i < kCount; ++i) REQUIRE(out[i] == value(root, i));

  fill(in, out, rank);
  CALL(gossamerReduce, in, is_root ? out : NULL, kCount, type, gossamerSum, root, comm);
  for (i = 0; i < kCount; ++i) REQUIRE(out[i] == (is_root ? sum(i) : -1));

  fill(in, out, rank);
  CALL(gossamerGather, in, is_root ? out : NULL, kCount, type, root, comm);
  for (i = 0; i < kAll; ++i) REQUIRE(out[i] == (is_root ? value(i / kCount, i % kCount) : -1));

  fill(in, out, rank);
  CALL(gossamerScatter, is_root ? in : NULL, out, kCount, type, root, comm);
  for (i = 0; i < kCount; ++i) REQUIRE(out[i] == value(root, rank * kCount + i));
}

static void test_shares(gossamerComm_t comm, int rank, enum Mode mode) {
  static int64_t in[kAll], out[kAll];
  const gossamerDataType_t type = gossamerInt64;
  int i;
  fill(in, out, rank);
  CALL(gossamerReduceScatter, in, out, kCount, type, gossamerSum, comm);
  for (i = 0; i < kCount; ++i) REQUIRE(out[i] == sum(rank * kCount + i));

  fill(in, out, rank);
  CALL(gossamerAlltoAll, in, out, kCount, type, comm);
  for (i = 0; i < kAll; ++i) {
    REQUIRE(out[i] == value(i / kCount, rank * kCount + i % kCount));
  }
}

static void take_larger(void* into, const void* from, uint64_t count, void* context) {
  int64_t* a = into;
  const int64_t* b = from;
  uint64_t i;
  ++*(int*)context;
  for (i = 0; i < count; ++i) a[i] = a[i] > b[i] ? a[i] : b[i];
}

static void test_own_reductions(gossamerComm_t comm, int rank) {
  static int64_t in[kAll], out[kAll];
  const gossamerDataType_t type = gossamerInt64;
  int calls = 0;
  int i;
  fill(in, out, rank);
  DONE(gossamerReducePreMulSum(in, out, kCount, type, 2.0, 1, comm));
  for (i = 0; i < kCount; ++i) REQUIRE(out[i] == (rank == 1 ? 2 * sum(i) : -1));
  fill(in, out, rank);
  DONE(gossamerReduceScatterPreMulSum(in, out, kCount, type, 3.0, comm));
  for (i = 0; i < kCount; ++i) REQUIRE(out[i] == 3 * sum(rank * kCount + i));
  for (i = 0; i < kAll; ++i) REQUIRE(in[i] == value(rank, i)); /* scaled elsewhere */
  fill(in, out, rank);
  DONE(gossamerReduceUser(in, out, kCount, type, take_larger, &calls, 0, comm));
  for (i = 0; i < kCount && rank == 0; ++i) REQUIRE(out[i] == value(kRanks - 1, i));
  DONE(gossamerReduceScatterUser(in, out, kCount, type, take_larger, &calls, comm));
  for (i = 0; i < kCount; ++i) REQUIRE(out[i] == value(kRanks - 1, rank * kCount + i));
  REQUIRE(calls > 0);
}

static void test_in_place(gossamerComm_t comm, int rank) {
  static int64_t in[kAll], out[kAll];
  gossamerWork_t work = NULL;
  int i;
  fill(in, out, rank);
  DONE(gossamerBcast(in, kCount, gossamerInt64, 2, comm));
  for (i = 0; i < kCount; ++i) REQUIRE(in[i] == value(2, i));
  fill(in, out, rank);
  DONE(gossamerReduceScatter(in, in + rank * kCount, kCount, gossamerInt64, gossamerSum, comm));
  for (i = 0; i < kAll; ++i) {
    REQUIRE(in[i] == (i / kCount == rank ? sum(i) : value(rank, i)));
  }
  DONE(gossamerBarrier(comm));
  DONE(gossamerBarrierStart(comm, &work));
  wait_for(work);
}

static void test_bad_calls(gossamerComm_t comm) {
  static int64_t x[kAll], y[kAll];
  const gossamerDataType_t type = gossamerInt64;
  gossamerWork_t work = NULL;
  gossamerPlan_t plan = NULL;
  REFUSED(gossamerBroadcast(x, y, 1, type, kRanks, comm), "ranks 0 to 2");
  REFUSED(gossamerGather(x, y, 1, type, -1, comm), "root");
  REFUSED(gossamerReduce(x, y, 1, type, (gossamerRedOp_t)77, 0, comm), "gossamerRedOp_t");
  REFUSED(gossamerReduceScatterInit(x, y, 1, type, (gossamerRedOp_t)77, comm, &plan), "RedOp");
  REFUSED(gossamerAlltoAll(x, x, 1, type, comm), "never in place");
  REFUSED(gossamerScatterStart(x, y, 1, type, 0, comm, NULL), "result");
  REFUSED(gossamerAlltoAllInit(x, y, 1, type, comm, NULL), "result");
  REFUSED(gossamerBarrier(NULL), "null");
  REFUSED(gossamerBarrierStart(NULL, &work), "null");
  REFUSED(gossamerBroadcast(x, y, 1, (gossamerDataType_t)99, 0, comm), "type");
  REFUSED(gossamerStart(NULL), "Init");
}

static void run_rank(int rank, const char* place) {
  gossamerComm_t comm = NULL;
  int mode, root;
  DONE(gossamerCommInitRendezvous(&comm, kRanks, place, rank, NULL));
  for (mode = kBlocking; mode <= kBound; ++mode) {
    for (root = 0; root < kRanks; ++root) test_rooted(comm, rank, (enum Mode)mode, root);
    test_shares(comm, rank, (enum Mode)mode);
  }
  test_own_reductions(comm, rank);
  test_in_place(comm, rank);
  test_bad_calls(comm);
  DONE(gossamerCommDestroy(comm));
}

int main(void) {
  return run_ranks(kRanks, run_rank);
}
