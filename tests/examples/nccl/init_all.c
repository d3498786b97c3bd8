/* One process and one thread with all ranks of a group, as programs with several GPUs in one box
 * are written: ncclCommInitAll(), and every round of calls in a group, so that they go on together.
 *
 *   usage    init_all [ranks]
 */

#include "example.h"

#define COUNT 1000
#define RANKS_MAX 64

static ncclComm_t comms[RANKS_MAX];
static float gradients[RANKS_MAX][COUNT];

int main(int argc, char** argv) {
  const int ranks = argc > 1 ? atoi(argv[1]) : 4;
  int rank, i;
  if (ranks < 1 || ranks > RANKS_MAX) {
    fprintf(stderr, "init_all: ranks must be from 1 to %d\n", RANKS_MAX);
    return 2;
  }
  CHECK(ncclCommInitAll(comms, ranks, NULL));
  for (rank = 0; rank < ranks; ++rank) {
    for (i = 0; i < COUNT; ++i) gradients[rank][i] = (float)(rank + 1);
  }
  CHECK(ncclGroupStart());
  for (rank = 0; rank < ranks; ++rank) {
    CHECK(ncclAllReduce(gradients[rank], gradients[rank], COUNT, ncclFloat, ncclAvg, comms[rank],
                        NULL));
  }
  CHECK(ncclGroupEnd()); /* host memory and no stream: all of them are complete */
  printf("average of %d ranks: %g\n", ranks, (double)gradients[ranks - 1][COUNT - 1]);
  for (rank = 0; rank < ranks; ++rank) CHECK(ncclCommDestroy(comms[rank]));
  return gradients[0][0] == (float)(ranks + 1) / 2 ? 0 : 1;
}
