// Times MPI's collectives. Built once against Open MPI and once against MPICH.

#include <mpi.h>

#include "perf/peers/driver.h"

namespace {

void run(const gossamer::CollectiveCall& c) {
  const auto count = static_cast<int>(c.count);
  const MPI_Comm world = MPI_COMM_WORLD;
  switch (c.collective) {
    case gossamer::Collective::kAllReduce:
      MPI_Allreduce(MPI_IN_PLACE, c.output, count, MPI_FLOAT, MPI_SUM, world);
      break;
    case gossamer::Collective::kAllGather:
      MPI_Allgather(c.input, count, MPI_BYTE, c.output, count, MPI_BYTE, world);
      break;
    case gossamer::Collective::kBroadcast:
      MPI_Bcast(c.output, count, MPI_BYTE, c.root, world);
      break;
    case gossamer::Collective::kReduce:
      MPI_Reduce(c.input, c.output, count, MPI_FLOAT, MPI_SUM, c.root, world);
      break;
    case gossamer::Collective::kReduceScatter:
      MPI_Reduce_scatter_block(c.input, c.output, count, MPI_FLOAT, MPI_SUM, world);
      break;
    case gossamer::Collective::kAllToAll:
      MPI_Alltoall(c.input, count, MPI_BYTE, c.output, count, MPI_BYTE, world);
      break;
    case gossamer::Collective::kGather:
      MPI_Gather(c.input, count, MPI_BYTE, c.output, count, MPI_BYTE, c.root, world);
      break;
    case gossamer::Collective::kScatter:
      MPI_Scatter(c.input, count, MPI_BYTE, c.output, count, MPI_BYTE, c.root, world);
      break;
    case gossamer::Collective::kNeighborAverage:  // not compared
    case gossamer::Collective::kNeighborAllGather:
      break;
  }
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  const gossamer::PeerFlags flags(argc, argv);
  gossamer::Peer peer;
  peer.name = flags.get("name", "mpi");
  MPI_Comm_rank(MPI_COMM_WORLD, &peer.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &peer.size);
  peer.run = run;
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
