/* The C API's compressed collectives, from C99, among three processes. */

#define _POSIX_C_SOURCE 200809L

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gossamer/gossamer_compress.h"
#include "tests/c_ranks.h"

enum { kRanks = 3, kCount = 600 };

static float x[kCount], y[kCount], all[kRanks * kCount], residual[2 * kCount], next[2 * kCount];

/* Whole numbers up to 127 times a scale come back as they were, at the first encoding. */
static void fill(int rank) {
  int i;
  for (i = 0; i < kCount; ++i) x[i] = (float)(i % 2 == 0 ? 127 : rank + i % 50);
}

static float sum_at(int i) {
  return (float)(i % 2 == 0 ? 127 * kRanks : kRanks * (i % 50) + 3);
}

static void test_codecs(void) {
  gossamerCodec_t codec = NULL;
  uint64_t bytes = 0;
  REFUSED(gossamerCodecCreate(&codec, "nonsense"), "int8");
  REFUSED(gossamerCodecCreate(&codec, NULL), "null");
  REFUSED(gossamerCodecCreate(NULL, "int8"), "result");
  REQUIRE(codec == NULL && gossamerCodecName(codec) == NULL);
  DONE(gossamerCodecCreate(&codec, "int8:block=256"));
  REQUIRE(strstr(gossamerCodecName(codec), "int8:block=256") != NULL);
  DONE(gossamerCodecBytesMax(codec, 256, &bytes));
  REQUIRE(bytes == 260);
  REFUSED(gossamerCodecBytesMax(NULL, 256, &bytes), "codec is null");
  DONE(gossamerCodecDestroy(codec));
  DONE(gossamerCodecDestroy(NULL));
}

static void test_all_reduces(gossamerComm_t comm, int rank) {
  gossamerCompression_t compression = GOSSAMER_COMPRESSION_INITIALIZER;
  gossamerWork_t work = NULL;
  uint64_t floats = 0;
  uint64_t not_finite = 0;
  int i;
  DONE(gossamerCodecCreate(&compression.codec, "int8:block=256"));
  DONE(gossamerAllReduceResidualCount(kCount, gossamerFloat32, gossamerSum, 0, compression.codec,
                                      comm, &floats));
  REQUIRE(floats >= kCount && floats <= 2 * kCount);
  compression.residual = residual;
  compression.next_residual = next;
  compression.not_finite = &not_finite;
  fill(rank);
  DONE(gossamerAllReduceCompressed(x, y, kCount, gossamerFloat32, gossamerSum, &compression, comm));
  for (i = 0; i < kCount; ++i) REQUIRE(fabs(y[i] - sum_at(i)) < 3);
  for (i = 0; i < kCount; ++i) REQUIRE(fabs(next[i]) < 1e-4); /* nothing was lost of the input */
  DONE(gossamerAllReduceCompressedStart(x, all, kCount, gossamerFloat32, gossamerSum, &compression,
                                        comm, &work));
  DONE(gossamerWorkWait(work, -1));
  DONE(gossamerWorkFree(work));
  REQUIRE(memcmp(y, all, sizeof(y)) == 0 && not_finite == 0);
  compression.residual = NULL;
  compression.next_residual = NULL;
  DONE(gossamerAllReduceCompressed(x, x, kCount, gossamerFloat32, gossamerAvg, &compression, comm));
  for (i = 0; i < kCount; ++i) REQUIRE(fabs(3 * x[i] - sum_at(i)) < 3);
  DONE(gossamerCodecDestroy(compression.codec));
}

static void test_others(gossamerComm_t comm, int rank) {
  gossamerCompression_t compression = GOSSAMER_COMPRESSION_INITIALIZER;
  gossamerGraph_t graph = NULL;
  uint64_t floats = 0;
  int i;
  DONE(gossamerCodecCreate(&compression.codec, "int8:block=256"));
  fill(rank);
  DONE(gossamerAllGatherCompressed(x, all, kCount, gossamerFloat32, &compression, comm));
  for (i = 0; i < kRanks * kCount; ++i) {
    const int odd = i % kCount;
    REQUIRE(fabs(all[i] - (odd % 2 == 0 ? 127 : i / kCount + odd % 50)) < 1e-4);
  }
  DONE(gossamerReduceScatterCompressed(all, y, kCount, gossamerFloat32, gossamerAvg, &compression,
                                       comm));
  for (i = 0; i < kCount; ++i) REQUIRE(fabs(y[i] - x[i]) < 1e-3);
  DONE(gossamerGraphCreate(&graph, "ring", kRanks, 1));
  DONE(gossamerNeighborAverageCompressed(x, y, kCount, gossamerFloat32, graph, 0, &compression,
                                         comm));
  for (i = 0; i < kCount; ++i) REQUIRE(fabs(3 * y[i] - sum_at(i)) < 1e-3);
  DONE(
      gossamerAllGatherResidualCount(kCount, gossamerFloat32, 0, compression.codec, comm, &floats));
  REQUIRE(floats == kCount);
  DONE(gossamerReduceScatterResidualCount(kCount, gossamerFloat32, gossamerSum, 1,
                                          compression.codec, comm, &floats));
  REQUIRE(floats == kRanks * kCount);
  REFUSED(
      gossamerNeighborAverageCompressed(x, y, kCount, gossamerFloat32, NULL, 0, &compression, comm),
      "graph");
  DONE(gossamerGraphDestroy(graph));
  DONE(gossamerCodecDestroy(compression.codec));
}

/* Every collective, in every form: the same bits each time. */
static void test_forms(gossamerComm_t comm, int rank) {
  static float first[kRanks * kCount], again[kRanks * kCount], in[kRanks * kCount];
  gossamerCompression_t compression = GOSSAMER_COMPRESSION_INITIALIZER;
  gossamerCall_t call = GOSSAMER_CALL_INITIALIZER;
  gossamerWork_t work = NULL;
  gossamerPlan_t plan = NULL;
  int kind, i;
  DONE(gossamerCodecCreate(&compression.codec, "int8:block=64,rounding=stochastic"));
  DONE(gossamerGraphCreate(&call.graph, "ring", kRanks, 1));
  for (i = 0; i < kRanks * kCount; ++i) in[i] = (float)((i * 37 + rank * 11) % 101) / 7;
  call.count = kCount;
  call.root = 1;
  call.sendbuff = in;
  for (kind = gossamerCallAllReduce; kind <= gossamerCallNeighborAllGather; ++kind) {
    call.collective = (gossamerCollective_t)kind;
    memset(first, 0, sizeof(first));
    memset(again, 0, sizeof(again));
    compression.own_seed = 1;
    call.recvbuff = first;
    DONE(gossamerCallCompressed(&call, &compression, comm));
    call.recvbuff = again;
    DONE(gossamerCallCompressedStart(&call, &compression, comm, &work));
    DONE(gossamerWorkWait(work, -1));
    DONE(gossamerWorkFree(work));
    REQUIRE(memcmp(first, again, sizeof(first)) == 0);
    DONE(gossamerGroupStart());
    DONE(gossamerCallCompressed(&call, &compression, comm));
    DONE(gossamerGroupEnd());
    REQUIRE(memcmp(first, again, sizeof(first)) == 0);
    DONE(gossamerCallCompressedInit(&call, &compression, comm, &plan));
    for (i = 0; i < 3; ++i) {
      compression.own_seed = i == 1 ? 2 : 1; /* read anew by every start */
      memset(again, 0, sizeof(again));
      DONE(gossamerStart(plan));
      DONE(gossamerWait(plan, -1));
      if (i != 1) REQUIRE(memcmp(first, again, sizeof(first)) == 0);
      if (i == 1 && kind == gossamerCallAllReduce) {
        REQUIRE(memcmp(first, again, sizeof(first)) != 0);
      }
    }
    DONE(gossamerPlanFree(plan));
    call.count = 0;
    DONE(gossamerCallCompressed(&call, &compression, comm));
    call.count = kCount;
  }
  DONE(gossamerGraphDestroy(call.graph));
  DONE(gossamerCodecDestroy(compression.codec));
}

static void test_broadcasts(gossamerComm_t comm, int rank) {
  gossamerCompression_t compression = GOSSAMER_COMPRESSION_INITIALIZER;
  gossamerCall_t call = GOSSAMER_CALL_INITIALIZER;
  gossamerGraph_t graph = NULL;
  uint64_t floats = 1;
  int i, count = 0;
  DONE(gossamerCodecCreate(&compression.codec, "int8:block=256"));
  fill(rank);
  DONE(gossamerBroadcastCompressed(x, y, kCount, gossamerFloat32, 2, &compression, comm));
  for (i = 0; i < kCount; ++i) REQUIRE(fabs(y[i] - (i % 2 == 0 ? 127 : 2 + i % 50)) < 1e-4);
  call.collective = gossamerCallBroadcast;
  call.count = kCount;
  call.root = 2;
  DONE(gossamerCallResidualCount(&call, 0, compression.codec, comm, &floats));
  REQUIRE(floats == (rank == 2 ? kCount : 0));
  DONE(gossamerGraphCreate(&graph, "ring", kRanks, 1));
  DONE(gossamerGraphSources(graph, 0, rank, &count, NULL));
  REQUIRE(count == kRanks - 1);
  DONE(gossamerNeighborAllGatherCompressed(x, all, kCount, gossamerFloat32, graph, 0, &compression,
                                           comm));
  for (i = 0; i < count * kCount; ++i) {
    const int odd = i % kCount;
    const int source = i / kCount < rank ? i / kCount : i / kCount + 1;
    REQUIRE(fabs(all[i] - (odd % 2 == 0 ? 127 : source + odd % 50)) < 1e-4);
  }
  DONE(gossamerGraphDestroy(graph));
  DONE(gossamerCodecDestroy(compression.codec));
}

static void test_pairs(gossamerComm_t comm, int rank) {
  gossamerCompression_t compression = GOSSAMER_COMPRESSION_INITIALIZER;
  int i;
  DONE(gossamerCodecCreate(&compression.codec, "int8:block=256"));
  fill(rank);
  if (rank < 2) {
    DONE(gossamerPairGossipCompressed(x, y, kCount, gossamerFloat32, 1 - rank, &compression, comm));
    for (i = 0; i < kCount; ++i) REQUIRE(fabs(y[i] - (i % 2 == 0 ? 127 : 0.5 + i % 50)) < 1e-4);
  }
  REFUSED(gossamerPairGossipCompressed(x, y, 1, gossamerFloat32, rank, &compression, comm),
          "itself");
  REFUSED(gossamerPairGossipCompressed(x, y, 1, gossamerFloat32, 0, NULL, comm), "INITIALIZER");
  DONE(gossamerCodecDestroy(compression.codec));
}

/* Ranks that give different codecs are all told. */
static void test_mismatch(gossamerComm_t all_ranks, int rank) {
  gossamerCompression_t compression = GOSSAMER_COMPRESSION_INITIALIZER;
  gossamerComm_t comm = NULL;
  DONE(gossamerCommSplit(all_ranks, 0, rank, &comm, NULL));
  DONE(gossamerCodecCreate(&compression.codec, rank == 1 ? "fp16" : "int8"));
  REQUIRE(gossamerAllGatherCompressed(x, all, kCount, gossamerFloat32, &compression, comm) ==
          gossamerMismatch);
  REQUIRE(strstr(gossamerGetLastError(comm), "codec fp16") != NULL);
  REQUIRE(strstr(gossamerGetLastError(comm), "codec int8") != NULL);
  DONE(gossamerCommDestroy(comm));
  DONE(gossamerCodecDestroy(compression.codec));
}

static void test_bad_calls(gossamerComm_t comm) {
  gossamerCompression_t compression = GOSSAMER_COMPRESSION_INITIALIZER;
  const gossamerRedOp_t sum = gossamerSum;
  gossamerWork_t work = NULL;
  uint64_t floats = 0;
  REFUSED(gossamerAllReduceCompressed(x, y, 1, gossamerFloat32, sum, NULL, comm), "INITIALIZER");
  REFUSED(gossamerAllReduceCompressed(x, y, 1, gossamerFloat32, sum, &compression, comm),
          "gossamerCodecCreate");
  DONE(gossamerCodecCreate(&compression.codec, "int8"));
  REFUSED(gossamerAllReduceCompressed(x, y, 1, gossamerFloat32, sum, &compression, NULL),
          "communicator is null");
  REFUSED(gossamerAllReduceCompressed(x, y, 1, gossamerInt32, sum, &compression, comm),
          "float type");
  REFUSED(gossamerAllReduceCompressed(x, y, 1, gossamerFloat32, gossamerMax, &compression, comm),
          "averaged");
  REFUSED(gossamerAllReduceCompressed(x, y, 1, gossamerFloat32, (gossamerRedOp_t)256, &compression,
                                      comm),
          "operation");
  REFUSED(gossamerAllReduceCompressed(NULL, y, 1, gossamerFloat32, sum, &compression, comm),
          "null");
  REFUSED(gossamerAllReduceCompressedStart(x, y, 1, gossamerFloat32, sum, &compression, comm, NULL),
          "result");
  REFUSED(gossamerAllReduceCompressedStart(x, y, 1, gossamerFloat32, sum, NULL, comm, &work),
          "INITIALIZER");
  REFUSED(gossamerAllReduceResidualCount(1, gossamerFloat32, sum, 0, NULL, comm, &floats),
          "codec is null");
  REFUSED(gossamerAllReduceResidualCount(1, gossamerFloat32, sum, 0, compression.codec, comm, NULL),
          "result");
  {
    gossamerCall_t call = GOSSAMER_CALL_INITIALIZER;
    gossamerPlan_t plan = NULL;
    call.sendbuff = x;
    call.recvbuff = x;
    call.count = 1;
    REFUSED(gossamerCallCompressed(NULL, &compression, comm), "GOSSAMER_CALL_INITIALIZER");
    REFUSED(gossamerCallCompressed(&call, NULL, comm), "INITIALIZER");
    REFUSED(gossamerCallCompressedStart(&call, &compression, comm, NULL), "result");
    REFUSED(gossamerCallCompressedInit(&call, &compression, comm, NULL), "result");
    REFUSED(gossamerCallCompressedInit(&call, NULL, comm, &plan), "INITIALIZER");
    REFUSED(gossamerCallCompressedInit(&call, &compression, NULL, &plan), "communicator is null");
    REFUSED(gossamerCallResidualCount(&call, 1, NULL, comm, &floats), "codec is null");
    call.collective = gossamerCallNeighborAverage;
    REFUSED(gossamerCallCompressed(&call, &compression, comm), "graph");
    call.collective = (gossamerCollective_t)77;
    REFUSED(gossamerCallCompressed(&call, &compression, comm), "gossamerCollective_t");
    call.collective = gossamerCallBroadcast;
    call.root = kRanks;
    REFUSED(gossamerCallCompressed(&call, &compression, comm), "root");
    call.collective = gossamerCallReduce;
    call.op = (gossamerRedOp_t)77;
    REFUSED(gossamerCallCompressed(&call, &compression, comm), "gossamerRedOp_t");
    call.size = 8;
    REFUSED(gossamerCallCompressed(&call, &compression, comm), "another version");
    REQUIRE(plan == NULL);
  }
  compression.size = 8;
  REFUSED(gossamerAllReduceCompressed(x, y, 1, gossamerFloat32, sum, &compression, comm),
          "another version");
  DONE(gossamerCodecDestroy(compression.codec));
}

static void run_rank(int rank, const char* place) {
  gossamerComm_t comm = NULL;
  DONE(gossamerCommInitRendezvous(&comm, kRanks, place, rank, NULL));
  test_all_reduces(comm, rank);
  test_others(comm, rank);
  test_forms(comm, rank);
  test_broadcasts(comm, rank);
  test_pairs(comm, rank);
  test_mismatch(comm, rank);
  test_bad_calls(comm);
  DONE(gossamerBarrier(comm));
  DONE(gossamerCommDestroy(comm));
}

int main(void) {
  test_codecs();
  return run_ranks(kRanks, run_rank);
}
