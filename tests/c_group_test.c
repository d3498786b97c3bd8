/* The C API beyond one collective at a time: messages, groups, streams, and communicators made from
 * communicators; several ranks in one thread and one process. */

#define _POSIX_C_SOURCE 200809L

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gossamer/gossamer.h"
#include "tests/c_require.h"

enum { kRanks = 4, kCount = 500 };

static gossamerComm_t comms[kRanks];
static int64_t input[kRanks][kRanks * kCount];
static int64_t output[kRanks][kRanks * kCount];

static void fill(void) {
  int r;
  int i;
  for (r = 0; r < kRanks; ++r) {
    for (i = 0; i < kRanks * kCount; ++i) input[r][i] = r * 100000 + i;
  }
  memset(output, 0, sizeof(output));
}

static void test_messages(void) {
  int r;
  int i;
  fill();
  DONE(gossamerGroupStart());
  for (r = 0; r < kRanks; ++r) {
    for (i = 0; i < kRanks; ++i) {
      DONE(gossamerSend(input[r] + i * kCount, kCount, gossamerInt64, i, comms[r]));
      DONE(gossamerRecv(output[r] + i * kCount, kCount, gossamerInt64, i, comms[r]));
    }
  }
  DONE(gossamerGroupEnd());
  for (r = 0; r < kRanks; ++r) {
    for (i = 0; i < kRanks * kCount; ++i) {
      REQUIRE(output[r][i] == i / kCount * 100000 + r * kCount + i % kCount);
    }
  }
}

static void test_works(void) {
  gossamerWork_t out;
  gossamerWork_t in;
  int peer = -1;
  fill();
  DONE(gossamerRecvStart(output[1], kCount, gossamerInt64, 0, comms[1], &in));
  DONE(gossamerSendStart(input[0], kCount, gossamerInt64, 1, comms[0], &out));
  DONE(gossamerWorkWait(out, -1));
  DONE(gossamerWorkWait(in, -1));
  REQUIRE(memcmp(output[1], input[0], kCount * sizeof(int64_t)) == 0);
  DONE(gossamerWorkFree(in));
  DONE(gossamerWorkFree(out));
  DONE(gossamerSendStart(input[3], 7, gossamerInt64, 2, comms[3], &out));
  DONE(gossamerRecvAny(output[2], 7, gossamerInt64, &peer, comms[2]));
  REQUIRE(peer == 3 && output[2][6] == input[3][6]);
  DONE(gossamerWorkFree(out));
}

static void test_uneven_shares(void) {
  static const uint64_t counts[kRanks] = {3, 0, 7, 1};
  static const uint64_t displs[kRanks] = {0, 4, 5, 20};
  uint64_t own[kRanks];
  uint64_t places[kRanks];
  int r;
  int i;
  fill();
  DONE(gossamerGroupStart());
  for (r = 0; r < kRanks; ++r) {
    DONE(gossamerAllGatherV(input[r], counts[r], output[r], counts, displs, gossamerInt64,
                            comms[r]));
  }
  DONE(gossamerGroupEnd());
  for (r = 0; r < kRanks; ++r) {
    REQUIRE(output[r][2] == 2 && output[r][11] == 200006 && output[r][20] == 300000);
    REQUIRE(output[r][3] == 0 && output[r][12] == 0);
  }
  memset(output, 0, sizeof(output));
  DONE(gossamerGroupStart());
  for (r = 0; r < kRanks; ++r) {
    DONE(gossamerGatherV(input[r], counts[r], r == 2 ? output[r] : NULL, r == 2 ? counts : NULL,
                         r == 2 ? displs : NULL, gossamerInt64, 2, comms[r]));
  }
  DONE(gossamerGroupEnd());
  REQUIRE(output[2][11] == 200006 && output[0][11] == 0);
  DONE(gossamerGroupStart());
  for (r = 0; r < kRanks; ++r) {
    DONE(gossamerScatterV(r == 2 ? output[2] : NULL, r == 2 ? counts : NULL, r == 2 ? displs : NULL,
                          input[r], counts[r], gossamerInt64, 2, comms[r]));
  }
  DONE(gossamerGroupEnd());
  REQUIRE(input[3][0] == 300000);
  for (i = 0; i < kRanks; ++i) {
    own[i] = 5;
    places[i] = (uint64_t)i * 5;
  }
  DONE(gossamerGroupStart());
  for (r = 0; r < kRanks; ++r) {
    DONE(gossamerAllToAllV(input[r], own, places, output[r], own, places, gossamerInt64, comms[r]));
  }
  DONE(gossamerGroupEnd());
  REQUIRE(output[1][15] == 300005);
}

static void test_groups(void) {
  double us = 0;
  fill();
  REFUSED(gossamerGroupEnd(), "group_start");
  REFUSED(gossamerGroupSimulateEnd(NULL), "null");
  DONE(gossamerGroupStart());
  DONE(gossamerGroupEnd());
  DONE(gossamerGroupStart());
  DONE(gossamerAllReduce(input[0], output[0], kCount, gossamerInt64, gossamerSum, comms[0]));
  DONE(gossamerGroupSimulateEnd(&us));
  REQUIRE(us > 0 && output[0][1] == 0);
  DONE(gossamerGroupStart());
  REFUSED(gossamerSend(input[0], 1, gossamerInt64, kRanks, comms[0]), "rank 4");
  REFUSED(gossamerRecvAny(output[0], 1, gossamerInt64, (int[1]){0}, comms[0]), "group");
  REFUSED(gossamerGroupEnd(), "rank 4");
}

static void set_to_five(void* value) {
  *(int*)value = 5;
}

static void test_streams(void) {
  gossamerStream_t stream;
  int called = 0;
  int done = 0;
  int r;
  fill();
  REFUSED(gossamerStreamCreate(NULL), "null");
  DONE(gossamerStreamCreate(&stream));
  DONE(gossamerStreamUse(stream));
  DONE(gossamerGroupStart());
  for (r = 0; r < kRanks; ++r) {
    DONE(gossamerAllReduce(input[r], output[r], kCount, gossamerInt64, gossamerMax, comms[r]));
  }
  DONE(gossamerGroupEnd());
  DONE(gossamerStreamUse(NULL));
  DONE(gossamerStreamCall(stream, set_to_five, &called));
  DONE(gossamerStreamSynchronize(stream));
  DONE(gossamerStreamQuery(stream, &done));
  REQUIRE(done == 1 && called == 5);
  for (r = 0; r < kRanks; ++r) REQUIRE(output[r][kCount - 1] == 300000 + kCount - 1);
  REFUSED(gossamerStreamCall(stream, NULL, NULL), "null");
  REFUSED(gossamerStreamQuery(stream, NULL), "null");
  REFUSED(gossamerStreamSynchronize(NULL), "gossamerStreamCreate");
  DONE(gossamerStreamDestroy(stream));
  DONE(gossamerStreamDestroy(NULL));
}

static void test_one_rank_families(void) {
  gossamerConfig_t config = GOSSAMER_CONFIG_INITIALIZER;
  gossamerComm_t one[1];
  gossamerComm_t child;
  int number = -1;
  int out = 0;
  DONE(gossamerCommInitAll(one, 1, NULL));
  config.name = "child";
  DONE(gossamerCommSplit(one[0], 3, 0, &child, &config));
  DONE(gossamerCommCount(child, &number));
  REQUIRE(number == 1);
  DONE(gossamerCommDestroy(child));
  DONE(gossamerCommSplit(one[0], GOSSAMER_NO_COLOR, 0, &child, NULL));
  REQUIRE(child == NULL);
  REFUSED(gossamerCommSplit(one[0], 0, 0, NULL, NULL), "null");
  REFUSED(gossamerCommSplit(NULL, 0, 0, &child, NULL), "null");
  REFUSED(gossamerCommShrink(one[0], &out, 1, &child, NULL, 0), "this one");
  REFUSED(gossamerCommShrink(one[0], NULL, 1, &child, NULL, 0), "at least one");
  REFUSED(gossamerCommShrink(one[0], &out, 1, &child, NULL, 8), "flags");
  REFUSED(gossamerCommCloseUp(one[0], &out, 1, &child, NULL, NULL, NULL, 0), "this one");
  REFUSED(gossamerCommCloseUp(one[0], NULL, 1, &child, NULL, NULL, NULL, 0), "are null");
  REFUSED(gossamerCommCloseUp(one[0], NULL, 0, &child, &number, NULL, NULL, 0), "lost_count");
  REFUSED(gossamerCommCloseUp(one[0], NULL, 0, &child, NULL, NULL, NULL, 8), "flags");
  DONE(gossamerCommRevoke(one[0]));
  REFUSED(gossamerAllReduce(input[0], output[0], 1, gossamerInt64, gossamerSum, one[0]), "revoked");
  DONE(gossamerCommSplit(one[0], 0, 0, &child, NULL));
  DONE(gossamerAllReduce(input[0], output[0], 1, gossamerInt64, gossamerSum, child));
  DONE(gossamerCommDestroy(child));
  DONE(gossamerCommDestroy(one[0]));
  REFUSED(gossamerCommInitAll(NULL, 1, NULL), "null");
  REFUSED(gossamerCommInitAll(one, 0, NULL), "size");
}

static void test_closing_up_to_one(void) {
  gossamerComm_t alone;
  int lost[4] = {3, 0, 1, -1};
  int count = 3;
  DONE(gossamerCommCloseUp(comms[2], NULL, 0, &alone, lost, &count, NULL, 0));
  REQUIRE(count == 3 && lost[0] == 0 && lost[1] == 1 && lost[2] == 3 && lost[3] == -1);
  DONE(gossamerCommDestroy(alone));
}

static void test_shrinking_to_one(void) {
  static const int all_but_two[] = {3, 0, 1};
  gossamerComm_t alone;
  int number = -1;
  DONE(gossamerCommShrink(comms[2], all_but_two, 3, &alone, NULL, GOSSAMER_SHRINK_ABORT));
  DONE(gossamerCommCount(alone, &number));
  REQUIRE(number == 1);
  DONE(gossamerCommDestroy(alone));
}

int main(void) {
  int r;
  setenv("GOSSAMER_SOCKET_IFNAME", "lo", 1);
  DONE(gossamerCommInitAll(comms, kRanks, NULL));
  test_messages();
  test_works();
  test_uneven_shares();
  test_groups();
  test_streams();
  test_one_rank_families();
  test_closing_up_to_one();
  test_shrinking_to_one();
  for (r = 0; r < kRanks; ++r) DONE(gossamerCommDestroy(comms[r]));
  puts("passed");
  return 0;
}
