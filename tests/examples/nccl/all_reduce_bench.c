/* nccl-tests' all_reduce_perf in short, on host memory and with NCCL's calls alone: sizes doubled,
 * out of place and in place, the time of the slowest rank, every element checked.
 *
 *   usage    mpirun -np 2 all_reduce_bench [last size in bytes [operations per size]]
 */

#include <mpi.h>

#include "example.h"

static int rank, size;
static ncclComm_t comm;

/* Microseconds per operation, of the slowest rank. */
static double time_of(const float* in, float* out, size_t count, int operations) {
  double took = 0, slowest = 0;
  int i;
  CHECK(ncclAllReduce(in, out, count, ncclFloat, ncclSum, comm, NULL));
  MPI_Barrier(MPI_COMM_WORLD);
  took = MPI_Wtime();
  for (i = 0; i < operations; ++i) {
    CHECK(ncclAllReduce(in, out, count, ncclFloat, ncclSum, comm, NULL));
  }
  took = (MPI_Wtime() - took) / operations * 1e6;
  MPI_Allreduce(&took, &slowest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
  return slowest;
}

/* Elements that one operation on fresh data leaves wrong, on all ranks together. */
static long wrong_of(float* in, float* out, size_t count) {
  long wrong = 0, all = 0;
  size_t i;
  for (i = 0; i < count; ++i) in[i] = (float)((i + (size_t)rank) % 11);
  CHECK(ncclAllReduce(in, out, count, ncclFloat, ncclSum, comm, NULL));
  for (i = 0; i < count; ++i) {
    float sum = 0;
    int r;
    for (r = 0; r < size; ++r) sum += (float)((i + (size_t)r) % 11);
    wrong += out[i] != sum;
  }
  MPI_Allreduce(&wrong, &all, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
  return all;
}

int main(int argc, char** argv) {
  ncclUniqueId id;
  const size_t last = argc > 1 ? strtoull(argv[1], NULL, 10) : 1 << 20;
  const int operations = argc > 2 ? atoi(argv[2]) : 20;
  float *in, *out;
  size_t bytes;
  long failures = 0;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  if (rank == 0) CHECK(ncclGetUniqueId(&id));
  MPI_Bcast(&id, sizeof(id), MPI_BYTE, 0, MPI_COMM_WORLD);
  CHECK(ncclCommInitRank(&comm, size, id, rank));
  CHECK(ncclMemAlloc((void**)&in, last));
  CHECK(ncclMemAlloc((void**)&out, last));
  if (rank == 0) {
    printf("# all_reduce, float, sum, %d ranks\n", size);
    printf("#%11s %12s %10s %8s %10s %8s %8s\n", "size", "count", "out (us)", "busbw", "in (us)",
           "busbw", "#wrong");
  }
  for (bytes = 8; bytes <= last; bytes *= 2) {
    const size_t count = bytes / sizeof(float);
    const double factor = (double)bytes * 2 * (size - 1) / size * 1e-3; /* us to GB/s */
    const double apart = time_of(in, out, count, operations);
    const double in_place = time_of(out, out, count, operations);
    const long wrong = wrong_of(in, out, count) + wrong_of(out, out, count);
    failures += wrong;
    if (rank == 0) {
      printf("%12zu %12zu %10.2f %8.3f %10.2f %8.3f %8ld\n", bytes, count, apart, factor / apart,
             in_place, factor / in_place, wrong);
    }
  }
  CHECK(ncclMemFree(in));
  CHECK(ncclMemFree(out));
  CHECK(ncclCommDestroy(comm));
  MPI_Finalize();
  return failures == 0 ? 0 : 1;
}
