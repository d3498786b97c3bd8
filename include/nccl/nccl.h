/* NCCL's C API, served by Gossamer's libnccl.so.2: the same names, values, layouts and rules, on
 * host memory.
 *
 * CUDA       Its headers are included where they are found, since NCCL's users rely on that; else
 *            cudaStream_t is declared here. Define GOSSAMER_NCCL_WITHOUT_CUDA to leave them out.
 * Version    This header calls itself 2.27.7, so that programs compile no device-side kernels
 *            (nccl_device.h, new in 2.28), which only a GPU library can serve. Define
 *            GOSSAMER_NCCL_2_28 for 2.28.9. Host functions and layouts are the same either way.
 * Streams    NULL: the call has completed when it, or the outermost ncclGroupEnd(), returns. A
 *            gossamerStream_t (gossamer/gossamer.h): asynchronous, in order.
 * Threads    A communicator is used by one thread at a time; abort, revoke and async-error calls
 *            may come from any thread at any time. Groups are per thread.
 * Ownership  Buffers are lent until the call has completed. Handles are freed by the calls that say
 *            so, once.
 * Units      Counts are elements, of one rank's block where there are several.
 * Errors     Every call returns an ncclResult_t; ncclGetLastError(NULL) has the sentence.
 */

#ifndef NCCL_H_ /* NCCL's own guard: of two nccl.h, the first one counts */
#define NCCL_H_

/* NOLINTBEGIN(modernize-*,google-*,readability-identifier-naming,misc-*,bugprone-*) */
#include <limits.h>
#include <stddef.h>

#if defined(__has_include) && !defined(GOSSAMER_NCCL_WITHOUT_CUDA)
#if __has_include(<cuda_runtime.h>)
#define GOSSAMER_NCCL_FINDS_CUDA 1
#endif
#endif
#ifdef GOSSAMER_NCCL_FINDS_CUDA
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#if CUDART_VERSION >= 11000
#include <cuda_bf16.h>
#endif
#if defined(__cplusplus) && CUDART_VERSION >= 11080
#include <cuda_fp8.h>
#endif
#elif !defined(__CUDA_RUNTIME_H__) /* the same type as CUDA's: both may be seen in C++ and C11 */
typedef struct CUstream_st* cudaStream_t;
#endif

#define NCCL_MAJOR 2
#ifdef GOSSAMER_NCCL_2_28
#define NCCL_MINOR 28
#define NCCL_PATCH 9
#define NCCL_VERSION_CODE 22809
#else
#define NCCL_MINOR 27
#define NCCL_PATCH 7
#define NCCL_VERSION_CODE 22707
#endif
#define NCCL_SUFFIX ""
#define NCCL_VERSION(X, Y, Z)                                     \
  (((X) <= 2 && (Y) <= 8) ? (X)*1000 + (Y)*100 + (Z) /* to 2.8 */ \
                          : (X)*10000 + (Y)*100 + (Z))

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ncclComm* ncclComm_t;            /* one rank's seat in a group */
typedef struct ncclWindow_vidmem* ncclWindow_t; /* registered memory; never to be looked into */
#define NCCL_COMM_NULL NULL

/* Where a group meets and the key that admits to it: a secret. Plain bytes; carry it to the other
 * ranks by any means. */
#define NCCL_UNIQUE_ID_BYTES 128
typedef struct {
  char internal[NCCL_UNIQUE_ID_BYTES];
} ncclUniqueId;

typedef enum {
  ncclSuccess = 0,
  ncclUnhandledCudaError = 1,
  ncclSystemError = 2,     /* the operating system refused something */
  ncclInternalError = 3,   /* ended by this rank's own abort or revoke; a bug */
  ncclInvalidArgument = 4, /* this call: the last error says what to change */
  ncclInvalidUsage = 5,    /* the program: calls that do not fit together, or are not served */
  ncclRemoteError = 6,     /* a rank's process or link is gone, or it does not answer */
  ncclInProgress = 7,      /* of a non-blocking communicator: ask ncclCommGetAsyncError() */
  ncclNumResults = 8
} ncclResult_t;

/* What a member of a configuration holds that its user leaves alone. */
#define NCCL_CONFIG_UNDEF_INT INT_MIN
#define NCCL_CONFIG_UNDEF_PTR NULL
#define NCCL_UNDEF_FLOAT -1.0f
#define NCCL_SPLIT_NOCOLOR -1

#define NCCL_WIN_DEFAULT 0x00
#define NCCL_WIN_COLL_SYMMETRIC 0x01
#define NCCL_WIN_REQUIRED_ALIGNMENT 4096

#define NCCL_CTA_POLICY_DEFAULT 0x00
#define NCCL_CTA_POLICY_EFFICIENCY 0x01
#define NCCL_CTA_POLICY_ZERO 0x02

#define NCCL_SHRINK_DEFAULT 0x00
#define NCCL_SHRINK_ABORT 0x01 /* first end what the parent is doing */
#define NCCL_REVOKE_DEFAULT 0x00

/* How to make a communicator; start from NCCL_CONFIG_INITIALIZER. The members about CTAs, NVLink
 * and collnet are checked and mean nothing on host memory. */
typedef struct ncclConfig_v22800 {
  size_t size; /* these three tell the library which header the program was compiled with */
  unsigned int magic;
  unsigned int version;
  int blocking; /* 1: calls return when done; 0: set-up calls return ncclInProgress */
  int cgaClusterSize;
  int minCTAs;
  int maxCTAs;
  const char* netName; /* "Socket", "IB", or a transport's name as in GOSSAMER_TRANSPORT */
  int splitShare;      /* 1: children may share the parent's resources */
  int trafficClass;
  const char* commName; /* shown in log lines and errors */
  int collnetEnable;
  int CTAPolicy;
  int shrinkShare;
  int nvlsCTAs;
  int nChannelsPerNetPeer;
  int nvlinkCentricSched;
} ncclConfig_t;

/* clang-format off */
#define NCCL_CONFIG_INITIALIZER                                                                    \
  {                                                                                                \
    sizeof(ncclConfig_t), 0xcafebeef, NCCL_VERSION(NCCL_MAJOR, NCCL_MINOR, NCCL_PATCH),            \
    NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,    \
    NCCL_CONFIG_UNDEF_PTR, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_PTR,    \
    NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,    \
    NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT                                                   \
  }
/* clang-format on */

/* What ncclGroupSimulateEnd() answers; start from NCCL_SIM_INFO_INITIALIZER. */
typedef struct ncclSimInfo_v22200 {
  size_t size;
  unsigned int magic;
  unsigned int version;
  float estimatedTime; /* microseconds; NCCL_UNDEF_FLOAT: not known */
} ncclSimInfo_t;
#define NCCL_SIM_INFO_INITIALIZER                                                        \
  {                                                                                      \
    sizeof(ncclSimInfo_t), 0x74685283, NCCL_VERSION(NCCL_MAJOR, NCCL_MINOR, NCCL_PATCH), \
        NCCL_UNDEF_FLOAT                                                                 \
  }

/* User reductions are numbers from ncclNumOps on, hence an enum as wide as an int. */
typedef enum { ncclNumOps_dummy = 5 } ncclRedOp_dummy_t;
typedef enum {
  ncclSum = 0,
  ncclProd = 1,
  ncclMax = 2,
  ncclMin = 3,
  ncclAvg = 4,
  ncclNumOps = 5,
  ncclMaxRedOp = 0x7fffffff >> (32 - 8 * sizeof(ncclRedOp_dummy_t))
} ncclRedOp_t;

typedef enum {
  ncclInt8 = 0,
  ncclChar = 0,
  ncclUint8 = 1,
  ncclInt32 = 2,
  ncclInt = 2,
  ncclUint32 = 3,
  ncclInt64 = 4,
  ncclUint64 = 5,
  ncclFloat16 = 6,
  ncclHalf = 6,
  ncclFloat32 = 7,
  ncclFloat = 7,
  ncclFloat64 = 8,
  ncclDouble = 8,
  ncclBfloat16 = 9,
  ncclFloat8e4m3 = 10,
  ncclFloat8e5m2 = 11,
  ncclNumTypes = 12
} ncclDataType_t;

typedef enum {
  ncclScalarDevice = 0,       /* read when the collective runs */
  ncclScalarHostImmediate = 1 /* read before ncclRedOpCreatePreMulSum() returns */
} ncclScalarResidence_t;

/* Every function exists a second time as pnccl..., for tools that wrap the first. */
#ifdef __cplusplus
#define GOSSAMER_NCCL_NOTHING
#else
#define GOSSAMER_NCCL_NOTHING void
#endif
#define GOSSAMER_NCCL_TWICE(result, name, parameters) \
  result nccl##name parameters;                       \
  result pnccl##name parameters
#define GOSSAMER_NCCL_CALL(name, parameters) GOSSAMER_NCCL_TWICE(ncclResult_t, name, parameters)

/* --- the library --- */

/* 22809. */
GOSSAMER_NCCL_CALL(GetVersion, (int* version));
/* The code in words. Never NULL. */
GOSSAMER_NCCL_TWICE(const char*, GetErrorString, (ncclResult_t result));
/* The last warning of this process, or "". `comm` may be NULL. Valid until this thread asks again.
 */
GOSSAMER_NCCL_TWICE(const char*, GetLastError, (ncclComm_t comm));
/* Reads NCCL_DEBUG, NCCL_DEBUG_SUBSYS and NCCL_DEBUG_FILE again. */
GOSSAMER_NCCL_TWICE(void, ResetDebugInit, (GOSSAMER_NCCL_NOTHING));

/* Page-aligned, zeroed memory that peers on this host read in place. */
GOSSAMER_NCCL_CALL(MemAlloc, (void** ptr, size_t size));
GOSSAMER_NCCL_CALL(MemFree, (void* ptr));

/* --- communicators --- */

/* Opens a meeting point in this process, for one group. The process need not be a member. */
GOSSAMER_NCCL_CALL(GetUniqueId, (ncclUniqueId * uniqueId));
/* Joins a group of `nranks` as `rank`. *comm is set at once, so that another thread can abort it.
 * `config` may be NULL. */
GOSSAMER_NCCL_CALL(CommInitRank, (ncclComm_t * comm, int nranks, ncclUniqueId commId, int rank));
GOSSAMER_NCCL_CALL(CommInitRankConfig, (ncclComm_t * comm, int nranks, ncclUniqueId commId,
                                        int rank, ncclConfig_t* config));
/* The same with several ids, equal on all ranks; ranks meet at the first one. */
GOSSAMER_NCCL_CALL(CommInitRankScalable, (ncclComm_t * newcomm, int nranks, int myrank, int nId,
                                          ncclUniqueId* commIds, ncclConfig_t* config));
/* All ranks of a group in this process: comm[0], ... comm[ndev - 1]. `devlist` may be NULL and may
 * name a device several times; devices mean nothing on host memory. */
GOSSAMER_NCCL_CALL(CommInitAll, (ncclComm_t * comm, int ndev, const int* devlist));
/* Waits for what was started; nothing may be started afterwards. Once. */
GOSSAMER_NCCL_CALL(CommFinalize, (ncclComm_t comm));
/* Waits for what was started, then frees `comm`; waits for no other rank. NULL: nothing to do. */
GOSSAMER_NCCL_CALL(CommDestroy, (ncclComm_t comm));
/* Ends whatever this rank is doing, joining included, here and on its peers, and frees `comm`. Any
 * thread. */
GOSSAMER_NCCL_CALL(CommAbort, (ncclComm_t comm));
/* Ends what is in flight. `comm` can still be split, shrunk and destroyed; all else is
 * ncclInvalidUsage. `revokeFlags` is NCCL_REVOKE_DEFAULT. */
GOSSAMER_NCCL_CALL(CommRevoke, (ncclComm_t comm, int revokeFlags));
/* Ranks of one color form a group, ordered by key, then by rank. NCCL_SPLIT_NOCOLOR: *newcomm is
 * NULL. A NULL config means the parent's. */
GOSSAMER_NCCL_CALL(CommSplit, (ncclComm_t comm, int color, int key, ncclComm_t* newcomm,
                               ncclConfig_t* config));
/* A group without the excluded ranks, which do not call and may be dead. */
GOSSAMER_NCCL_CALL(CommShrink, (ncclComm_t comm, int* excludeRanksList, int excludeRanksCount,
                                ncclComm_t* newcomm, ncclConfig_t* config, int shrinkFlags));
/* ncclSuccess, also while operations run; ncclInProgress while a set-up call does; or the failure
 * that ended this communicator. */
GOSSAMER_NCCL_CALL(CommGetAsyncError, (ncclComm_t comm, ncclResult_t* asyncError));
GOSSAMER_NCCL_CALL(CommCount, (const ncclComm_t comm, int* count));
GOSSAMER_NCCL_CALL(CommUserRank, (const ncclComm_t comm, int* rank));
/* -1: host memory. */
GOSSAMER_NCCL_CALL(CommCuDevice, (const ncclComm_t comm, int* device));

/* Tells the transports that this memory will be used again and again. *handle may be NULL. */
GOSSAMER_NCCL_CALL(CommRegister, (const ncclComm_t comm, void* buff, size_t size, void** handle));
GOSSAMER_NCCL_CALL(CommDeregister, (const ncclComm_t comm, void* handle));
GOSSAMER_NCCL_CALL(CommWindowRegister,
                   (ncclComm_t comm, void* buff, size_t size, ncclWindow_t* win, int winFlags));
GOSSAMER_NCCL_CALL(CommWindowDeregister, (ncclComm_t comm, ncclWindow_t win));

/* --- reductions of one's own --- */

/* *op sums each rank's elements times its *scalar, which is of `datatype`. */
GOSSAMER_NCCL_CALL(RedOpCreatePreMulSum, (ncclRedOp_t * op, void* scalar, ncclDataType_t datatype,
                                          ncclScalarResidence_t residence, ncclComm_t comm));
/* Allowed as soon as the calls that use it have returned, also inside a group. */
GOSSAMER_NCCL_CALL(RedOpDestroy, (ncclRedOp_t op, ncclComm_t comm));

/* --- collectives: r is a rank, n the number of ranks, i an element in [0, count) --- */

/* recvbuff[i] on `root` = op over all ranks of sendbuff[i]. In place: equal on `root`. */
GOSSAMER_NCCL_CALL(Reduce,
                   (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype,
                    ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t stream));
/* buff[i] = root's buff[i]. */
GOSSAMER_NCCL_CALL(Bcast, (void* buff, size_t count, ncclDataType_t datatype, int root,
                           ncclComm_t comm, cudaStream_t stream));
/* recvbuff[i] = root's sendbuff[i]. In place: equal on `root`. */
GOSSAMER_NCCL_CALL(Broadcast,
                   (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype,
                    int root, ncclComm_t comm, cudaStream_t stream));
/* recvbuff[i] = op over all ranks of sendbuff[i]. In place: equal. */
GOSSAMER_NCCL_CALL(AllReduce,
                   (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype,
                    ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream));
/* recvbuff[i] on r = op over all ranks of sendbuff[r * recvcount + i]. In place: recvbuff ==
 * sendbuff + rank * recvcount. */
GOSSAMER_NCCL_CALL(ReduceScatter,
                   (const void* sendbuff, void* recvbuff, size_t recvcount, ncclDataType_t datatype,
                    ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream));
/* recvbuff[r * sendcount + i] = r's sendbuff[i]. In place: sendbuff == recvbuff + rank * sendcount.
 */
GOSSAMER_NCCL_CALL(AllGather, (const void* sendbuff, void* recvbuff, size_t sendcount,
                               ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream));
/* recvbuff[r * count + i] = r's sendbuff[rank * count + i]. */
GOSSAMER_NCCL_CALL(AlltoAll, (const void* sendbuff, void* recvbuff, size_t count,
                              ncclDataType_t datatype, ncclComm_t comm, cudaStream_t stream));
/* recvbuff[r * count + i] on `root` = r's sendbuff[i]. In place on `root`: sendbuff == recvbuff +
 * root * count. */
GOSSAMER_NCCL_CALL(Gather,
                   (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype,
                    int root, ncclComm_t comm, cudaStream_t stream));
/* recvbuff[i] on r = root's sendbuff[r * count + i]. In place on `root`: recvbuff == sendbuff +
 * root * count. */
GOSSAMER_NCCL_CALL(Scatter,
                   (const void* sendbuff, void* recvbuff, size_t count, ncclDataType_t datatype,
                    int root, ncclComm_t comm, cudaStream_t stream));

/* Matched in order per pair of ranks. Outside a group a send may wait for its receive. Zero
 * elements are a message too. */
GOSSAMER_NCCL_CALL(Send, (const void* sendbuff, size_t count, ncclDataType_t datatype, int peer,
                          ncclComm_t comm, cudaStream_t stream));
GOSSAMER_NCCL_CALL(Recv, (void* recvbuff, size_t count, ncclDataType_t datatype, int peer,
                          ncclComm_t comm, cudaStream_t stream));

/* --- groups --- */

/* Calls between the outermost pair start together at its end, whatever their order. Nothing is
 * started if one of them was wrong; its error is what the end returns. */
GOSSAMER_NCCL_CALL(GroupStart, (GOSSAMER_NCCL_NOTHING));
GOSSAMER_NCCL_CALL(GroupEnd, (GOSSAMER_NCCL_NOTHING));
/* Ends the group without running it and says how long it would take. `simInfo` may be NULL. */
GOSSAMER_NCCL_CALL(GroupSimulateEnd, (ncclSimInfo_t * simInfo));

#undef GOSSAMER_NCCL_CALL
#undef GOSSAMER_NCCL_TWICE
#undef GOSSAMER_NCCL_NOTHING

#ifdef __cplusplus
}
#endif

/* NOLINTEND(modernize-*,google-*,readability-identifier-naming,misc-*,bugprone-*) */
#endif /* NCCL_H_ */
