// The host side of NCCL's device API. Kernels that communicate by themselves need device memory
// that all ranks map; host memory has none, so what would prepare for them is refused, and programs
// that ask first fall back. Questions about teams have true answers: a rank shares load-store
// memory with itself only.

#include <fmt/format.h>

#include "nccl/nccl_device.h"
#include "src/nccl/export.h"
#include "src/nccl/result.h"
#include "src/nccl/seat.h"

namespace gossamer::nccl {
namespace {

ncclResult_t not_served(const char* call) {
  return guarded([&] {
    return refuse(
        ncclInvalidUsage,
        fmt::format("{}: kernels that communicate by themselves need GPU memory, and this "
                    "library serves host memory; use the host calls",
                    call));
  });
}

ncclTeam_t world_of(ncclComm_t comm) {
  const Visit visit(comm);
  if (!visit) return {0, 0, 0};
  return {comm->size, comm->rank, 1};
}

constexpr ncclTeam_t kAlone{1, 0, 1};

int rank_in(const ncclTeam_t& own, const ncclTeam_t& team, int rank) {
  return own.rank + (rank - team.rank) * team.stride;
}

}  // namespace
}  // namespace gossamer::nccl

using gossamer::nccl::kAlone;
using gossamer::nccl::not_served;
using gossamer::nccl::rank_in;
using gossamer::nccl::world_of;

// NOLINTBEGIN(readability-identifier-naming): NCCL's names
GOSSAMER_NCCL_DEFINE(ncclTeam_t, ncclTeamWorld, ncclComm_t comm) {
  return world_of(comm);
}
// Every rank has a rail of its own when it shares memory with none.
GOSSAMER_NCCL_DEFINE(ncclTeam_t, ncclTeamRail, ncclComm_t comm) {
  return world_of(comm);
}
GOSSAMER_NCCL_DEFINE(ncclTeam_t, ncclTeamLsa, [[maybe_unused]] ncclComm_t comm) {
  return kAlone;
}

GOSSAMER_NCCL_DEFINE(int, ncclTeamRankToWorld, ncclComm_t comm, ncclTeam_t team, int rank) {
  return rank_in(world_of(comm), team, rank);
}

GOSSAMER_NCCL_DEFINE(int, ncclTeamRankToLsa, [[maybe_unused]] ncclComm_t comm, ncclTeam_t team,
                     int rank) {
  return rank_in(kAlone, team, rank);
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclDevCommCreate, [[maybe_unused]] ncclComm_t comm,
                     [[maybe_unused]] const ncclDevCommRequirements_t* requirements,
                     [[maybe_unused]] ncclDevComm_t* outDevComm) {
  return not_served("ncclDevCommCreate");
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclDevCommDestroy, [[maybe_unused]] ncclComm_t comm,
                     [[maybe_unused]] const ncclDevComm_t* devComm) {
  return not_served("ncclDevCommDestroy");
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclLsaBarrierCreateRequirement,
                     [[maybe_unused]] ncclTeam_t team, [[maybe_unused]] int nBarriers,
                     [[maybe_unused]] ncclLsaBarrierHandle_t* outHandle,
                     [[maybe_unused]] ncclDevResourceRequirements_t* outReq) {
  return not_served("ncclLsaBarrierCreateRequirement");
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclGinBarrierCreateRequirement,
                     [[maybe_unused]] ncclComm_t comm, [[maybe_unused]] ncclTeam_t team,
                     [[maybe_unused]] int nBarriers,
                     [[maybe_unused]] ncclGinBarrierHandle_t* outHandle,
                     [[maybe_unused]] ncclDevResourceRequirements_t* outReq) {
  return not_served("ncclGinBarrierCreateRequirement");
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclLLA2ACreateRequirement, [[maybe_unused]] int nBlocks,
                     [[maybe_unused]] int nSlots, [[maybe_unused]] ncclLLA2AHandle_t* outHandle,
                     [[maybe_unused]] ncclDevResourceRequirements_t* outReq) {
  return not_served("ncclLLA2ACreateRequirement");
}

// Slots carry 8 bytes of an element each.
GOSSAMER_NCCL_DEFINE(int, ncclLLA2ACalcSlots, int maxElts, int maxEltSize) {
  return maxElts * ((maxEltSize + 7) / 8);
}
// NOLINTEND(readability-identifier-naming)
