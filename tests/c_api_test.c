/* Every function of the C API, from C99: what it does, and what it says when it cannot. */

#define _POSIX_C_SOURCE 200809L

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "gossamer/gossamer.h"
#include "tests/c_ranks.h"

enum { kRanks = 3, kCount = 1000, kIds = 3 };

static void sleep_ms(long ms) {
  struct timespec t;
  t.tv_sec = ms / 1000;
  t.tv_nsec = ms % 1000 * 1000000;
  nanosleep(&t, NULL);
}

/* Where the ranks wait for each other: each has a pipe to read from. */
static int gates[kRanks][2];
/* Where rank 0 writes ids, for each of the others. */
static int id_pipe[2];

static void meet(int rank) {
  char byte = 0;
  int i;
  if (rank != 0) {
    REQUIRE(write(gates[0][1], &byte, 1) == 1);
    REQUIRE(read(gates[rank][0], &byte, 1) == 1);
    return;
  }
  for (i = 1; i < kRanks; ++i) REQUIRE(read(gates[0][0], &byte, 1) == 1);
  for (i = 1; i < kRanks; ++i) REQUIRE(write(gates[i][1], &byte, 1) == 1);
}

/* --- calls that need no group ------------------------------------------------------------------
 */

static void test_version_and_words(void) {
  int version = 0;
  int result;
  REQUIRE(gossamerGetVersion(&version) == gossamerSuccess);
  REQUIRE(version == GOSSAMER_VERSION_CODE);
  REFUSED(gossamerGetVersion(NULL), "null");
  for (result = gossamerSuccess; result <= gossamerInProgress + 1; ++result) {
    const char* words = gossamerGetErrorString((gossamerResult_t)result);
    REQUIRE(words != NULL && words[0] != '\0');
    REQUIRE((result > gossamerInProgress) == (strcmp(words, "unknown result code") == 0));
  }
}

static void test_memory(void) {
  void* memory = NULL;
  char* bytes;
  int i;
  REQUIRE(gossamerMemAlloc(&memory, 10000) == gossamerSuccess);
  bytes = memory;
  for (i = 0; i < 10000; ++i) REQUIRE(bytes[i] == 0);
  memset(bytes, 1, 10000);
  REFUSED(gossamerMemFree(bytes + 8), "");
  REQUIRE(gossamerMemFree(memory) == gossamerSuccess);
  REFUSED(gossamerMemFree(memory), "");
  REFUSED(gossamerMemAlloc(&memory, 0), "");
  REQUIRE(memory == NULL);
  REFUSED(gossamerMemAlloc(NULL, 8), "null");
}

static void test_joining_badly(void) {
  gossamerConfig_t config = GOSSAMER_CONFIG_INITIALIZER;
  gossamerComm_t comm = NULL;
  gossamerUniqueId id;
  memset(&id, 0, sizeof(id));
  REFUSED(gossamerGetUniqueId(NULL), "null");
  REFUSED(gossamerCommInit(NULL, 1, id, 0), "null");
  REFUSED(gossamerCommInit(&comm, 0, id, 0), "size");
  REFUSED(gossamerCommInit(&comm, 2, id, 2), "rank 2");
  REFUSED(gossamerCommInit(&comm, 2, id, -1), "rank -1");
  REFUSED(gossamerCommInit(&comm, 2, id, 1), "id"); /* of zeros: nobody made it */
  REFUSED(gossamerCommInitRendezvous(&comm, 2, NULL, 0, NULL), "rendezvous");
  REFUSED(gossamerCommInitRendezvous(&comm, 2, "", 0, NULL), "rendezvous");
  REFUSED(gossamerCommInitRendezvous(&comm, 2, "carrier pigeon", 0, NULL), "carrier pigeon");
  REFUSED(gossamerCommInitRendezvous(NULL, 1, "", 0, NULL), "null");
  REFUSED(gossamerCommInitEnv(NULL, NULL), "null");
  config.transport = "pigeon";
  REFUSED(gossamerCommInitConfig(&comm, 1, id, 0, &config), "pigeon");
  config.transport = NULL;
  config.algorithm = "guess";
  REFUSED(gossamerCommInitConfig(&comm, 1, id, 0, &config), "guess");
  config.algorithm = NULL;
  config.timeout_ms = -1;
  REFUSED(gossamerCommInitConfig(&comm, 1, id, 0, &config), "timeout");
  config.timeout_ms = 0;
  config.membership = 1;
  config.probe_interval_ms = 1;
  REFUSED(gossamerCommInitConfig(&comm, 1, id, 0, &config), "probe");
  config.size = offsetof(gossamerConfig_t, membership) + sizeof(int); /* as it was first */
  DONE(gossamerCommInitEnv(&comm, &config));
  DONE(gossamerCommDestroy(comm));
  comm = NULL;
  config.size = 8; /* as if compiled with another version's header */
  REFUSED(gossamerCommInitEnv(&comm, &config), "GOSSAMER_CONFIG_INITIALIZER");
  REQUIRE(comm == NULL);
}

static void test_null_handles(void) {
  int number = 0;
  float x = 0;
  gossamerResult_t error;
  gossamerWork_t work = NULL;
  REFUSED(gossamerCommAbort(NULL), "null");
  REFUSED(gossamerCommCount(NULL, &number), "null");
  REFUSED(gossamerCommUserRank(NULL, &number), "null");
  REFUSED(gossamerCommGetAsyncError(NULL, &error), "null");
  REFUSED(gossamerCommFailedRank(NULL, &number), "null");
  REFUSED(gossamerAllReduce(&x, &x, 1, gossamerFloat, gossamerSum, NULL), "null");
  REFUSED(gossamerAllReduceStart(&x, &x, 1, gossamerFloat, gossamerSum, NULL, &work), "null");
  REFUSED(gossamerAllReducePreMulSum(&x, &x, 1, gossamerFloat, 2.0, NULL), "null");
  REFUSED(gossamerAllReduceUser(&x, &x, 1, gossamerFloat, NULL, NULL, NULL), "null");
  REFUSED(gossamerAllGather(&x, &x, 1, gossamerFloat, NULL), "null");
  REFUSED(gossamerAllGatherStart(&x, &x, 1, gossamerFloat, NULL, &work), "null");
  REFUSED(gossamerWorkTest(NULL, &number), "null");
  REFUSED(gossamerWorkWait(NULL, 0), "null");
  REQUIRE(gossamerWorkFree(NULL) == gossamerSuccess);
  REQUIRE(gossamerCommDestroy(NULL) == gossamerSuccess);
}

static void test_one_rank_alone(void) {
  gossamerConfig_t config = GOSSAMER_CONFIG_INITIALIZER;
  gossamerComm_t comm = NULL;
  gossamerResult_t error = gossamerAborted;
  float x[2] = {3, 4};
  float y[2] = {0, 0};
  int number = -1;
  config.name = "alone";
  REQUIRE(gossamerCommInitEnv(&comm, &config) == gossamerSuccess);
  REQUIRE(gossamerCommCount(comm, &number) == gossamerSuccess && number == 1);
  REQUIRE(gossamerCommUserRank(comm, &number) == gossamerSuccess && number == 0);
  REQUIRE(gossamerCommGetAsyncError(comm, &error) == gossamerSuccess && error == gossamerSuccess);
  REQUIRE(gossamerCommFailedRank(comm, &number) == gossamerSuccess && number == -1);
  REFUSED(gossamerCommCount(comm, NULL), "null");
  REFUSED(gossamerCommUserRank(comm, NULL), "null");
  REFUSED(gossamerCommGetAsyncError(comm, NULL), "null");
  REFUSED(gossamerCommFailedRank(comm, NULL), "null");
  REQUIRE(gossamerAllReduce(x, y, 2, gossamerFloat, gossamerAvg, comm) == gossamerSuccess);
  REQUIRE(y[0] == 3 && y[1] == 4);
  REQUIRE(gossamerAllGather(x, y, 2, gossamerFloat, comm) == gossamerSuccess);
  REQUIRE(gossamerAllReducePreMulSum(x, y, 2, gossamerFloat, 0.5, comm) == gossamerSuccess);
  REQUIRE(y[0] == 1.5F && y[1] == 2);
  REQUIRE(gossamerCommDestroy(comm) == gossamerSuccess);
}

/* --- among kRanks processes --------------------------------------------------------------------
 */

static void maximum(void* into, const void* from, uint64_t count, void* context) {
  int64_t* a = into;
  const int64_t* b = from;
  uint64_t i;
  for (i = 0; i < count; ++i) a[i] = a[i] > b[i] ? a[i] : b[i];
  *(int*)context += 1;
}

static void test_blocking_calls(gossamerComm_t comm, int rank) {
  static int64_t x[kCount], y[kCount], all[kRanks * kCount];
  int folds = 0;
  int i;
  for (i = 0; i < kCount; ++i) x[i] = i + rank;
  REQUIRE(gossamerAllReduce(x, y, kCount, gossamerInt64, gossamerSum, comm) == gossamerSuccess);
  for (i = 0; i < kCount; ++i) REQUIRE(y[i] == 3 * i + 3 && x[i] == i + rank);
  REQUIRE(gossamerAllReduce(x, y, kCount, gossamerInt64, gossamerProd, comm) == gossamerSuccess);
  for (i = 0; i < kCount; ++i) REQUIRE(y[i] == (int64_t)i * (i + 1) * (i + 2));
  REQUIRE(gossamerAllReduce(x, y, kCount, gossamerInt64, gossamerMax, comm) == gossamerSuccess);
  for (i = 0; i < kCount; ++i) REQUIRE(y[i] == i + 2);
  REQUIRE(gossamerAllReduce(x, y, kCount, gossamerInt64, gossamerMin, comm) == gossamerSuccess);
  for (i = 0; i < kCount; ++i) REQUIRE(y[i] == i);
  REQUIRE(gossamerAllReduce(x, y, kCount, gossamerInt64, gossamerAvg, comm) == gossamerSuccess);
  for (i = 0; i < kCount; ++i) REQUIRE(y[i] == i + 1);
  REQUIRE(gossamerAllReducePreMulSum(x, y, kCount, gossamerInt64, rank, comm) == gossamerSuccess);
  for (i = 0; i < kCount; ++i) REQUIRE(y[i] == (i + 1) + 2 * (i + 2));
  REQUIRE(gossamerAllReduceUser(x, y, kCount, gossamerInt64, maximum, &folds, comm) ==
          gossamerSuccess);
  for (i = 0; i < kCount; ++i) REQUIRE(y[i] == i + 2);
  REQUIRE(folds > 0);
  REQUIRE(gossamerAllGather(x, all, kCount, gossamerInt64, comm) == gossamerSuccess);
  for (i = 0; i < kRanks * kCount; ++i) REQUIRE(all[i] == i % kCount + i / kCount);
  /* in place */
  memcpy(all + rank * kCount, x, sizeof(x));
  REQUIRE(gossamerAllGather(all + rank * kCount, all, kCount, gossamerInt64, comm) ==
          gossamerSuccess);
  for (i = 0; i < kRanks * kCount; ++i) REQUIRE(all[i] == i % kCount + i / kCount);
  REQUIRE(gossamerAllReduce(x, x, kCount, gossamerInt64, gossamerSum, comm) == gossamerSuccess);
  for (i = 0; i < kCount; ++i) REQUIRE(x[i] == 3 * i + 3);
}

static void test_bad_calls(gossamerComm_t comm) {
  float x[4] = {0, 0, 0, 0};
  gossamerWork_t work = NULL;
  gossamerResult_t error;
  REFUSED(gossamerAllReduce(NULL, x, 1, gossamerFloat, gossamerSum, comm), "input");
  REFUSED(gossamerAllReduce(x, NULL, 1, gossamerFloat, gossamerSum, comm), "output");
  REFUSED(gossamerAllReduce(x, x + 1, 2, gossamerFloat, gossamerSum, comm), "overlap");
  REFUSED(gossamerAllReduce(x, x, SIZE_MAX, gossamerFloat, gossamerSum, comm), "count");
  REFUSED(gossamerAllReduce(x, x, 1, (gossamerDataType_t)12, gossamerSum, comm), "type");
  REFUSED(gossamerAllReduce(x, x, 1, (gossamerDataType_t)-1, gossamerSum, comm), "type");
  REFUSED(gossamerAllReduce(x, x, 1, (gossamerDataType_t)256, gossamerSum, comm), "type");
  REFUSED(gossamerAllReduce(x, x, 1, gossamerFloat, (gossamerRedOp_t)5, comm), "operation");
  REFUSED(gossamerAllReduce(x, x, 1, gossamerFloat, (gossamerRedOp_t)-1, comm), "operation");
  REFUSED(gossamerAllReduceUser(x, x, 1, gossamerFloat, NULL, NULL, comm), "function");
  REFUSED(gossamerAllReducePreMulSum(x, x, 1, (gossamerDataType_t)256, 1, comm), "type");
  REFUSED(gossamerAllGather(x, x + 1, 1, (gossamerDataType_t)256, comm), "type");
  REFUSED(gossamerAllGather(NULL, x, 1, gossamerFloat, comm), "input");
  REFUSED(gossamerAllReduceStart(x, x, 1, gossamerFloat, gossamerSum, comm, NULL), "null");
  REFUSED(gossamerAllGatherStart(x, x, 1, gossamerFloat, comm, NULL), "null");
  /* what is wrong with an asynchronous call is told at once or by its work */
  if (gossamerAllReduceStart(NULL, x, 1, gossamerFloat, gossamerSum, comm, &work) ==
      gossamerSuccess) {
    REFUSED(gossamerWorkWait(work, -1), "input");
    REQUIRE(gossamerWorkFree(work) == gossamerSuccess);
  }
  REQUIRE(gossamerAllReduceStart(x, x, 1, (gossamerDataType_t)256, gossamerSum, comm, &work) !=
              gossamerSuccess ||
          gossamerWorkWait(work, -1) == gossamerInvalidArgument);
  REQUIRE(gossamerWorkFree(work) == gossamerSuccess);
  /* refused calls end nothing */
  REQUIRE(gossamerCommGetAsyncError(comm, &error) == gossamerSuccess && error == gossamerSuccess);
}

static void test_asynchronous_calls(gossamerComm_t comm, int rank) {
  static int64_t x[kCount], all[kRanks * kCount];
  gossamerWork_t sum = NULL, gather = NULL;
  int done = -1;
  int i;
  for (i = 0; i < kCount; ++i) x[i] = i + rank;
  if (rank == 1) meet(rank); /* calls after rank 0 has seen that it has not */
  REQUIRE(gossamerAllGatherStart(x, all, kCount, gossamerInt64, comm, &gather) == gossamerSuccess);
  REQUIRE(gossamerAllReduceStart(x, x, kCount, gossamerInt64, gossamerSum, comm, &sum) ==
          gossamerSuccess);
  if (rank == 0) {
    REQUIRE(gossamerWorkTest(sum, &done) == gossamerSuccess && done == 0);
    REQUIRE(gossamerWorkWait(sum, 0) == gossamerInProgress);
    REQUIRE(gossamerWorkWait(sum, 5) == gossamerInProgress);
  }
  if (rank != 1) meet(rank);
  REFUSED(gossamerWorkTest(sum, NULL), "null");
  REQUIRE(gossamerWorkWait(sum, -1) == gossamerSuccess);
  REQUIRE(gossamerWorkTest(gather, &done) == gossamerSuccess && done == 1);
  REQUIRE(gossamerWorkWait(gather, 0) == gossamerSuccess);
  for (i = 0; i < kCount; ++i) REQUIRE(x[i] == 3 * i + 3);
  for (i = 0; i < kRanks * kCount; ++i) REQUIRE(all[i] == i % kCount + i / kCount);
  REQUIRE(gossamerWorkFree(sum) == gossamerSuccess);
  REQUIRE(gossamerWorkFree(gather) == gossamerSuccess);
  /* freeing waits */
  REQUIRE(gossamerAllReduceStart(x, x, kCount, gossamerInt64, gossamerMax, comm, &sum) ==
          gossamerSuccess);
  REQUIRE(gossamerWorkFree(sum) == gossamerSuccess);
  for (i = 0; i < kCount; ++i) REQUIRE(x[i] == 3 * i + 3);
}

static void test_persistent_calls(gossamerComm_t comm, int rank) {
  static int64_t x[kCount], all[kRanks * kCount];
  gossamerPlan_t sum = NULL, gather = NULL, none = NULL;
  void* handle = NULL;
  int done = 0, round, i;
  REFUSED(gossamerAllReduceInit(x, x, kCount, gossamerInt64, gossamerSum, NULL, &sum),
          "communicator is null");
  REFUSED(gossamerAllReduceInit(x, x, kCount, gossamerInt64, gossamerSum, comm, NULL), "null");
  REFUSED(gossamerAllReduceInit(NULL, x, kCount, gossamerInt64, gossamerSum, comm, &none),
          "buffer is null");
  REQUIRE(none == NULL);
  REFUSED(gossamerStart(NULL), "plan is null");
  REFUSED(gossamerWait(NULL, -1), "plan is null");
  REFUSED(gossamerTest(NULL, &done), "plan is null");
  REQUIRE(gossamerPlanFree(NULL) == gossamerSuccess);
  REFUSED(gossamerCommRegister(comm, NULL, 8, &handle), "null");
  REFUSED(gossamerCommDeregister(comm, NULL), "registration");
  if (rank == 0) {
    REQUIRE(gossamerCommRegister(comm, x, sizeof(x), &handle) == gossamerSuccess);
    REQUIRE(handle != NULL);
  }
  REQUIRE(gossamerAllReduceInit(x, x, kCount, gossamerInt64, gossamerSum, comm, &sum) ==
          gossamerSuccess);
  REQUIRE(gossamerAllGatherInit(x, all, kCount, gossamerInt64, comm, &gather) == gossamerSuccess);
  for (round = 0; round < 5; ++round) {
    for (i = 0; i < kCount; ++i) x[i] = rank + round;
    REQUIRE(gossamerStart(sum) == gossamerSuccess);
    REFUSED(gossamerStart(sum), "wait()");
    REQUIRE(gossamerStart(gather) == gossamerSuccess);
    REQUIRE(gossamerWait(gather, -1) == gossamerSuccess);
    REQUIRE(gossamerTest(sum, &done) == gossamerSuccess && done == 1);
    REQUIRE(gossamerWait(sum, 0) == gossamerSuccess);
    for (i = 0; i < kCount; ++i) REQUIRE(x[i] == kRanks * round + kRanks * (kRanks - 1) / 2);
    for (i = 0; i < kRanks * kCount; ++i) REQUIRE(all[i] == x[0]);
  }
  REQUIRE(gossamerPlanFree(sum) == gossamerSuccess);
  REQUIRE(gossamerPlanFree(gather) == gossamerSuccess);
  if (rank == 0) REQUIRE(gossamerCommDeregister(comm, handle) == gossamerSuccess);
}

static void test_library_memory(gossamerComm_t comm, int rank) {
  void* memory = NULL;
  float* x;
  int i;
  const int count = 300000;
  REQUIRE(gossamerMemAlloc(&memory, (size_t)count * sizeof(float)) == gossamerSuccess);
  x = memory;
  for (i = 0; i < count; ++i) x[i] = (float)(i % 100 + rank);
  REQUIRE(gossamerAllReduce(x, x, (size_t)count, gossamerFloat, gossamerSum, comm) ==
          gossamerSuccess);
  for (i = 0; i < count; ++i) REQUIRE(x[i] == (float)(3 * (i % 100) + 3));
  REQUIRE(gossamerMemFree(memory) == gossamerSuccess);
}

/* Ends the group: rank 1 aborts, everybody learns who did. */
static void test_abort(gossamerComm_t comm, int rank) {
  gossamerResult_t error = gossamerSuccess;
  float x = 1;
  int culprit = -1;
  if (rank == 1) {
    sleep_ms(50);
    REQUIRE(gossamerCommAbort(comm) == gossamerSuccess);
    REQUIRE(gossamerCommAbort(comm) == gossamerSuccess);
  }
  REQUIRE(gossamerAllReduce(&x, &x, 1, gossamerFloat, gossamerSum, comm) == gossamerAborted);
  REQUIRE(gossamerCommGetAsyncError(comm, &error) == gossamerSuccess && error == gossamerAborted);
  REQUIRE(gossamerCommFailedRank(comm, &culprit) == gossamerSuccess && culprit == 1);
  REQUIRE(strstr(gossamerGetLastError(comm), "rank 1 called abort()") != NULL);
  REQUIRE(strstr(gossamerGetLastError(NULL), "rank 1 called abort()") != NULL);
  REQUIRE(gossamerAllReduce(&x, &x, 1, gossamerFloat, gossamerSum, comm) == gossamerAborted);
  meet(rank); /* those who call after rank 1 has left might hear that instead */
}

/* A rank that makes another call than the others. */
static void test_mismatch(gossamerComm_t comm, int rank) {
  double x[2] = {0, 0};
  const size_t count = rank == 2 ? 2 : 1;
  REQUIRE(gossamerAllReduce(x, x, count, gossamerDouble, gossamerSum, comm) == gossamerMismatch);
  REQUIRE(strstr(gossamerGetLastError(comm), "rank 2") != NULL);
  meet(rank);
}

static void test_timeout(const gossamerUniqueId* id, int rank) {
  gossamerConfig_t config = GOSSAMER_CONFIG_INITIALIZER;
  gossamerComm_t comm = NULL;
  float x = 1;
  int awaited = -1;
  config.timeout_ms = 4000; /* to join within, too */
  REQUIRE(gossamerCommInitConfig(&comm, kRanks, *id, rank, &config) == gossamerSuccess);
  if (rank == 0) {
    const gossamerResult_t result = gossamerAllReduce(&x, &x, 1, gossamerFloat, gossamerSum, comm);
    REQUIRE(result == gossamerTimeout);
    REQUIRE(strstr(gossamerGetLastError(comm), "GOSSAMER_TIMEOUT_MS") != NULL);
    REQUIRE(gossamerCommFailedRank(comm, &awaited) == gossamerSuccess && awaited > 0);
  }
  meet(rank); /* the others never call */
  REQUIRE(gossamerCommDestroy(comm) == gossamerSuccess);
}

/* Rank 0 makes the ids and hands them to the others. */
static void exchange_ids(int rank, gossamerUniqueId* ids) {
  const size_t bytes = kIds * sizeof(gossamerUniqueId); /* few enough to travel in one piece */
  int i;
  if (rank != 0) {
    REQUIRE(read(id_pipe[0], ids, bytes) == (ssize_t)bytes);
    return;
  }
  for (i = 0; i < kIds; ++i) REQUIRE(gossamerGetUniqueId(&ids[i]) == gossamerSuccess);
  for (i = 1; i < kRanks; ++i) REQUIRE(write(id_pipe[1], ids, bytes) == (ssize_t)bytes);
}

static void run_rank(int rank, const char* place) {
  gossamerUniqueId ids[kIds];
  gossamerConfig_t config = GOSSAMER_CONFIG_INITIALIZER;
  gossamerComm_t comm = NULL;
  int number = -1;
  exchange_ids(rank, ids);
  config.name = "c";
  config.transport = "auto";
  config.algorithm = "ring";
  REQUIRE(gossamerCommInit(&comm, kRanks, ids[0], rank) == gossamerSuccess);
  REQUIRE(gossamerCommCount(comm, &number) == gossamerSuccess && number == kRanks);
  REQUIRE(gossamerCommUserRank(comm, &number) == gossamerSuccess && number == rank);
  test_blocking_calls(comm, rank);
  test_bad_calls(comm);
  test_asynchronous_calls(comm, rank);
  test_persistent_calls(comm, rank);
  test_library_memory(comm, rank);
  test_abort(comm, rank);
  REQUIRE(gossamerCommDestroy(comm) == gossamerSuccess);

  REQUIRE(gossamerCommInitConfig(&comm, kRanks, ids[1], rank, &config) == gossamerSuccess);
  test_blocking_calls(comm, rank);
  test_mismatch(comm, rank);
  REQUIRE(gossamerCommDestroy(comm) == gossamerSuccess);

  config.transport = "tcp";
  REQUIRE(gossamerCommInitRendezvous(&comm, kRanks, place, rank, &config) == gossamerSuccess);
  test_blocking_calls(comm, rank);
  REQUIRE(gossamerCommDestroy(comm) == gossamerSuccess);

  test_timeout(&ids[2], rank);
}

int main(void) {
  int i;
  setenv("GOSSAMER_SOCKET_IFNAME", "lo", 1);
  REQUIRE(strcmp(gossamerGetLastError(NULL), "") == 0);
  test_version_and_words();
  test_memory();
  test_joining_badly();
  test_null_handles();
  test_one_rank_alone();

  REQUIRE(pipe(id_pipe) == 0);
  for (i = 0; i < kRanks; ++i) REQUIRE(pipe(gates[i]) == 0);
  return run_ranks(kRanks, run_rank);
}
