#include <nccl.h>
#include <stdio.h>

int main(void) {
  ncclComm_t comm;
  float x = 21;
  if (ncclCommInitAll(&comm, 1, NULL) != ncclSuccess ||
      ncclAllReduce(&x, &x, 1, ncclFloat, ncclSum, comm, NULL) != ncclSuccess ||
      ncclCommDestroy(comm) != ncclSuccess) {
    printf("%s\n", ncclGetLastError(NULL));
    return 1;
  }
  return x == 21 ? 0 : 1;
}
