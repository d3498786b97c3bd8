// Reductions of the user's: sums of pre-multiplied inputs.

#include <fmt/format.h>

#include "src/enum_number.h"
#include "src/nccl/export.h"
#include "src/nccl/result.h"
#include "src/nccl/scalar.h"
#include "src/nccl/seat.h"

namespace gossamer::nccl {
namespace {

// A handle is ncclNumOps or more and says whose it is: another communicator's, or one that was
// destroyed, is not taken for this one's. Serial numbers come round after 2^18 communicators and
// 2^12 operations.
constexpr int kOpBits = 12;
constexpr int kOpsMax = 1 << kOpBits;
constexpr uint64_t kLifeMask = (1U << 18) - 1;

int handle_of(uint64_t life, int serial) {
  const auto owner = static_cast<int>(life & kLifeMask);
  return ncclNumOps + (owner << kOpBits | (serial & (kOpsMax - 1)));
}

ncclResult_t create(ncclRedOp_t* op, const void* scalar, const ncclDataType_t& type,
                    const ncclScalarResidence_t& residence, ncclComm_t comm) {
  constexpr const char* kCall = "ncclRedOpCreatePreMulSum";
  const Visit visit(comm);
  if (!visit || comm->usable.load() == nullptr) return diagnose(comm, visit, kCall);
  const auto no = [&](const std::string& why) {
    return refuse(ncclInvalidArgument, fmt::format("{}: {}", kCall, why), comm->identity);
  };
  if (op == nullptr || scalar == nullptr) {
    return no(op == nullptr ? "the pointer for the operation is NULL"
                            : "the pointer to the factor is NULL");
  }
  if (number_of(type) >= ncclNumTypes) {
    return no(fmt::format("data type {} is none of ncclDataType_t", number_of(type)));
  }
  UserOp made;
  made.type = type;
  if (number_of(residence) == ncclScalarHostImmediate) {
    const Result<double> factor = read_factor(scalar, static_cast<DataType>(number_of(type)));
    if (!factor) return no(factor.status().message());
    made.factor = *factor;
  } else if (number_of(residence) == ncclScalarDevice) {
    made.device_factor = scalar;
  } else {
    return no(fmt::format("residence {} is none of ncclScalarResidence_t", number_of(residence)));
  }
  const std::lock_guard lock(comm->mutex);
  if (comm->ops.size() >= kOpsMax) {
    return no(fmt::format("{} operations exist already; destroy some", kOpsMax));
  }
  int handle = 0;
  do {
    handle = handle_of(visit.life(), comm->ops_made++);
  } while (comm->ops.contains(handle));
  comm->ops.emplace(handle, made);
  *op = static_cast<ncclRedOp_t>(handle);
  return ncclSuccess;
}

ncclResult_t destroy(const ncclRedOp_t& op, ncclComm_t comm) {
  constexpr const char* kCall = "ncclRedOpDestroy";
  const uint32_t number = number_of(op);
  if (number < ncclNumOps) {
    return refuse(ncclInvalidArgument,
                  fmt::format("{}: operation {} is built in and stays", kCall, number));
  }
  const Visit visit(comm);
  if (!visit) return diagnose(comm, visit, kCall);
  if (is_foreign(comm)) return ncclSuccess;
  const std::lock_guard lock(comm->mutex);
  if (comm->ops.erase(static_cast<int>(number)) > 0) return ncclSuccess;
  return refuse(ncclInvalidArgument,
                fmt::format("{}: operation {} is none of this communicator's, or was destroyed "
                            "before",
                            kCall, number),
                comm->identity);
}

}  // namespace
}  // namespace gossamer::nccl

using gossamer::nccl::guarded;

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclRedOpCreatePreMulSum, ncclRedOp_t* op, void* scalar,
                     ncclDataType_t datatype, ncclScalarResidence_t residence, ncclComm_t comm) {
  return guarded([&] { return gossamer::nccl::create(op, scalar, datatype, residence, comm); });
}

GOSSAMER_NCCL_DEFINE(ncclResult_t, ncclRedOpDestroy, ncclRedOp_t op, ncclComm_t comm) {
  return guarded([&] { return gossamer::nccl::destroy(op, comm); });
}
