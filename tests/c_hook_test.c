/* The C API's gradient hook, from C99, among three processes: averages, callbacks, codecs, shards,
 * state, and a smaller group. */

#define _POSIX_C_SOURCE 200809L

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gossamer/gossamer_hook.h"
#include "tests/c_ranks.h"

enum { kRanks = 3, kRows = 40, kColumns = 50, kWeights = kRows * kColumns, kBiases = 30 };

static const uint64_t kShape[2] = {kRows, kColumns};
static const uint64_t kBiasShape[1] = {kBiases};
static const gossamerParameter_t kModel[2] = {{"weight", kShape, 2, gossamerFloat32},
                                              {"bias", kBiasShape, 1, gossamerFloat32}};

static float weights[kWeights];
static float biases[kBiases];

static void fill(int rank) {
  int i;
  for (i = 0; i < kWeights; ++i) weights[i] = (float)(3 * rank + i % 7);
  for (i = 0; i < kBiases; ++i) biases[i] = (float)(6 * rank);
}

static void test_averages(gossamerComm_t comm, int rank) {
  gossamerHook_t hook = NULL;
  gossamerHookStep_t step;
  uint64_t iteration = 0;
  void* memory = NULL;
  int i;
  DONE(gossamerHookCreate(&hook, comm, kModel, 2, NULL));
  fill(rank);
  DONE(gossamerHookReady(hook, "bias", biases));
  DONE(gossamerHookReadyAt(hook, 0, weights));
  DONE(gossamerHookWaitFor(hook, "bias"));
  REQUIRE(biases[7] == 6);
  DONE(gossamerHookWait(hook, &step));
  REQUIRE(step.iteration == 0 && step.finite == 1 && step.key == NULL);
  for (i = 0; i < kWeights; ++i) REQUIRE(weights[i] == (float)(3 + i % 7));
  fill(rank);
  if (rank == 1) weights[5] = (float)INFINITY;
  DONE(gossamerHookReady(hook, "weight", weights));
  DONE(rank == 2 ? gossamerHookSkip(hook, "bias", biases)
                 : gossamerHookReady(hook, "bias", biases));
  DONE(gossamerHookWait(hook, &step));
  REQUIRE(step.finite == 0 && step.rank == 1 && strcmp(step.key, "weight") == 0);
  REQUIRE(biases[0] == 3);
  DONE(gossamerHookIteration(hook, &iteration));
  REQUIRE(iteration == 2);
  DONE(gossamerHookMemory(hook, "bias", &memory));
  ((float*)memory)[0] = (float)rank;
  DONE(gossamerHookReady(hook, "bias", memory));
  DONE(gossamerHookSkip(hook, "weight", NULL));
  DONE(gossamerHookWait(hook, NULL));
  REQUIRE(((float*)memory)[0] == 1);
  DONE(gossamerHookDestroy(hook));
}

/* --- callbacks -------------------------------------------------------------------------------- */

static int doubled(const gossamerBucket_t* bucket, void* context) {
  float* const values = (float*)bucket->data;
  size_t i;
  uint64_t j;
  ++*(int*)context;
  for (i = 0; i < bucket->part_count; ++i) {
    const gossamerHookPart_t* const part = &bucket->parts[i];
    REQUIRE(strcmp(part->key, kModel[part->parameter].key) == 0);
    for (j = 0; j < part->count; ++j) values[part->first + j] *= 2;
  }
  return 0;
}

static int plus_one(const gossamerBucket_t* bucket, void* context) {
  float* const values = (float*)bucket->data;
  uint64_t i;
  ++*(int*)context;
  for (i = 0; i < bucket->valid_count; ++i) values[bucket->first_valid + i] += 1;
  return *(int*)context < 4 ? 0 : 77;
}

static void test_callbacks(gossamerComm_t comm, int rank) {
  gossamerHookConfig_t config = GOSSAMER_HOOK_CONFIG_INITIALIZER;
  gossamerHookCallbacks_t callbacks[2];
  gossamerHook_t hook = NULL;
  int before = 0, after = 0;
  memset(callbacks, 0, sizeof(callbacks));
  callbacks[0].pre = doubled;
  callbacks[0].context = &before;
  callbacks[1].post = plus_one;
  callbacks[1].context = &after;
  config.callbacks = callbacks;
  config.callback_count = 2;
  DONE(gossamerHookCreate(&hook, comm, kModel, 2, &config));
  for (;;) {
    gossamerResult_t result;
    fill(rank);
    DONE(gossamerHookReadyAt(hook, 0, weights));
    DONE(gossamerHookReadyAt(hook, 1, biases));
    result = gossamerHookWait(hook, NULL);
    if (after == 4) {
      REQUIRE(result == gossamerAborted);
      REQUIRE(strstr(gossamerGetLastError(NULL), "77") != NULL);
      break;
    }
    DONE(result);
    REQUIRE(biases[3] == 13 && weights[6] == 2 * (3 + 6) + 1);
  }
  REQUIRE(before == 4);
  DONE(gossamerHookDestroy(hook));
}

/* Each byte turned over, and a mark behind them. */
static uint64_t marked_bytes(uint64_t bytes, void* context) {
  (void)context;
  return bytes + 1;
}
static int turn_over(const gossamerBucket_t* bucket, const void* from, uint64_t from_bytes,
                     void* into, uint64_t* into_bytes, void* context) {
  uint64_t i;
  REQUIRE(*into_bytes >= from_bytes + 1 && bucket->part_count > 0);
  for (i = 0; i < from_bytes; ++i) {
    ((unsigned char*)into)[i] = (unsigned char)~((const unsigned char*)from)[i];
  }
  ((unsigned char*)into)[from_bytes] = 7;
  *into_bytes = from_bytes + 1;
  return ++*(int*)context == 5 ? 55 : 0;
}
static int turn_back(const gossamerBucket_t* bucket, int rank, const void* from,
                     uint64_t from_bytes, void* into, uint64_t* into_bytes, void* context) {
  uint64_t i;
  (void)bucket;
  (void)context;
  REQUIRE(rank >= 0 && rank < kRanks && from_bytes > 0 && *into_bytes >= from_bytes - 1);
  if (((const unsigned char*)from)[from_bytes - 1] != 7) return 1;
  *into_bytes = from_bytes - 1;
  for (i = 0; i < *into_bytes; ++i) {
    ((unsigned char*)into)[i] = (unsigned char)~((const unsigned char*)from)[i];
  }
  return 0;
}

/* Two buckets an iteration; in the third the first one fails, here. */
static void test_messages(gossamerComm_t comm, int rank) {
  gossamerHookConfig_t config = GOSSAMER_HOOK_CONFIG_INITIALIZER;
  gossamerHookCallbacks_t callbacks;
  gossamerHook_t hook = NULL;
  int encoded = 0, i;
  memset(&callbacks, 0, sizeof(callbacks));
  callbacks.encode = turn_over;
  callbacks.decode = turn_back;
  callbacks.context = &encoded;
  config.callbacks = &callbacks;
  config.callback_count = 1;
  config.bucket_bytes_max = 1;
  config.first_bucket_bytes_max = 1;
  REFUSED(gossamerHookCreate(&hook, comm, kModel, 2, &config), "bytes_max");
  callbacks.bytes_max = marked_bytes;
  DONE(gossamerHookCreate(&hook, comm, kModel, 2, &config));
  for (i = 0; i < 3; ++i) {
    gossamerResult_t result;
    fill(rank);
    DONE(gossamerHookReadyAt(hook, 0, weights));
    DONE(gossamerHookReadyAt(hook, 1, biases));
    result = gossamerHookWait(hook, NULL);
    if (i == 2) break;
    DONE(result);
    REQUIRE(biases[3] == 6 && weights[6] == 3 + 6);
  }
  REQUIRE(encoded >= 5 && strstr(gossamerGetLastError(NULL), "55") != NULL);
  DONE(gossamerHookDestroy(hook));
}

/* --- codecs ----------------------------------------------------------------------------------- */

/* One byte per value, whole numbers from 0 to 255. */
static uint64_t byte_bytes(uint64_t count, void* context) {
  (void)context;
  return count;
}
static uint64_t byte_encode(const float* values, uint64_t count, uint64_t own, uint64_t shared,
                            void* code, void* context) {
  uint64_t i;
  REQUIRE(own != shared);
  ++*(int*)context;
  for (i = 0; i < count; ++i) ((unsigned char*)code)[i] = (unsigned char)values[i];
  return count;
}
static int byte_check(const void* code, uint64_t bytes, uint64_t count, void* context) {
  (void)code;
  (void)context;
  return bytes == count ? 0 : 1;
}
static void byte_decode(const void* code, uint64_t bytes, float* values, uint64_t count,
                        void* context) {
  uint64_t i;
  (void)bytes;
  (void)context;
  for (i = 0; i < count; ++i) values[i] = (float)((const unsigned char*)code)[i];
}

static void test_codecs(gossamerComm_t comm, int rank) {
  gossamerHookConfig_t config = GOSSAMER_HOOK_CONFIG_INITIALIZER;
  gossamerHookRule_t rule = GOSSAMER_HOOK_RULE_INITIALIZER;
  const gossamerHookStage_t stages[1] = {{1, "fp16"}};
  gossamerHookCodec_t own = {byte_bytes, byte_encode, byte_check, byte_decode, 1, NULL};
  gossamerHook_t hook = NULL;
  const float* residual = NULL;
  uint64_t first = 0, count = 0;
  int fixed, encodings = 0, i;
  own.context = &encodings;
  config.rules = &rule;
  config.rule_count = 1;
  for (fixed = 0; fixed < 2; ++fixed) {
    own.fixed_size = fixed;
    rule.own = &own;
    DONE(gossamerHookCreate(&hook, comm, kModel, 2, &config));
    fill(rank);
    for (i = 0; i < kWeights; ++i) weights[i] += 0.5F;
    DONE(gossamerHookReady(hook, "weight", weights));
    DONE(gossamerHookReady(hook, "bias", biases));
    DONE(gossamerHookWait(hook, NULL));
    for (i = 0; i < kWeights; ++i) REQUIRE(weights[i] == (float)(3 + i % 7));
    REQUIRE(encodings == fixed + 1);
    DONE(gossamerHookDestroy(hook));
  }
  rule.own = NULL;
  rule.codec = "topk:ratio=0.1";
  rule.feedback = "ef14";
  rule.warm_up = stages;
  rule.warm_up_count = 1;
  rule.from_iteration = 2;
  DONE(gossamerHookCreate(&hook, comm, kModel, 2, &config));
  for (i = 0; i < 3; ++i) {
    fill(rank);
    DONE(gossamerHookReady(hook, "weight", weights));
    DONE(gossamerHookReady(hook, "bias", biases));
    DONE(gossamerHookWait(hook, NULL));
  }
  DONE(gossamerHookResidual(hook, "weight", &residual, &count));
  REQUIRE(count == kWeights && residual != NULL);
  DONE(gossamerHookResidual(hook, "bias", &residual, &count));
  REQUIRE(count == 0);
  DONE(gossamerHookDestroy(hook));
  rule.codec = "sign";
  rule.feedback = "ef14:sides=2";
  rule.warm_up_count = 0;
  rule.from_iteration = 0;
  DONE(gossamerHookCreate(&hook, comm, kModel, 2, &config));
  fill(rank);
  DONE(gossamerHookReady(hook, "weight", weights));
  DONE(gossamerHookReady(hook, "bias", biases));
  DONE(gossamerHookWait(hook, NULL));
  DONE(gossamerHookOwnerResidual(hook, "weight", &residual, &first, &count));
  REFUSED(gossamerHookHandOver(hook, 0, 0), "hand over");
  REFUSED(gossamerHookHandOver(NULL, 0, 1), "null");
  REQUIRE(count >= kWeights / kRanks - 64 && count <= kWeights / kRanks + 64);
  REQUIRE(first + count <= kWeights && residual != NULL);
  DONE(gossamerHookDestroy(hook));
  rule.codec = "none such";
  REFUSED(gossamerHookCreate(&hook, comm, kModel, 2, &config), "none such");
  REQUIRE(hook == NULL);
}

/* --- shards, state, another group ------------------------------------------------------------- */

static void test_shards(gossamerComm_t comm, int rank) {
  gossamerHookConfig_t config = GOSSAMER_HOOK_CONFIG_INITIALIZER;
  gossamerHook_t hook = NULL;
  void* all[2] = {weights, biases};
  uint64_t first = 0, count = 0, i;
  config.exchange = gossamerHookReduceScatter;
  config.overlap = 0;
  DONE(gossamerHookCreate(&hook, comm, kModel, 2, &config));
  fill(rank);
  DONE(gossamerHookReady(hook, "weight", weights));
  DONE(gossamerHookReady(hook, "bias", biases));
  DONE(gossamerHookWait(hook, NULL));
  DONE(gossamerHookShard(hook, "weight", &first, &count));
  for (i = first; i < first + count; ++i) REQUIRE(weights[i] == (float)(3 + i % 7));
  DONE(gossamerHookGather(hook, all, 2));
  for (i = 0; i < kWeights; ++i) REQUIRE(weights[i] == (float)(3 + i % 7));
  REFUSED(gossamerHookGather(hook, all, 1), "one pointer per parameter");
  DONE(gossamerHookDestroy(hook));
}

static void test_state(gossamerComm_t comm, int rank) {
  static unsigned char state[4096];
  size_t bytes = 0;
  gossamerHook_t hook = NULL;
  gossamerComm_t pair = NULL;
  uint64_t iteration = 0;
  DONE(gossamerHookCreate(&hook, comm, kModel, 2, NULL));
  fill(rank);
  DONE(gossamerHookReady(hook, "weight", weights));
  DONE(gossamerHookReady(hook, "bias", biases));
  DONE(gossamerHookWait(hook, NULL));
  DONE(gossamerHookSave(hook, NULL, &bytes));
  REQUIRE(bytes > 0 && bytes <= sizeof(state));
  --bytes;
  REFUSED(gossamerHookSave(hook, state, &bytes), "does not fit");
  DONE(gossamerHookSave(hook, state, &bytes));
  DONE(gossamerHookDestroy(hook));
  DONE(gossamerHookCreate(&hook, comm, kModel, 2, NULL));
  state[bytes / 2] ^= 1;
  REFUSED(gossamerHookLoad(hook, state, bytes), "damaged");
  state[bytes / 2] ^= 1;
  DONE(gossamerHookLoad(hook, state, bytes));
  DONE(gossamerHookIteration(hook, &iteration));
  REQUIRE(iteration == 1);
  DONE(gossamerCommSplit(comm, rank == 1 ? GOSSAMER_NO_COLOR : 0, 0, &pair, NULL));
  if (pair != NULL) {
    DONE(gossamerHookRebind(hook, pair, NULL));
    fill(rank);
    DONE(gossamerHookReady(hook, "weight", weights));
    DONE(gossamerHookReady(hook, "bias", biases));
    DONE(gossamerHookWait(hook, NULL));
    REQUIRE(biases[0] == 6);
  }
  DONE(gossamerHookDestroy(hook));
  if (pair != NULL) DONE(gossamerCommDestroy(pair));
}

static void test_bad_calls(gossamerComm_t comm) {
  gossamerHookConfig_t config = GOSSAMER_HOOK_CONFIG_INITIALIZER;
  gossamerHook_t hook = NULL;
  uint64_t number = 0;
  REFUSED(gossamerHookCreate(NULL, comm, kModel, 2, NULL), "null");
  REFUSED(gossamerHookCreate(&hook, NULL, kModel, 2, NULL), "communicator is null");
  REFUSED(gossamerHookCreate(&hook, comm, NULL, 2, NULL), "parameters is null");
  config.size = 3;
  REFUSED(gossamerHookCreate(&hook, comm, kModel, 2, &config), "INITIALIZER");
  config.size = sizeof(config);
  config.rule_count = 1;
  REFUSED(gossamerHookCreate(&hook, comm, kModel, 2, &config), "null");
  config.rule_count = 0;
  config.exchange = (gossamerHookExchange_t)7;
  REFUSED(gossamerHookCreate(&hook, comm, kModel, 2, &config), "no such exchange");
  config.exchange = gossamerHookGossip;
  REFUSED(gossamerHookCreate(&hook, comm, kModel, 2, &config), "graph");
  REFUSED(gossamerHookReady(NULL, "weight", weights), "gossamerHookCreate");
  REFUSED(gossamerHookWait(NULL, NULL), "gossamerHookCreate");
  DONE(gossamerHookCreate(&hook, comm, kModel, 2, NULL));
  REFUSED(gossamerHookReady(hook, NULL, weights), "key is null");
  REFUSED(gossamerHookReady(hook, "weights", weights), "'weights'");
  REFUSED(gossamerHookShard(hook, "weight", NULL, &number), "result");
  REFUSED(gossamerHookLoad(hook, NULL, 0), "null");
  DONE(gossamerHookDestroy(hook));
}

static void test_gossip(gossamerComm_t comm, int rank) {
  gossamerHookConfig_t config = GOSSAMER_HOOK_CONFIG_INITIALIZER;
  gossamerHook_t hook = NULL;
  DONE(gossamerGraphCreate(&config.graph, "complete", kRanks, 1));
  config.exchange = gossamerHookGossip;
  DONE(gossamerHookCreate(&hook, comm, kModel, 2, &config));
  fill(rank);
  DONE(gossamerHookReady(hook, "weight", weights));
  DONE(gossamerHookReady(hook, "bias", biases));
  DONE(gossamerHookWait(hook, NULL));
  REQUIRE(fabsf(biases[0] - 6) < 1e-5F);
  DONE(gossamerHookDestroy(hook));
  DONE(gossamerGraphDestroy(config.graph));
}

static void run_rank(int rank, const char* place) {
  gossamerComm_t comm = NULL;
  DONE(gossamerCommInitRendezvous(&comm, kRanks, place, rank, NULL));
  test_averages(comm, rank);
  test_callbacks(comm, rank);
  test_messages(comm, rank);
  test_codecs(comm, rank);
  test_shards(comm, rank);
  test_gossip(comm, rank);
  test_state(comm, rank);
  test_bad_calls(comm);
  DONE(gossamerBarrier(comm));
  DONE(gossamerCommDestroy(comm));
}

int main(void) {
  return run_ranks(kRanks, run_rank);
}
