/* Compressed collectives of the C API: messages are a codec's codes. What they do, which calls take
 * a codec and what a residual is: gossamer/compression.h; names of codecs: gossamer/codec.h. All
 * collectives, in all forms: gossamerCallCompressed* below; some have calls of their own.
 *
 *   gossamerCodec_t codec;
 *   gossamerCodecCreate(&codec, "int8:block=256");
 *   gossamerCompression_t compression = GOSSAMER_COMPRESSION_INITIALIZER;
 *   compression.codec = codec;
 *   gossamerAllReduceCompressed(x, x, n, gossamerFloat32, gossamerAvg, &compression, comm);
 *   gossamerCodecDestroy(codec);
 *
 * Threads    As gossamer/gossamer.h. A codec may be used by any number of threads and
 *            communicators.
 * Ownership  A codec outlives the calls that use it. Residuals are lent from the call until it
 *            returns or its work has completed; the compression itself is read by the call, and by
 *            every start of a plan.
 * Errors     As gossamer/gossamer.h.
 */

#ifndef GOSSAMER_GOSSAMER_COMPRESS_H
#define GOSSAMER_GOSSAMER_COMPRESS_H

/* Read as C++ too, but written as C and named like NCCL. */
/* NOLINTBEGIN(modernize-*,google-*,readability-identifier-naming) */
#include "gossamer/gossamer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gossamerCodec* gossamerCodec_t;

/* Zero-initialise with GOSSAMER_COMPRESSION_INITIALIZER. */
typedef struct {
  size_t size;           /* of this struct, set by the initialiser */
  gossamerCodec_t codec; /* of the same name on all ranks */
  /* gossamer*ResidualCount() floats each. NULL: nothing is left from before; nothing is kept. */
  const float* residual; /* never written: if the call fails, it is as it was */
  float* next_residual;  /* of use when the call has succeeded; then swap the two */
  uint64_t own_seed;     /* of random rounding: another in every iteration; mixed with the rank */
  uint64_t shared_seed;  /* of positions that all ranks choose alike: the same on all of them */
  uint64_t* not_finite;  /* not NULL: grows by the NaN and infinities that were encoded */
} gossamerCompression_t;
#define GOSSAMER_COMPRESSION_INITIALIZER \
  { sizeof(gossamerCompression_t), NULL, NULL, NULL, 1, 1, NULL }

/* "int8:block=256": a name, with parameters where it has any. A wrong one gives
 * gossamerInvalidArgument and a sentence that lists what there is. */
GOSSAMER_API gossamerResult_t gossamerCodecCreate(gossamerCodec_t* codec, const char* text);
GOSSAMER_API gossamerResult_t gossamerCodecDestroy(gossamerCodec_t codec);
/* With every parameter. Lives as long as the codec; NULL without one. */
GOSSAMER_API const char* gossamerCodecName(gossamerCodec_t codec);
/* Bytes of the code of `count` floats, at most. */
GOSSAMER_API gossamerResult_t gossamerCodecBytesMax(gossamerCodec_t codec, size_t count,
                                                    uint64_t* bytes);

/* A collective as data. What means nothing to a collective is not looked at. */
typedef enum {
  gossamerCallAllReduce = 0,
  gossamerCallAllGather = 1,
  gossamerCallBroadcast = 2,
  gossamerCallReduce = 3,
  gossamerCallReduceScatter = 4,
  gossamerCallAlltoAll = 5,
  gossamerCallGather = 6,
  gossamerCallScatter = 7,
  gossamerCallNeighborAverage = 8,
  gossamerCallNeighborAllGather = 9
} gossamerCollective_t;

/* Zero-initialise with GOSSAMER_CALL_INITIALIZER. Lent for the call; a graph need not outlive it.
 */
typedef struct {
  size_t size; /* of this struct, set by the initialiser */
  gossamerCollective_t collective;
  const void* sendbuff; /* as in the call without a codec, */
  void* recvbuff;       /* in place too */
  size_t count;         /* elements: of the buffers, or of one rank's share of them */
  gossamerDataType_t datatype;
  gossamerRedOp_t op;    /* of those that reduce: gossamerSum or gossamerAvg */
  int root;              /* of those that have one */
  gossamerGraph_t graph; /* of those that have one */
  uint64_t round;
} gossamerCall_t;
#define GOSSAMER_CALL_INITIALIZER                                                                  \
  {                                                                                                \
    sizeof(gossamerCall_t), gossamerCallAllReduce, NULL, NULL, 0, gossamerFloat32, gossamerSum, 0, \
        NULL, 0                                                                                    \
  }

/* Any collective with a codec: carried out; started; and bound to its buffers, to be started again
 * and again. A plan reads *compression anew at every gossamerStart(), so that must stay where it is
 * until the plan is freed; its residuals and seeds may change in between, and its codec for one of
 * the same name. */
GOSSAMER_API gossamerResult_t gossamerCallCompressed(const gossamerCall_t* call,
                                                     const gossamerCompression_t* compression,
                                                     gossamerComm_t comm);
GOSSAMER_API gossamerResult_t gossamerCallCompressedStart(const gossamerCall_t* call,
                                                          const gossamerCompression_t* compression,
                                                          gossamerComm_t comm,
                                                          gossamerWork_t* work);
GOSSAMER_API gossamerResult_t gossamerCallCompressedInit(const gossamerCall_t* call,
                                                         const gossamerCompression_t* compression,
                                                         gossamerComm_t comm, gossamerPlan_t* plan);
/* Floats that the residual of such a call has on this rank; of one that is in place, or is not. The
 * buffers do not matter. */
GOSSAMER_API gossamerResult_t gossamerCallResidualCount(const gossamerCall_t* call, int in_place,
                                                        gossamerCodec_t codec, gossamerComm_t comm,
                                                        uint64_t* floats);

/* recvbuff[i] = the sum over all ranks, or the average, of their sendbuff[i], but for what encoding
 * loses: the same bits on all ranks. In place when sendbuff == recvbuff. */
GOSSAMER_API gossamerResult_t gossamerAllReduceCompressed(const void* sendbuff, void* recvbuff,
                                                          size_t count, gossamerDataType_t datatype,
                                                          gossamerRedOp_t op,
                                                          const gossamerCompression_t* compression,
                                                          gossamerComm_t comm);
GOSSAMER_API gossamerResult_t gossamerAllReduceCompressedStart(
    const void* sendbuff, void* recvbuff, size_t count, gossamerDataType_t datatype,
    gossamerRedOp_t op, const gossamerCompression_t* compression, gossamerComm_t comm,
    gossamerWork_t* work);

/* recvbuff[i] = the sum, or the average, of all ranks' sendbuff[rank * recvcount + i]. */
GOSSAMER_API gossamerResult_t gossamerReduceScatterCompressed(
    const void* sendbuff, void* recvbuff, size_t recvcount, gossamerDataType_t datatype,
    gossamerRedOp_t op, const gossamerCompression_t* compression, gossamerComm_t comm);

/* recvbuff[r * sendcount + i] = rank r's sendbuff[i], as its code decodes: the same bits on all
 * ranks, on rank r too. */
GOSSAMER_API gossamerResult_t gossamerAllGatherCompressed(const void* sendbuff, void* recvbuff,
                                                          size_t sendcount,
                                                          gossamerDataType_t datatype,
                                                          const gossamerCompression_t* compression,
                                                          gossamerComm_t comm);

/* recvbuff[i] = what the code of the root's sendbuff[i] decodes to: the same bits on all ranks, on
 * the root too. In place at the root when equal. */
GOSSAMER_API gossamerResult_t gossamerBroadcastCompressed(const void* sendbuff, void* recvbuff,
                                                          size_t count, gossamerDataType_t datatype,
                                                          int root,
                                                          const gossamerCompression_t* compression,
                                                          gossamerComm_t comm);

/* As gossamerNeighborAverage, with what comes from others as its code decodes. */
GOSSAMER_API gossamerResult_t gossamerNeighborAverageCompressed(
    const void* sendbuff, void* recvbuff, size_t count, gossamerDataType_t datatype,
    gossamerGraph_t graph, uint64_t round, const gossamerCompression_t* compression,
    gossamerComm_t comm);

/* As gossamerNeighborAllGather, of what codes decode to. */
GOSSAMER_API gossamerResult_t gossamerNeighborAllGatherCompressed(
    const void* sendbuff, void* recvbuff, size_t count, gossamerDataType_t datatype,
    gossamerGraph_t graph, uint64_t round, const gossamerCompression_t* compression,
    gossamerComm_t comm);

/* As gossamerPairGossip, of what both ranks' codes decode to: the same bits on both. The residual
 * has `count` floats. */
GOSSAMER_API gossamerResult_t gossamerPairGossipCompressed(const void* sendbuff, void* recvbuff,
                                                           size_t count,
                                                           gossamerDataType_t datatype, int peer,
                                                           const gossamerCompression_t* compression,
                                                           gossamerComm_t comm);

/* Floats that the residual of such a call has on this rank; of an all-reduce that is in place, or
 * is not. `codec` alone of the compression matters. Of a neighbor average: count. */
GOSSAMER_API gossamerResult_t gossamerAllReduceResidualCount(size_t count,
                                                             gossamerDataType_t datatype,
                                                             gossamerRedOp_t op, int in_place,
                                                             gossamerCodec_t codec,
                                                             gossamerComm_t comm, uint64_t* floats);
GOSSAMER_API gossamerResult_t gossamerReduceScatterResidualCount(
    size_t recvcount, gossamerDataType_t datatype, gossamerRedOp_t op, int in_place,
    gossamerCodec_t codec, gossamerComm_t comm, uint64_t* floats);
GOSSAMER_API gossamerResult_t gossamerAllGatherResidualCount(size_t sendcount,
                                                             gossamerDataType_t datatype,
                                                             int in_place, gossamerCodec_t codec,
                                                             gossamerComm_t comm, uint64_t* floats);

#ifdef __cplusplus
}
#endif
/* NOLINTEND(modernize-*,google-*,readability-identifier-naming) */

#endif
