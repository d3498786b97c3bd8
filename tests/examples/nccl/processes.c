/* One process per rank, under mpirun: MPI carries the unique id, and the rest is NCCL's. The group
 * is made without blocking and has a deadline of its own; then it is split in two.
 *
 *   usage    mpirun -np 4 processes
 */

#include <mpi.h>
#include <time.h>

#include "example.h"

#define COUNT 100000

static double seconds(void) {
  struct timespec now;
  timespec_get(&now, TIME_UTC);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Waits until set-up has come to an end; gives up after a while. */
static void await(ncclComm_t comm) {
  const double deadline = seconds() + 60;
  ncclResult_t state = ncclInProgress;
  while (state == ncclInProgress) {
    CHECK(ncclCommGetAsyncError(comm, &state));
    if (seconds() > deadline) {
      fprintf(stderr, "not all ranks have come\n");
      ncclCommAbort(comm);
      exit(1);
    }
  }
  CHECK(state);
}

int main(int argc, char** argv) {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  ncclUniqueId id;
  ncclComm_t comm, half = NULL;
  float* x = malloc(COUNT * sizeof(float));
  int rank, size, i, bad = 0;
  ncclResult_t begun;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (rank == 0) CHECK(ncclGetUniqueId(&id));
  MPI_Bcast(&id, sizeof(id), MPI_BYTE, 0, MPI_COMM_WORLD);

  config.blocking = 0;
  config.commName = "world";
  begun = ncclCommInitRankConfig(&comm, size, id, rank, &config);
  if (begun != ncclInProgress) CHECK(begun);
  await(comm);
  begun = ncclCommSplit(comm, rank % 2, rank, &half, NULL);
  if (begun != ncclInProgress) CHECK(begun);
  await(comm); /* `half` is set when the parent is no longer in progress */

  for (i = 0; x != NULL && i < COUNT; ++i) x[i] = 1;
  CHECK(ncclAllReduce(x, x, COUNT, ncclFloat, ncclSum, half, NULL));
  CHECK(ncclAllReduce(x, x, COUNT, ncclFloat, ncclMax, comm, NULL));
  for (i = 0; x != NULL && i < COUNT; ++i) bad += x[i] != (float)((size + 1) / 2);
  if (rank == 0) printf("%d ranks, %d wrong elements\n", size, bad);

  CHECK(ncclCommDestroy(half));
  begun = ncclCommFinalize(comm);
  if (begun != ncclInProgress) CHECK(begun);
  await(comm);
  CHECK(ncclCommDestroy(comm));
  MPI_Finalize();
  free(x);
  return bad == 0 ? 0 : 1;
}
