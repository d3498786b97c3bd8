/* What people run first on a new machine: sizes, times, bandwidth, and wrong results, in a table.
 *
 *   mpirun -n 4 example_sweep
 *
 * `gossamer perf` does the same for every collective, with better statistics.
 *
 * run: 4 processes
 */

#define _POSIX_C_SOURCE 200809L

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "gossamer/gossamer.h"

#define CHECK(call)                                                   \
  do {                                                                \
    if ((call) != gossamerSuccess) {                                  \
      fprintf(stderr, "%s: %s\n", #call, gossamerGetLastError(NULL)); \
      exit(1);                                                        \
    }                                                                 \
  } while (0)

enum { kElementsMax = 1 << 18, kWarmups = 3, kRuns = 10 };

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

int main(void) {
  gossamerComm_t comm;
  void* memory = NULL;
  float* values;
  int rank;
  int size;
  int wrong_in_all = 0;
  size_t count;

  CHECK(gossamerCommInitEnv(&comm, NULL));
  CHECK(gossamerCommUserRank(comm, &rank));
  CHECK(gossamerCommCount(comm, &size));
  CHECK(gossamerMemAlloc(&memory, kElementsMax * sizeof(float)));
  values = memory;
  if (rank == 0)
    printf("%12s %12s %10s %10s %8s\n", "bytes", "count", "time us", "busbw GB/s", "wrong");
  for (count = 2; count <= kElementsMax; count *= 8) {
    double began = 0;
    double us;
    int wrong = 0;
    int run;
    size_t i;
    for (run = 0; run < kWarmups + kRuns; ++run) {
      if (run == kWarmups) began = now_us();
      CHECK(gossamerAllReduce(values, values, count, gossamerFloat, gossamerMax, comm));
    }
    us = (now_us() - began) / kRuns;
    for (i = 0; i < count; ++i) values[i] = (float)(rank + 1);
    CHECK(gossamerAllReduce(values, values, count, gossamerFloat, gossamerSum, comm));
    for (i = 0; i < count; ++i) wrong += values[i] != (float)(size * (size + 1) / 2);
    wrong_in_all += wrong;
    if (rank == 0) {
      const double bytes = (double)count * sizeof(float);
      printf("%12.0f %12lu %10.1f %10.3f %8d\n", bytes, (unsigned long)count, us,
             bytes / us / 1e3 * 2 * (size - 1) / size, wrong);
    }
  }
  CHECK(gossamerCommDestroy(comm));
  CHECK(gossamerMemFree(memory));
  return wrong_in_all == 0 ? 0 : 1;
}
