// Times MPI_Allreduce and MPI_Allgather. Built once against Open MPI and once against MPICH.

#include <mpi.h>

#include "perf/peers/driver.h"

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  const gossamer::PeerFlags flags(argc, argv);
  gossamer::Peer peer;
  peer.name = flags.get("name", "mpi");
  MPI_Comm_rank(MPI_COMM_WORLD, &peer.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &peer.size);
  peer.all_reduce = [](float* values, size_t count) {
    MPI_Allreduce(MPI_IN_PLACE, values, static_cast<int>(count), MPI_FLOAT, MPI_SUM,
                  MPI_COMM_WORLD);
  };
  peer.all_gather = [](const void* input, void* output, size_t bytes) {
    MPI_Allgather(input, static_cast<int>(bytes), MPI_BYTE, output, static_cast<int>(bytes),
                  MPI_BYTE, MPI_COMM_WORLD);
  };
  // the tail of a "complete" send may stay queued until its sender calls the library again
  peer.progress = [] {
    int flag = 0;
    MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &flag, MPI_STATUS_IGNORE);
  };
  const int code = gossamer::run_peer(peer, flags);
  if (code != 0) MPI_Abort(MPI_COMM_WORLD, code);
  MPI_Finalize();
  return 0;
}
