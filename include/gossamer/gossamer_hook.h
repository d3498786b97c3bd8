/* The gradient hook's C API: gradients averaged over all ranks while the rest of them is still
 * being computed. What holds of threads, ownership, deadlines and errors is in
 * gossamer/gradient_hook.h.
 *
 *   gossamerParameter_t model[2] = {{"embed", shape0, 2, gossamerFloat32}, ...};
 *   gossamerHook_t hook;
 *   gossamerHookCreate(&hook, comm, model, 2, NULL);
 *   for (;;) {
 *     gossamerHookStep_t step;
 *     ...                                         // backward pass; as each gradient is there:
 *     gossamerHookReady(hook, "embed", gradient);
 *     gossamerHookWait(hook, &step);              // all of them are averages now, in place
 *     if (step.finite) ...                        // the optimizer's step
 *   }
 *   gossamerHookDestroy(hook);
 *
 * Threads    As in C++: Ready, Skip and WaitFor from any thread, all else from one.
 * Ownership  Names, shapes and structs are copied by Create; callbacks' contexts, graph and
 *            communicator outlive the hook.
 * Errors     Every call returns a gossamerResult_t; gossamerGetLastError(NULL) has the sentence.
 */

#ifndef GOSSAMER_GOSSAMER_HOOK_H
#define GOSSAMER_GOSSAMER_HOOK_H

/* Read as C++ too, but written as C and named like NCCL. */
/* NOLINTBEGIN(modernize-*,google-*,readability-identifier-naming) */
#include "gossamer/gossamer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gossamerHook* gossamerHook_t;

typedef struct {
  const char* key;       /* names it in this and in later runs; no two alike */
  const uint64_t* shape; /* `dimensions` of them; of one number: 0 */
  size_t dimensions;
  gossamerDataType_t type;
} gossamerParameter_t;

typedef enum {
  gossamerHookAllReduce = 0,
  gossamerHookReduceScatter = 1, /* each rank gets the averages of its shards */
  gossamerHookGossip = 2         /* averages with the graph's neighbors */
} gossamerHookExchange_t;

/* A bucket, as callbacks see it. */
typedef struct {
  uint32_t parameter; /* its place in the list */
  const char* key;
  uint64_t first; /* in the bucket, elements */
  uint64_t count;
  int contributes; /* before: 0 if skipped on this rank, and zero then */
} gossamerHookPart_t;
typedef struct {
  uint64_t iteration;
  uint32_t index;
  uint32_t bucket_count;
  void* data;
  uint64_t count; /* elements; those between parts are padding, and zero */
  gossamerDataType_t type;
  const gossamerHookPart_t* parts;
  size_t part_count;
  uint64_t first_valid; /* after: where the averages are */
  uint64_t valid_count;
} gossamerBucket_t;

/* Several work as a chain: `pre`, then `encode`, in the order given, `decode`, then `post`, in
 * reverse; any may be NULL, but the last three go together. A result that is not 0 fails the
 * iteration, on all ranks. */
typedef struct {
  int (*pre)(const gossamerBucket_t* bucket, void* context);
  int (*post)(const gossamerBucket_t* bucket, void* context);
  void* context;
  /* The most bytes that `encode` makes of so many; more for more. */
  uint64_t (*bytes_max)(uint64_t bytes, void* context);
  /* What a bucket is sent as, instead of `from`. *into_bytes is the room, and becomes how much of
   * it was used. */
  int (*encode)(const gossamerBucket_t* bucket, const void* from, uint64_t from_bytes, void* into,
                uint64_t* into_bytes, void* context);
  /* What `encode` was given, of what `rank` sent, whatever that is. */
  int (*decode)(const gossamerBucket_t* bucket, int rank, const void* from, uint64_t from_bytes,
                void* into, uint64_t* into_bytes, void* context);
} gossamerHookCallbacks_t;

/* The caller's own codec, for rules: the same on all ranks. Called by one thread at a time of each
 * hook. `own` differs from rank to rank, `shared` is the same on all; both are keys of this
 * parameter and iteration to draw random numbers by. */
typedef struct {
  /* The longest code of `count` elements; below 4 GiB. */
  uint64_t (*bytes_max)(uint64_t count, void* context);
  /* Returns the bytes that it wrote. */
  uint64_t (*encode)(const float* values, uint64_t count, uint64_t own, uint64_t shared, void* code,
                     void* context);
  /* Called for codes that `check` accepts, with 0; or with any no longer than bytes_max, if it is
   * NULL. */
  int (*check)(const void* code, uint64_t bytes, uint64_t count, void* context);
  void (*decode)(const void* code, uint64_t bytes, float* values, uint64_t count, void* context);
  int fixed_size; /* not 0: codes have bytes_max() bytes, always */
  void* context;
} gossamerHookCodec_t;

typedef struct {
  uint64_t from_iteration;
  const char* codec;
} gossamerHookStage_t;

/* Which parameters are compressed, and how; the first that fits decides. Initialise with
 * GOSSAMER_HOOK_RULE_INITIALIZER. */
typedef struct {
  size_t size;                        /* of this struct, set by the initialiser */
  const char* keys;                   /* pattern: * any characters, ? one */
  uint64_t count_min;                 /* elements */
  size_t dimensions_min;              /* 2: neither biases nor other vectors */
  const char* codec;                  /* "int8:block=256" */
  const char* feedback;               /* "ef14", by gossip "choco:rate=0.2"; NULL: none */
  uint64_t from_iteration;            /* before: as they are */
  const gossamerHookStage_t* warm_up; /* ascending, before from_iteration */
  size_t warm_up_count;
  const gossamerHookCodec_t* own; /* instead of `codec` */
} gossamerHookRule_t;
#define GOSSAMER_HOOK_RULE_INITIALIZER \
  { sizeof(gossamerHookRule_t), "*", 1024, 2, NULL, NULL, 0, NULL, 0, NULL }

/* Initialise with GOSSAMER_HOOK_CONFIG_INITIALIZER. */
typedef struct {
  size_t size; /* of this struct, set by the initialiser */
  gossamerHookExchange_t exchange;
  gossamerGraph_t graph; /* of gossamerHookGossip */
  uint64_t bucket_bytes_max;
  uint64_t first_bucket_bytes_max;
  int ready_timeout_ms; /* how long Wait waits for parameters that nobody has made ready here */
  int overlap;          /* 0: no thread; Wait does all of it */
  const gossamerHookCallbacks_t* callbacks;
  size_t callback_count;
  const gossamerHookRule_t* rules;
  size_t rule_count;
  uint64_t seed;
} gossamerHookConfig_t;
#define GOSSAMER_HOOK_CONFIG_INITIALIZER                                           \
  {                                                                                \
    sizeof(gossamerHookConfig_t), gossamerHookAllReduce, NULL, (uint64_t)25 << 20, \
        (uint64_t)1 << 20, 10000, 1, NULL, 0, NULL, 0, 1                           \
  }

/* What an iteration came to. */
typedef struct {
  uint64_t iteration;
  int finite;      /* 0: a gradient, an average or a sum on its way is not; skip the optimizer */
  int rank;        /* whose it was; -1: finite gradients had a sum that is not */
  const char* key; /* one such parameter, or of its bucket; NULL: finite */
  size_t late;     /* by gossip: parameters taken as skipped, for they came too late */
} gossamerHookStep_t;

/* A collective: all ranks, the same parameters and configuration. `config` may be NULL. */
GOSSAMER_API gossamerResult_t gossamerHookCreate(gossamerHook_t* hook, gossamerComm_t comm,
                                                 const gossamerParameter_t* parameters,
                                                 size_t parameter_count,
                                                 const gossamerHookConfig_t* config);
GOSSAMER_API gossamerResult_t gossamerHookDestroy(gossamerHook_t hook);

/* This rank's gradient; becomes the average. Lent until Wait has returned. */
GOSSAMER_API gossamerResult_t gossamerHookReady(gossamerHook_t hook, const char* key,
                                                void* gradient);
GOSSAMER_API gossamerResult_t gossamerHookReadyAt(gossamerHook_t hook, size_t parameter,
                                                  void* gradient);
/* This rank contributes nothing; `into`, which may be NULL, becomes the others' average. */
GOSSAMER_API gossamerResult_t gossamerHookSkip(gossamerHook_t hook, const char* key, void* into);
GOSSAMER_API gossamerResult_t gossamerHookSkipAt(gossamerHook_t hook, size_t parameter, void* into);

/* Where the gradient may be computed: Ready of this address copies nothing. Moves when the first
 * iteration has ended, and with Load and Rebind. */
GOSSAMER_API gossamerResult_t gossamerHookMemory(gossamerHook_t hook, const char* key,
                                                 void** memory);

/* Until the iteration has ended; `step` may be NULL. */
GOSSAMER_API gossamerResult_t gossamerHookWait(gossamerHook_t hook, gossamerHookStep_t* step);
/* Until this parameter has its average. */
GOSSAMER_API gossamerResult_t gossamerHookWaitFor(gossamerHook_t hook, const char* key);

/* Of gossamerHookReduceScatter: which elements of a parameter are this rank's; and everybody's
 * brought together, values[i] those of parameter i. */
GOSSAMER_API gossamerResult_t gossamerHookShard(gossamerHook_t hook, const char* key,
                                                uint64_t* first, uint64_t* count);
GOSSAMER_API gossamerResult_t gossamerHookGather(gossamerHook_t hook, void* const* values,
                                                 size_t value_count);

/* Goes on among the ranks of another communicator, with what the hook keeps: a collective of it.
 * `graph` may be NULL where the old one fits. */
GOSSAMER_API gossamerResult_t gossamerHookRebind(gossamerHook_t hook, gossamerComm_t comm,
                                                 gossamerGraph_t graph);

/* What feedback keeps on rank `from` becomes rank `to`'s, before `from` leaves. Others return at
 * once. */
GOSSAMER_API gossamerResult_t gossamerHookHandOver(gossamerHook_t hook, int from, int to);

/* The number of the next, or present, iteration. */
GOSSAMER_API gossamerResult_t gossamerHookIteration(gossamerHook_t hook, uint64_t* iteration);
/* What feedback keeps of a parameter's gradients; *count is 0 where nothing is kept. Valid until
 * the next iteration. */
GOSSAMER_API gossamerResult_t gossamerHookResidual(gossamerHook_t hook, const char* key,
                                                   const float** residual, uint64_t* count);

/* What it keeps of the sums over ranks that this rank owns, elements [*first, *first + *count) of
 * the parameter: where feedback has two sides. */
GOSSAMER_API gossamerResult_t gossamerHookOwnerResidual(gossamerHook_t hook, const char* key,
                                                        const float** residual, uint64_t* first,
                                                        uint64_t* count);

/* What is kept from one iteration to the next, of this rank. `state` of *bytes bytes, or NULL;
 * *bytes becomes what it takes. gossamerInvalidArgument if that is more than there was room for. */
GOSSAMER_API gossamerResult_t gossamerHookSave(gossamerHook_t hook, void* state, size_t* bytes);
GOSSAMER_API gossamerResult_t gossamerHookLoad(gossamerHook_t hook, const void* state,
                                               size_t bytes);

#ifdef __cplusplus
}
#endif

/* NOLINTEND(modernize-*,google-*,readability-identifier-naming) */
#endif /* GOSSAMER_GOSSAMER_HOOK_H */
