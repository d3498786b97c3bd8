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
  test_bad_calls(comm);
  DONE(gossamerBarrier(comm));
  DONE(gossamerCommDestroy(comm));
}

int main(void) {
  test_codecs();
  return run_ranks(kRanks, run_rank);
}
