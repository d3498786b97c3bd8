/* Prints every size, offset and value of nccl.h: compiled once with NCCL's header and once with
 * ours, the lines must be the same. */

#include <nccl.h>
#include <stddef.h>
#include <stdio.h>

#define SIZE(type) printf("sizeof " #type " %zu\n", sizeof(type))
#define AT(type, member)                                                          \
  printf("offsetof " #type "." #member " %zu size %zu\n", offsetof(type, member), \
         sizeof(((type*)0)->member))
#define VALUE(name) printf(#name " %lld\n", (long long)(name))

struct aligned_id {
  char before;
  ncclUniqueId id;
};

static void sizes(void) {
  SIZE(ncclUniqueId);
  AT(struct aligned_id, id);
  SIZE(ncclComm_t);
  SIZE(ncclWindow_t);
  SIZE(ncclResult_t);
  SIZE(ncclDataType_t);
  SIZE(ncclRedOp_t);
  SIZE(ncclScalarResidence_t);
  SIZE(ncclConfig_t);
  AT(ncclConfig_t, size);
  AT(ncclConfig_t, magic);
  AT(ncclConfig_t, version);
  AT(ncclConfig_t, blocking);
  AT(ncclConfig_t, cgaClusterSize);
  AT(ncclConfig_t, minCTAs);
  AT(ncclConfig_t, maxCTAs);
  AT(ncclConfig_t, netName);
  AT(ncclConfig_t, splitShare);
  AT(ncclConfig_t, trafficClass);
  AT(ncclConfig_t, commName);
  AT(ncclConfig_t, collnetEnable);
  AT(ncclConfig_t, CTAPolicy);
  AT(ncclConfig_t, shrinkShare);
  AT(ncclConfig_t, nvlsCTAs);
  AT(ncclConfig_t, nChannelsPerNetPeer);
  AT(ncclConfig_t, nvlinkCentricSched);
  SIZE(ncclSimInfo_t);
  AT(ncclSimInfo_t, size);
  AT(ncclSimInfo_t, magic);
  AT(ncclSimInfo_t, version);
  AT(ncclSimInfo_t, estimatedTime);
  SIZE(cudaStream_t);
}

static void values(void) {
  VALUE(ncclSuccess);
  VALUE(ncclUnhandledCudaError);
  VALUE(ncclSystemError);
  VALUE(ncclInternalError);
  VALUE(ncclInvalidArgument);
  VALUE(ncclInvalidUsage);
  VALUE(ncclRemoteError);
  VALUE(ncclInProgress);
  VALUE(ncclNumResults);
  VALUE(ncclInt8);
  VALUE(ncclChar);
  VALUE(ncclUint8);
  VALUE(ncclInt32);
  VALUE(ncclInt);
  VALUE(ncclUint32);
  VALUE(ncclInt64);
  VALUE(ncclUint64);
  VALUE(ncclFloat16);
  VALUE(ncclHalf);
  VALUE(ncclFloat32);
  VALUE(ncclFloat);
  VALUE(ncclFloat64);
  VALUE(ncclDouble);
  VALUE(ncclBfloat16);
  VALUE(ncclFloat8e4m3);
  VALUE(ncclFloat8e5m2);
  VALUE(ncclNumTypes);
  VALUE(ncclSum);
  VALUE(ncclProd);
  VALUE(ncclMax);
  VALUE(ncclMin);
  VALUE(ncclAvg);
  VALUE(ncclNumOps);
  VALUE(ncclMaxRedOp);
  VALUE(ncclScalarDevice);
  VALUE(ncclScalarHostImmediate);
  VALUE(NCCL_UNIQUE_ID_BYTES);
  VALUE(NCCL_CONFIG_UNDEF_INT);
  VALUE(NCCL_SPLIT_NOCOLOR);
  VALUE(NCCL_WIN_DEFAULT);
  VALUE(NCCL_WIN_COLL_SYMMETRIC);
  VALUE(NCCL_WIN_REQUIRED_ALIGNMENT);
  VALUE(NCCL_CTA_POLICY_DEFAULT);
  VALUE(NCCL_CTA_POLICY_EFFICIENCY);
  VALUE(NCCL_CTA_POLICY_ZERO);
  VALUE(NCCL_SHRINK_DEFAULT);
  VALUE(NCCL_SHRINK_ABORT);
  VALUE(NCCL_REVOKE_DEFAULT);
  VALUE(NCCL_MAJOR);
  VALUE(NCCL_MINOR);
  VALUE(NCCL_PATCH);
  VALUE(NCCL_VERSION_CODE);
  VALUE(NCCL_VERSION(2, 8, 3));
  VALUE(NCCL_VERSION(2, 9, 1));
}

int main(void) {
  const ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  const ncclSimInfo_t info = NCCL_SIM_INFO_INITIALIZER;
  const unsigned char* bytes = (const unsigned char*)&config;
  size_t i;
  sizes();
  values();
  printf("NCCL_SUFFIX '%s' NCCL_UNDEF_FLOAT %f\n", NCCL_SUFFIX, (double)NCCL_UNDEF_FLOAT);
  printf("config initialiser");
  for (i = 0; i < sizeof(config); ++i) printf(" %02x", bytes[i]);
  printf("\nsim info %zu %x %u %f\n", info.size, info.magic, info.version,
         (double)info.estimatedTime);
  return 0;
}
