/* One process per rank, started by mpirun, srun or torchrun: the commonest layout.
 *
 *   mpirun -n 4 example_one_process_per_rank
 *
 * Ranks form a grid of data-parallel rows and pipeline columns, as trainers do: gradients are
 * summed within a row, activations travel down a column.
 *
 * run: 4 processes
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

enum { kColumns = 2, kBuckets = 3, kElements = 10000 };

int main(void) {
  static float gradients[kBuckets][kElements];
  static float activations[kElements];
  gossamerConfig_t config = GOSSAMER_CONFIG_INITIALIZER;
  gossamerComm_t world;
  gossamerComm_t row;
  gossamerComm_t column;
  int rank;
  int size;
  int place;
  int stages;
  int step;
  int i;

  config.name = "world";
  CHECK(gossamerCommInitEnv(&world, &config));
  CHECK(gossamerCommUserRank(world, &rank));
  CHECK(gossamerCommCount(world, &size));
  config.name = "data parallel";
  CHECK(gossamerCommSplit(world, rank / kColumns, rank, &row, &config));
  config.name = "pipeline";
  CHECK(gossamerCommSplit(world, rank % kColumns, rank, &column, &config));
  CHECK(gossamerCommUserRank(column, &place));
  CHECK(gossamerCommCount(column, &stages));

  for (step = 0; step < 10; ++step) {
    /* The pipeline: from the stage above, to the stage below. */
    if (place > 0) CHECK(gossamerRecv(activations, kElements, gossamerFloat, place - 1, column));
    for (i = 0; i < kElements; ++i) activations[i] += 1.0F;
    if (place + 1 < stages) {
      CHECK(gossamerSend(activations, kElements, gossamerFloat, place + 1, column));
    }
    /* All buckets of a step together. */
    for (i = 0; i < kBuckets * kElements; ++i) gradients[i / kElements][i % kElements] = 1.0F;
    CHECK(gossamerGroupStart());
    for (i = 0; i < kBuckets; ++i) {
      CHECK(gossamerAllReduce(gradients[i], gradients[i], kElements, gossamerFloat, gossamerSum,
                              row));
    }
    CHECK(gossamerGroupEnd());
    CHECK(gossamerCommCount(row, &i));
    if (gradients[kBuckets - 1][kElements - 1] != (float)i) {
      fprintf(stderr, "rank %d: the sum is %f\n", rank, (double)gradients[0][0]);
      return 1;
    }
  }
  if (rank == size - 1) printf("rank %d of %d is done\n", rank, size);
  CHECK(gossamerCommDestroy(column));
  CHECK(gossamerCommDestroy(row));
  CHECK(gossamerCommDestroy(world));
  return 0;
}
