/* Gossamer's C API: names and argument orders as in NCCL, host memory, blocking calls unless the
 * name ends in Start.
 *
 *   gossamerComm_t comm;
 *   gossamerCommInitEnv(&comm, NULL);                     // mpirun, srun, torchrun, or one rank
 *   gossamerAllReduce(x, x, n, gossamerFloat32, gossamerSum, comm);
 *   gossamerCommDestroy(comm);
 *
 * Threads    Any call from any thread; ranks must start their collectives in the same order.
 * Ownership  Buffers are the caller's and lent to the library until the call returns or its work
 *            has completed. Handles are freed by the calls named below, never twice.
 * Units      Counts are elements, never bytes; times are milliseconds.
 * Errors     Every call returns a gossamerResult_t; gossamerGetLastError() has the sentence.
 */

#ifndef GOSSAMER_GOSSAMER_H
#define GOSSAMER_GOSSAMER_H

/* Read as C++ too, but written as C and named like NCCL. */
/* NOLINTBEGIN(modernize-*,google-*,readability-identifier-naming) */
#include <stddef.h>
#include <stdint.h>

#include "gossamer/export.h"

#ifdef __cplusplus
extern "C" {
#endif

#define GOSSAMER_MAJOR 0
#define GOSSAMER_MINOR 1
#define GOSSAMER_PATCH 0
#define GOSSAMER_VERSION_CODE (GOSSAMER_MAJOR * 10000 + GOSSAMER_MINOR * 100 + GOSSAMER_PATCH)
#define GOSSAMER_UNIQUE_ID_BYTES 128

typedef struct gossamerComm* gossamerComm_t;   /* one rank's seat in a group */
typedef struct gossamerWork* gossamerWork_t;   /* a running operation */
typedef struct gossamerPlan* gossamerPlan_t;   /* a persistent collective, bound to its buffers */
typedef struct gossamerGraph* gossamerGraph_t; /* who averages with whom, round by round */
typedef struct gossamerStream*
    gossamerStream_t; /* work on host memory, in order, beside the caller */

/* Where a group meets and the key that admits to it: a secret. Plain bytes; carry it to the other
 * ranks by any means. */
typedef struct {
  char internal[GOSSAMER_UNIQUE_ID_BYTES];
} gossamerUniqueId;

typedef enum {
  gossamerSuccess = 0,
  gossamerInvalidArgument = 1, /* the message says what to change */
  gossamerUnavailable = 2,     /* not built in, not installed, not permitted */
  gossamerTimeout = 3,         /* the deadline passed */
  gossamerPeerLost = 4,        /* a rank's process or link is gone: gossamerCommFailedRank() */
  gossamerMismatch = 5,        /* ranks called different operations */
  gossamerAborted = 6,         /* gossamerCommAbort() here or on another rank */
  gossamerSystemError = 7,     /* the operating system refused something */
  gossamerInProgress = 8       /* a wait with a time limit: not finished yet */
} gossamerResult_t;

/* NCCL's values. */
typedef enum {
  gossamerInt8 = 0,
  gossamerChar = 0,
  gossamerUint8 = 1,
  gossamerInt32 = 2,
  gossamerInt = 2,
  gossamerUint32 = 3,
  gossamerInt64 = 4,
  gossamerUint64 = 5,
  gossamerFloat16 = 6,
  gossamerHalf = 6,
  gossamerFloat32 = 7,
  gossamerFloat = 7,
  gossamerFloat64 = 8,
  gossamerDouble = 8,
  gossamerBfloat16 = 9,
  gossamerFloat8e4m3 = 10,
  gossamerFloat8e5m2 = 11
} gossamerDataType_t;

typedef enum {
  gossamerSum = 0,
  gossamerProd = 1,
  gossamerMax = 2,
  gossamerMin = 3,
  gossamerAvg = 4
} gossamerRedOp_t;

/* into[i] = into[i] (op) from[i]: commutative, associative, thread-safe. */
typedef void (*gossamerReduceFunction)(void* into, const void* from, uint64_t count, void* context);

/* Zero-initialise with GOSSAMER_CONFIG_INITIALIZER; NULL and 0 mean the default. */
typedef struct {
  size_t size;           /* of this struct, set by the initialiser */
  const char* name;      /* shown in logs and errors */
  const char* transport; /* "auto", "shm", "verbs", "ucx", "tcp" */
  const char* algorithm; /* overrides the price, for experiments */
  int timeout_ms;        /* for joining and for each operation; 0: GOSSAMER_TIMEOUT_MS or 30000 */
  /* Not 0: a membership without a centre watches over all ranks beside the transports, so that one
   * that is stopped or vanished without a word ends the communicator on all others with
   * gossamerPeerLost, about 10 intervals later. Alike on all ranks; also by GOSSAMER_MEMBERSHIP=1.
   * Whole story: Communicator::Options in gossamer/communicator.h. */
  int membership;
  int probe_interval_ms; /* 0: 1000; at least 10 */
  int stuck_after_ms;    /* of a rank that answers and finishes nothing; 0: 30000 */
} gossamerConfig_t;
#define GOSSAMER_CONFIG_INITIALIZER \
  { sizeof(gossamerConfig_t), NULL, NULL, NULL, 0, 0, 0, 0 }

GOSSAMER_API gossamerResult_t gossamerGetVersion(int* version);

/* Opens a meeting point in this process, for one group. */
GOSSAMER_API gossamerResult_t gossamerGetUniqueId(gossamerUniqueId* id);

/* Joins a group of `nranks` as `rank`: by unique id, by "tcp://host:port" or "file:///path", or as
 * the launcher's environment says. Blocks until all have joined. `config` may be NULL. */
GOSSAMER_API gossamerResult_t gossamerCommInit(gossamerComm_t* comm, int nranks,
                                               gossamerUniqueId id, int rank);
GOSSAMER_API gossamerResult_t gossamerCommInitConfig(gossamerComm_t* comm, int nranks,
                                                     gossamerUniqueId id, int rank,
                                                     const gossamerConfig_t* config);
GOSSAMER_API gossamerResult_t gossamerCommInitRendezvous(gossamerComm_t* comm, int nranks,
                                                         const char* rendezvous, int rank,
                                                         const gossamerConfig_t* config);
GOSSAMER_API gossamerResult_t gossamerCommInitEnv(gossamerComm_t* comm,
                                                  const gossamerConfig_t* config);
/* Leaves; `comm` is gone. Unfinished work is aborted first; free works before. */
GOSSAMER_API gossamerResult_t gossamerCommDestroy(gossamerComm_t comm);
/* Ends every operation on all ranks with gossamerAborted; any thread, any time. Destroy it still.
 */
GOSSAMER_API gossamerResult_t gossamerCommAbort(gossamerComm_t comm);

/* All `nranks` ranks of one group in this process: comms[0] .. comms[nranks - 1]. */
GOSSAMER_API gossamerResult_t gossamerCommInitAll(gossamerComm_t* comms, int nranks,
                                                  const gossamerConfig_t* config);
/* Parts the group: ranks of one color form a group, in order of key, then of rank. Every rank calls
 * it; with GOSSAMER_NO_COLOR a rank gets NULL and joins none. Of `config`, which may be NULL, name
 * and timeout_ms hold; what it leaves open is as in `comm`. */
#define GOSSAMER_NO_COLOR (-1)
GOSSAMER_API gossamerResult_t gossamerCommSplit(gossamerComm_t comm, int color, int key,
                                                gossamerComm_t* newcomm,
                                                const gossamerConfig_t* config);
/* The group without some ranks, which need not be there any more: the others call it, and `comm`
 * may have failed. With GOSSAMER_SHRINK_ABORT, what is in flight on `comm` is ended first. */
#define GOSSAMER_SHRINK_DEFAULT 0
#define GOSSAMER_SHRINK_ABORT 1
GOSSAMER_API gossamerResult_t gossamerCommShrink(gossamerComm_t comm, const int* excluded,
                                                 int excluded_count, gossamerComm_t* newcomm,
                                                 const gossamerConfig_t* config, int flags);
/* The same when survivors may know of different losses, or of none: all that live call it and go on
 * together, without who does not come within the timeout. Whether anything is left of those that
 * are suspected is looked at once. `lost`, with room for as many ints as `comm` has ranks, holds
 * *lost_count ranks that are left out in any case, and gets all that are, ascending and alike
 * everywhere; both may be NULL. */
GOSSAMER_API gossamerResult_t gossamerCommCloseUp(gossamerComm_t comm, const int* suspected,
                                                  int suspected_count, gossamerComm_t* newcomm,
                                                  int* lost, int* lost_count,
                                                  const gossamerConfig_t* config, int flags);
/* Ends what is in flight, as gossamerCommAbort() does, and refuses more, but `comm` can be split
 * and shrunk by ranks that have all revoked it. */
GOSSAMER_API gossamerResult_t gossamerCommRevoke(gossamerComm_t comm);

GOSSAMER_API gossamerResult_t gossamerCommCount(gossamerComm_t comm, int* count);
GOSSAMER_API gossamerResult_t gossamerCommUserRank(gossamerComm_t comm, int* rank);
/* The failure that ended this communicator, or gossamerSuccess. */
GOSSAMER_API gossamerResult_t gossamerCommGetAsyncError(gossamerComm_t comm,
                                                        gossamerResult_t* error);
/* The rank at fault in that failure, or -1. */
GOSSAMER_API gossamerResult_t gossamerCommFailedRank(gossamerComm_t comm, int* rank);

/* With gossamerConfig_t's membership: ranks that are alive and hang, that have finished no
 * operation for stuck_after_ms while others have; no failure. *count of them, ascending in `ranks`,
 * which has room for all ranks of the communicator, or is NULL. */
GOSSAMER_API gossamerResult_t gossamerCommStuckRanks(gossamerComm_t comm, int* count, int* ranks);

/* The code in words. Never NULL; static. */
GOSSAMER_API const char* gossamerGetErrorString(gossamerResult_t result);
/* The sentence of the communicator's failure, or, for NULL or a healthy one, of this thread's last
 * failed call. Never NULL; valid until this thread's next call of it. */
GOSSAMER_API const char* gossamerGetLastError(gossamerComm_t comm);

/* recvbuff[i] = op over all ranks of sendbuff[i], i in [0, count). In place when equal. */
GOSSAMER_API gossamerResult_t gossamerAllReduce(const void* sendbuff, void* recvbuff, size_t count,
                                                gossamerDataType_t datatype, gossamerRedOp_t op,
                                                gossamerComm_t comm);
GOSSAMER_API gossamerResult_t gossamerAllReduceStart(const void* sendbuff, void* recvbuff,
                                                     size_t count, gossamerDataType_t datatype,
                                                     gossamerRedOp_t op, gossamerComm_t comm,
                                                     gossamerWork_t* work);
/* Sum of sendbuff[i] * scalar; each rank its own scalar. */
GOSSAMER_API gossamerResult_t gossamerAllReducePreMulSum(const void* sendbuff, void* recvbuff,
                                                         size_t count, gossamerDataType_t datatype,
                                                         double scalar, gossamerComm_t comm);
GOSSAMER_API gossamerResult_t gossamerAllReduceUser(const void* sendbuff, void* recvbuff,
                                                    size_t count, gossamerDataType_t datatype,
                                                    gossamerReduceFunction function, void* context,
                                                    gossamerComm_t comm);

/* recvbuff[r * sendcount + i] = rank r's sendbuff[i]. In place when sendbuff == recvbuff + rank *
 * sendcount elements. */
GOSSAMER_API gossamerResult_t gossamerAllGather(const void* sendbuff, void* recvbuff,
                                                size_t sendcount, gossamerDataType_t datatype,
                                                gossamerComm_t comm);
GOSSAMER_API gossamerResult_t gossamerAllGatherStart(const void* sendbuff, void* recvbuff,
                                                     size_t sendcount, gossamerDataType_t datatype,
                                                     gossamerComm_t comm, gossamerWork_t* work);

/* A message to `peer`, who receives it with the same count and type; count may be 0. Two ranks make
 * all calls that involve both in the same order. */
GOSSAMER_API gossamerResult_t gossamerSend(const void* sendbuff, size_t count,
                                           gossamerDataType_t datatype, int peer,
                                           gossamerComm_t comm);
GOSSAMER_API gossamerResult_t gossamerRecv(void* recvbuff, size_t count,
                                           gossamerDataType_t datatype, int peer,
                                           gossamerComm_t comm);
GOSSAMER_API gossamerResult_t gossamerSendStart(const void* sendbuff, size_t count,
                                                gossamerDataType_t datatype, int peer,
                                                gossamerComm_t comm, gossamerWork_t* work);
GOSSAMER_API gossamerResult_t gossamerRecvStart(void* recvbuff, size_t count,
                                                gossamerDataType_t datatype, int peer,
                                                gossamerComm_t comm, gossamerWork_t* work);
/* The next message that some rank has sent; *peer = its rank. Not within a group. */
GOSSAMER_API gossamerResult_t gossamerRecvAny(void* recvbuff, size_t count,
                                              gossamerDataType_t datatype, int* peer,
                                              gossamerComm_t comm);

/* Shares of different lengths: rank r's are the counts[r] elements from displs[r] on. All arrays
 * have one entry per rank; those of a root may be NULL elsewhere. */
GOSSAMER_API gossamerResult_t gossamerAllGatherV(const void* sendbuff, size_t sendcount,
                                                 void* recvbuff, const uint64_t* recvcounts,
                                                 const uint64_t* recvdispls,
                                                 gossamerDataType_t datatype, gossamerComm_t comm);
GOSSAMER_API gossamerResult_t gossamerAllToAllV(const void* sendbuff, const uint64_t* sendcounts,
                                                const uint64_t* senddispls, void* recvbuff,
                                                const uint64_t* recvcounts,
                                                const uint64_t* recvdispls,
                                                gossamerDataType_t datatype, gossamerComm_t comm);
GOSSAMER_API gossamerResult_t gossamerGatherV(const void* sendbuff, size_t sendcount,
                                              void* recvbuff, const uint64_t* recvcounts,
                                              const uint64_t* recvdispls,
                                              gossamerDataType_t datatype, int root,
                                              gossamerComm_t comm);
GOSSAMER_API gossamerResult_t gossamerScatterV(const void* sendbuff, const uint64_t* sendcounts,
                                               const uint64_t* senddispls, void* recvbuff,
                                               size_t recvcount, gossamerDataType_t datatype,
                                               int root, gossamerComm_t comm);

/* Between start and end, this thread's blocking calls are noted; the outermost end carries them
 * out, each communicator's collectives in their order and then all its messages at once. */
GOSSAMER_API gossamerResult_t gossamerGroupStart(void);
GOSSAMER_API gossamerResult_t gossamerGroupEnd(void);
/* Instead of the end: carries out nothing; *us = how long it would take, by the price model. */
GOSSAMER_API gossamerResult_t gossamerGroupSimulateEnd(double* us);

/* Streams: calls given to one return at once and are carried out in their order by its own thread.
 */
GOSSAMER_API gossamerResult_t gossamerStreamCreate(gossamerStream_t* stream);
/* Finishes what is in it. */
GOSSAMER_API gossamerResult_t gossamerStreamDestroy(gossamerStream_t stream);
/* From now on this thread's blocking calls are given to `stream`; NULL: carried out by the caller.
 */
GOSSAMER_API gossamerResult_t gossamerStreamUse(gossamerStream_t stream);
/* Waits for all that was given to it; the first failure since the last time. */
GOSSAMER_API gossamerResult_t gossamerStreamSynchronize(gossamerStream_t stream);
/* *done = 1 when all of it is done, well or not. */
GOSSAMER_API gossamerResult_t gossamerStreamQuery(gossamerStream_t stream, int* done);
/* Calls function(argument) on the stream's thread when everything before it is done.
 * gossamerInvalidArgument, and no call, when `stream` is no stream, or was destroyed. */
GOSSAMER_API gossamerResult_t gossamerStreamCall(gossamerStream_t stream,
                                                 void (*function)(void* argument), void* argument);

/* The calls above and below that end in Start give a work handle, those in Init a plan. */

/* recvbuff[i] = the root's sendbuff[i]; other ranks' sendbuff is not looked at. In place at the
 * root when equal. gossamerBcast: the same, in place everywhere. */
GOSSAMER_API gossamerResult_t gossamerBroadcast(const void* sendbuff, void* recvbuff, size_t count,
                                                gossamerDataType_t datatype, int root,
                                                gossamerComm_t comm);
GOSSAMER_API gossamerResult_t gossamerBcast(void* buff, size_t count, gossamerDataType_t datatype,
                                            int root, gossamerComm_t comm);
GOSSAMER_API gossamerResult_t gossamerBroadcastStart(const void* sendbuff, void* recvbuff,
                                                     size_t count, gossamerDataType_t datatype,
                                                     int root, gossamerComm_t comm,
                                                     gossamerWork_t* work);
GOSSAMER_API gossamerResult_t gossamerBroadcastInit(const void* sendbuff, void* recvbuff,
                                                    size_t count, gossamerDataType_t datatype,
                                                    int root, gossamerComm_t comm,
                                                    gossamerPlan_t* plan);

/* The root's recvbuff[i] = op over all ranks of sendbuff[i]; other ranks' recvbuff is not touched.
 * In place at the root when equal. */
GOSSAMER_API gossamerResult_t gossamerReduce(const void* sendbuff, void* recvbuff, size_t count,
                                             gossamerDataType_t datatype, gossamerRedOp_t op,
                                             int root, gossamerComm_t comm);
GOSSAMER_API gossamerResult_t gossamerReducePreMulSum(const void* sendbuff, void* recvbuff,
                                                      size_t count, gossamerDataType_t datatype,
                                                      double scalar, int root, gossamerComm_t comm);
GOSSAMER_API gossamerResult_t gossamerReduceUser(const void* sendbuff, void* recvbuff, size_t count,
                                                 gossamerDataType_t datatype,
                                                 gossamerReduceFunction function, void* context,
                                                 int root, gossamerComm_t comm);
GOSSAMER_API gossamerResult_t gossamerReduceStart(const void* sendbuff, void* recvbuff,
                                                  size_t count, gossamerDataType_t datatype,
                                                  gossamerRedOp_t op, int root, gossamerComm_t comm,
                                                  gossamerWork_t* work);
GOSSAMER_API gossamerResult_t gossamerReduceInit(const void* sendbuff, void* recvbuff, size_t count,
                                                 gossamerDataType_t datatype, gossamerRedOp_t op,
                                                 int root, gossamerComm_t comm,
                                                 gossamerPlan_t* plan);

/* recvbuff[i] = op over all ranks of sendbuff[rank * recvcount + i]. In place when recvbuff ==
 * sendbuff + rank * recvcount elements. */
GOSSAMER_API gossamerResult_t gossamerReduceScatter(const void* sendbuff, void* recvbuff,
                                                    size_t recvcount, gossamerDataType_t datatype,
                                                    gossamerRedOp_t op, gossamerComm_t comm);
GOSSAMER_API gossamerResult_t gossamerReduceScatterPreMulSum(const void* sendbuff, void* recvbuff,
                                                             size_t recvcount,
                                                             gossamerDataType_t datatype,
                                                             double scalar, gossamerComm_t comm);
GOSSAMER_API gossamerResult_t gossamerReduceScatterUser(const void* sendbuff, void* recvbuff,
                                                        size_t recvcount,
                                                        gossamerDataType_t datatype,
                                                        gossamerReduceFunction function,
                                                        void* context, gossamerComm_t comm);
GOSSAMER_API gossamerResult_t gossamerReduceScatterStart(const void* sendbuff, void* recvbuff,
                                                         size_t recvcount,
                                                         gossamerDataType_t datatype,
                                                         gossamerRedOp_t op, gossamerComm_t comm,
                                                         gossamerWork_t* work);
GOSSAMER_API gossamerResult_t gossamerReduceScatterInit(const void* sendbuff, void* recvbuff,
                                                        size_t recvcount,
                                                        gossamerDataType_t datatype,
                                                        gossamerRedOp_t op, gossamerComm_t comm,
                                                        gossamerPlan_t* plan);

/* recvbuff[r * count + i] = rank r's sendbuff[rank * count + i]. Never in place. */
GOSSAMER_API gossamerResult_t gossamerAlltoAll(const void* sendbuff, void* recvbuff, size_t count,
                                               gossamerDataType_t datatype, gossamerComm_t comm);
GOSSAMER_API gossamerResult_t gossamerAlltoAllStart(const void* sendbuff, void* recvbuff,
                                                    size_t count, gossamerDataType_t datatype,
                                                    gossamerComm_t comm, gossamerWork_t* work);
GOSSAMER_API gossamerResult_t gossamerAlltoAllInit(const void* sendbuff, void* recvbuff,
                                                   size_t count, gossamerDataType_t datatype,
                                                   gossamerComm_t comm, gossamerPlan_t* plan);

/* The root's recvbuff[r * count + i] = rank r's sendbuff[i]; other ranks' recvbuff is not touched.
 * In place at the root when sendbuff == recvbuff + root * count elements. */
GOSSAMER_API gossamerResult_t gossamerGather(const void* sendbuff, void* recvbuff, size_t count,
                                             gossamerDataType_t datatype, int root,
                                             gossamerComm_t comm);
GOSSAMER_API gossamerResult_t gossamerGatherStart(const void* sendbuff, void* recvbuff,
                                                  size_t count, gossamerDataType_t datatype,
                                                  int root, gossamerComm_t comm,
                                                  gossamerWork_t* work);
GOSSAMER_API gossamerResult_t gossamerGatherInit(const void* sendbuff, void* recvbuff, size_t count,
                                                 gossamerDataType_t datatype, int root,
                                                 gossamerComm_t comm, gossamerPlan_t* plan);

/* recvbuff[i] = the root's sendbuff[rank * count + i]; other ranks' sendbuff is not looked at. In
 * place at the root when recvbuff == sendbuff + root * count elements. */
GOSSAMER_API gossamerResult_t gossamerScatter(const void* sendbuff, void* recvbuff, size_t count,
                                              gossamerDataType_t datatype, int root,
                                              gossamerComm_t comm);
GOSSAMER_API gossamerResult_t gossamerScatterStart(const void* sendbuff, void* recvbuff,
                                                   size_t count, gossamerDataType_t datatype,
                                                   int root, gossamerComm_t comm,
                                                   gossamerWork_t* work);
GOSSAMER_API gossamerResult_t gossamerScatterInit(const void* sendbuff, void* recvbuff,
                                                  size_t count, gossamerDataType_t datatype,
                                                  int root, gossamerComm_t comm,
                                                  gossamerPlan_t* plan);

/* Returns when every rank has called it. */
GOSSAMER_API gossamerResult_t gossamerBarrier(gossamerComm_t comm);
GOSSAMER_API gossamerResult_t gossamerBarrierStart(gossamerComm_t comm, gossamerWork_t* work);

/* *done = 1 when it has finished, well or not. Never blocks. */
GOSSAMER_API gossamerResult_t gossamerWorkTest(gossamerWork_t work, int* done);
/* Waits at most `timeout_ms` (negative: until the operation's own deadline) and returns its result,
 * or gossamerInProgress. */
GOSSAMER_API gossamerResult_t gossamerWorkWait(gossamerWork_t work, int timeout_ms);
/* Waits for the operation if it is unfinished, then frees the handle. */
GOSSAMER_API gossamerResult_t gossamerWorkFree(gossamerWork_t work);

/* Persistent collectives: made once, bound to their buffers, started and waited for any number of
 * times. Making one is local; every rank makes and starts the same ones in the same order, and
 * several may be under way. Links open and transports exchange addresses during the first run; a
 * later one allocates, registers and exchanges nothing. The buffers stay where they are until the
 * plan is freed, and belong to the library between a start and its wait. */
GOSSAMER_API gossamerResult_t gossamerAllReduceInit(const void* sendbuff, void* recvbuff,
                                                    size_t count, gossamerDataType_t datatype,
                                                    gossamerRedOp_t op, gossamerComm_t comm,
                                                    gossamerPlan_t* plan);
GOSSAMER_API gossamerResult_t gossamerAllGatherInit(const void* sendbuff, void* recvbuff,
                                                    size_t sendcount, gossamerDataType_t datatype,
                                                    gossamerComm_t comm, gossamerPlan_t* plan);
/* Begins a run and returns at once. gossamerInvalidArgument if the last run has not been waited
 * for. */
GOSSAMER_API gossamerResult_t gossamerStart(gossamerPlan_t plan);
/* *done = 1 when the last run has finished, well or not, or none was started. Never blocks. */
GOSSAMER_API gossamerResult_t gossamerTest(gossamerPlan_t plan, int* done);
/* Waits for the last run at most `timeout_ms` (negative: until the operation's own deadline) and
 * returns its result, or gossamerInProgress. */
GOSSAMER_API gossamerResult_t gossamerWait(gossamerPlan_t plan, int timeout_ms);
/* Waits for the plan if it runs, then frees it. Also after its communicator was destroyed. */
GOSSAMER_API gossamerResult_t gossamerPlanFree(gossamerPlan_t plan);

/* Gossip: each call mixes a rank's values with those of a few neighbors (gossamer/gossip.h).
 *
 * A graph by name, as "ring" or "base:k=2"; from pairs of ranks a0 b0 a1 b1 ..., with Metropolis
 * weights; or from nranks * nranks weights, row by row: what each rank gives to each rank's value.
 * Checked: rows and columns sum to 1, all ranks are connected. `seed` is that of random graphs; all
 * ranks make the same. A graph need not outlive the calls that it was used in. */
GOSSAMER_API gossamerResult_t gossamerGraphCreate(gossamerGraph_t* graph, const char* name,
                                                  int nranks, uint64_t seed);
GOSSAMER_API gossamerResult_t gossamerGraphCreateEdges(gossamerGraph_t* graph, int nranks,
                                                       const int* ranks, size_t edge_count);
GOSSAMER_API gossamerResult_t gossamerGraphCreateWeights(gossamerGraph_t* graph, int nranks,
                                                         const double* weights);
/* The graph of those that are left when ranks are lost, numbered as gossamerCommShrink() does. */
GOSSAMER_API gossamerResult_t gossamerGraphHeal(gossamerGraph_t graph, const int* lost,
                                                int lost_count, gossamerGraph_t* healed);
GOSSAMER_API gossamerResult_t gossamerGraphDestroy(gossamerGraph_t graph);
/* Rounds repeat after so many; 0: they are random. */
GOSSAMER_API gossamerResult_t gossamerGraphPeriod(gossamerGraph_t graph, uint64_t* period);
/* How many ranks' values `rank` takes in a round, and whose, ascending; `sources` may be NULL. */
GOSSAMER_API gossamerResult_t gossamerGraphSources(gossamerGraph_t graph, uint64_t round, int rank,
                                                   int* count, int* sources);

/* buff[i] = sum over ranks j of the weight that this rank gives to j's value times j's buff[i].
 * Floats only. All ranks give the same graph, and the same round but for whole periods. */
GOSSAMER_API gossamerResult_t gossamerNeighborAverage(void* buff, size_t count,
                                                      gossamerDataType_t datatype,
                                                      gossamerGraph_t graph, uint64_t round,
                                                      gossamerComm_t comm);
/* The same into another buffer; started; and bound to its buffers. */
GOSSAMER_API gossamerResult_t gossamerNeighborAverageInto(const void* sendbuff, void* recvbuff,
                                                          size_t count, gossamerDataType_t datatype,
                                                          gossamerGraph_t graph, uint64_t round,
                                                          gossamerComm_t comm);
GOSSAMER_API gossamerResult_t gossamerNeighborAverageStart(
    const void* sendbuff, void* recvbuff, size_t count, gossamerDataType_t datatype,
    gossamerGraph_t graph, uint64_t round, gossamerComm_t comm, gossamerWork_t* work);
GOSSAMER_API gossamerResult_t gossamerNeighborAverageInit(const void* sendbuff, void* recvbuff,
                                                          size_t count, gossamerDataType_t datatype,
                                                          gossamerGraph_t graph, uint64_t round,
                                                          gossamerComm_t comm,
                                                          gossamerPlan_t* plan);
/* recvbuff[k * count + i] = the k-th source's sendbuff[i]; never in place. */
GOSSAMER_API gossamerResult_t gossamerNeighborAllGather(const void* sendbuff, void* recvbuff,
                                                        size_t count, gossamerDataType_t datatype,
                                                        gossamerGraph_t graph, uint64_t round,
                                                        gossamerComm_t comm);
/* Two ranks alone: recvbuff[i] = the mean of both ranks' sendbuff[i]. In place when equal. */
GOSSAMER_API gossamerResult_t gossamerPairGossip(const void* sendbuff, void* recvbuff, size_t count,
                                                 gossamerDataType_t datatype, int peer,
                                                 gossamerComm_t comm);

/* Tells the transports that collectives will use this memory again and again, so that they register
 * it now and keep it registered. Local: ranks need not do the same. Deregister before freeing the
 * memory; destroying the communicator does it too. */
GOSSAMER_API gossamerResult_t gossamerCommRegister(gossamerComm_t comm, void* buff, size_t bytes,
                                                   void** handle);
GOSSAMER_API gossamerResult_t gossamerCommDeregister(gossamerComm_t comm, void* handle);

/* Memory that peers on this host read in place: collectives on it copy nothing. Zeroed. */
GOSSAMER_API gossamerResult_t gossamerMemAlloc(void** ptr, size_t bytes);
GOSSAMER_API gossamerResult_t gossamerMemFree(void* ptr);

#ifdef __cplusplus
}
#endif

/* NOLINTEND(modernize-*,google-*,readability-identifier-naming) */
#endif /* GOSSAMER_GOSSAMER_H */
