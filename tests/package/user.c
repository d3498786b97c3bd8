/* The smallest user in C99. */
#include <gossamer/gossamer.h>
#include <stdio.h>

int main(void) {
  gossamerComm_t comm;
  float x[1000] = {1.0f};
  if (gossamerCommInitEnv(&comm, NULL) != gossamerSuccess) {
    fprintf(stderr, "%s\n", gossamerGetLastError(NULL));
    return 1;
  }
  if (gossamerAllReduce(x, x, 1000, gossamerFloat32, gossamerSum, comm) != gossamerSuccess)
    return 2;
  if (gossamerCommDestroy(comm) != gossamerSuccess) return 3;
  return x[0] == 1.0f && x[999] == 0.0f ? 0 : 4;
}
