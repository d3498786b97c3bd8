/* The host functions of NCCL's device API, for programs that ask before they use it.
 *
 * Kernels that communicate by themselves are not served on host memory: what prepares for them
 * answers ncclInvalidUsage, and their types are only named here. Questions about teams are
 * answered.
 *
 * Threads    Any.
 * Errors     As in nccl.h.
 */

#ifndef GOSSAMER_NCCL_DEVICE_H_
#define GOSSAMER_NCCL_DEVICE_H_

#include "nccl.h"

/* NOLINTBEGIN(modernize-*,google-*,readability-identifier-naming,misc-*,bugprone-*) */
#ifdef __cplusplus
extern "C" {
#endif

/* The ranks first, first + stride, ... of a communicator; `rank` is the caller's among them. */
typedef struct ncclTeam {
  int nRanks;
  int rank;
  int stride;
} ncclTeam_t;

typedef struct ncclDevComm ncclDevComm_t;
typedef struct ncclDevCommRequirements ncclDevCommRequirements_t;
typedef struct ncclDevResourceRequirements ncclDevResourceRequirements_t;
typedef struct ncclLsaBarrierHandle ncclLsaBarrierHandle_t;
typedef struct ncclGinBarrierHandle ncclGinBarrierHandle_t;
typedef struct ncclLLA2AHandle ncclLLA2AHandle_t;

#define GOSSAMER_NCCL_TWICE(result, name, parameters) \
  result nccl##name parameters;                       \
  result pnccl##name parameters

/* All ranks; those that this rank shares memory with by load and store (itself); one of each of
 * such sets (all). */
GOSSAMER_NCCL_TWICE(ncclTeam_t, TeamWorld, (ncclComm_t comm));
GOSSAMER_NCCL_TWICE(ncclTeam_t, TeamLsa, (ncclComm_t comm));
GOSSAMER_NCCL_TWICE(ncclTeam_t, TeamRail, (ncclComm_t comm));
/* A team's rank as a rank of all, and of TeamLsa. */
GOSSAMER_NCCL_TWICE(int, TeamRankToWorld, (ncclComm_t comm, ncclTeam_t team, int rank));
GOSSAMER_NCCL_TWICE(int, TeamRankToLsa, (ncclComm_t comm, ncclTeam_t team, int rank));

/* ncclInvalidUsage; ncclGetLastError() says why. */
GOSSAMER_NCCL_TWICE(ncclResult_t, DevCommCreate,
                    (ncclComm_t comm, const ncclDevCommRequirements_t* requirements,
                     ncclDevComm_t* outDevComm));
GOSSAMER_NCCL_TWICE(ncclResult_t, DevCommDestroy, (ncclComm_t comm, const ncclDevComm_t* devComm));
GOSSAMER_NCCL_TWICE(ncclResult_t, LsaBarrierCreateRequirement,
                    (ncclTeam_t team, int nBarriers, ncclLsaBarrierHandle_t* outHandle,
                     ncclDevResourceRequirements_t* outReq));
GOSSAMER_NCCL_TWICE(ncclResult_t, GinBarrierCreateRequirement,
                    (ncclComm_t comm, ncclTeam_t team, int nBarriers,
                     ncclGinBarrierHandle_t* outHandle, ncclDevResourceRequirements_t* outReq));
GOSSAMER_NCCL_TWICE(ncclResult_t, LLA2ACreateRequirement,
                    (int nBlocks, int nSlots, ncclLLA2AHandle_t* outHandle,
                     ncclDevResourceRequirements_t* outReq));
/* Slots for `maxElts` elements of `maxEltSize` bytes. */
GOSSAMER_NCCL_TWICE(int, LLA2ACalcSlots, (int maxElts, int maxEltSize));

#undef GOSSAMER_NCCL_TWICE

#ifdef __cplusplus
}
#endif

/* NOLINTEND(modernize-*,google-*,readability-identifier-naming,misc-*,bugprone-*) */
#endif /* GOSSAMER_NCCL_DEVICE_H_ */
