/* One thread that makes the calls of all ranks, as with ncclCommInitAll: within a group, and on a
 * stream that works beside the caller.
 *
 * run: 1 process
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "gossamer/gossamer.h"

#define CHECK(call)                                                   \
  do {                                                                \
    if ((call) != gossamerSuccess) {                                  \
      fprintf(stderr, "%s: %s\n", #call, gossamerGetLastError(NULL)); \
      exit(1);                                                        \
    }                                                                 \
  } while (0)

enum { kRanks = 4, kElements = 5000 };

int main(void) {
  static float values[kRanks][kElements];
  static float halo[kRanks][kElements];
  gossamerComm_t comms[kRanks];
  gossamerStream_t stream;
  int rank;
  int i;

  CHECK(gossamerCommInitAll(comms, kRanks, NULL));
  CHECK(gossamerStreamCreate(&stream));
  for (rank = 0; rank < kRanks; ++rank) {
    for (i = 0; i < kElements; ++i) values[rank][i] = (float)rank;
  }

  CHECK(gossamerStreamUse(stream));
  CHECK(gossamerGroupStart());
  for (rank = 0; rank < kRanks; ++rank) {
    CHECK(gossamerAllReduce(values[rank], values[rank], kElements, gossamerFloat, gossamerSum,
                            comms[rank]));
  }
  CHECK(gossamerGroupEnd());
  /* A ring: to the right neighbour, from the left one. */
  CHECK(gossamerGroupStart());
  for (rank = 0; rank < kRanks; ++rank) {
    CHECK(gossamerSend(values[rank], kElements, gossamerFloat, (rank + 1) % kRanks, comms[rank]));
    CHECK(gossamerRecv(halo[rank], kElements, gossamerFloat, (rank + kRanks - 1) % kRanks,
                       comms[rank]));
  }
  CHECK(gossamerGroupEnd());
  CHECK(gossamerStreamUse(NULL));
  /* ... the caller's own work ... */
  CHECK(gossamerStreamSynchronize(stream));

  for (rank = 0; rank < kRanks; ++rank) {
    if (halo[rank][kElements - 1] != 6.0F) {
      fprintf(stderr, "rank %d: %f\n", rank, (double)halo[rank][0]);
      return 1;
    }
  }
  CHECK(gossamerStreamDestroy(stream));
  for (rank = 0; rank < kRanks; ++rank) CHECK(gossamerCommDestroy(comms[rank]));
  printf("%d ranks are done\n", kRanks);
  return 0;
}
