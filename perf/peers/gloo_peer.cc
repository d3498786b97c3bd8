// Times Gloo over its TCP transport. Ranks come from GOSSAMER_RANK and
// GOSSAMER_SIZE.
//
//   --store FOLDER   empty, shared by the ranks
//   --interface lo
//   --algorithm new_ring | ring_chunked | halving_doubling
//   --mode async | sync | busy

#include <gloo/allgather.h>
#include <gloo/allgather_ring.h>
#include <gloo/allreduce.h>
#include <gloo/allreduce_halving_doubling.h>
#include <gloo/allreduce_ring_chunked.h>
#include <gloo/alltoall.h>
#include <gloo/broadcast.h>
#include <gloo/gather.h>
#include <gloo/math.h>
#include <gloo/reduce.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/scatter.h>
#include <gloo/transport/tcp/device.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "perf/peers/driver.h"

namespace {

using ContextPtr = std::shared_ptr<gloo::rendezvous::Context>;

int number_from(const char* variable) {
  const char* text = std::getenv(variable);
  return text == nullptr ? 0 : std::atoi(text);
}

ContextPtr connect(const gossamer::PeerFlags& flags, int rank, int size) {
  gloo::transport::tcp::attr where;
  where.iface = flags.get("interface", "lo");
  auto device = gloo::transport::tcp::CreateDevice(where);
  gloo::rendezvous::FileStore store(flags.get("store"));
  auto context = std::make_shared<gloo::rendezvous::Context>(rank, size);
  context->connectFullMesh(store, device);
  const std::string mode = flags.get("mode", "async");
  for (int r = 0; r < size && mode != "async"; ++r) {
    if (r != rank) context->getPair(r)->setSync(true, mode == "busy");
  }
  return context;
}

float* floats(const gossamer::CollectiveCall& call) {
  return static_cast<float*>(call.output);
}
uint8_t* bytes(const void* from) {
  return static_cast<uint8_t*>(const_cast<void*>(from));
}

void sum_floats(void* into, const void* a, const void* b, size_t n) {
  gloo::sum<float>(into, a, b, n);
}

void scatter(const ContextPtr& context, const gossamer::CollectiveCall& call) {
  gloo::ScatterOptions options(context);
  std::vector<uint8_t*> shares;
  for (int r = 0; r < context->size && context->rank == 0; ++r) {
    shares.push_back(bytes(call.input) + static_cast<size_t>(r) * call.count);
  }
  if (context->rank == 0) options.setInputs(shares, call.count);
  options.setOutput(bytes(call.output), call.count);
  options.setRoot(0);
  gloo::scatter(options);
}

void reduce(const ContextPtr& context, const gossamer::CollectiveCall& call) {
  static std::vector<float> partial;  // Gloo wants an output on every rank
  if (call.output == nullptr) partial.resize(call.count);
  gloo::ReduceOptions options(context);
  options.setInput(static_cast<float*>(const_cast<void*>(call.input)), call.count);
  options.setOutput(call.output == nullptr ? partial.data() : floats(call), call.count);
  options.setReduceFunction(sum_floats);
  options.setRoot(0);
  gloo::reduce(options);
}

void all_reduce(const ContextPtr& context, const gossamer::CollectiveCall& call) {
  gloo::AllreduceOptions options(context);
  options.setOutput(floats(call), call.count);
  options.setReduceFunction(sum_floats);
  gloo::allreduce(options);
}

void gather(const ContextPtr& context, const gossamer::CollectiveCall& call) {
  gloo::GatherOptions options(context);
  options.setInput(bytes(call.input), call.count);
  if (context->rank == 0) {
    options.setOutput(bytes(call.output), call.count * static_cast<size_t>(context->size));
  }
  options.setRoot(0);
  gloo::gather(options);
}

// The newer interface: one call. It has no reduce-scatter.
void run(const ContextPtr& context, const gossamer::CollectiveCall& call) {
  using gossamer::Collective;
  const size_t all = call.count * static_cast<size_t>(context->size);
  if (call.collective == Collective::kAllReduce) return all_reduce(context, call);
  if (call.collective == Collective::kReduce) return reduce(context, call);
  if (call.collective == Collective::kGather) return gather(context, call);
  if (call.collective == Collective::kScatter) return scatter(context, call);
  if (call.collective == Collective::kBroadcast) {
    gloo::BroadcastOptions options(context);
    options.setOutput(bytes(call.output), call.count);
    options.setRoot(0);
    return gloo::broadcast(options);
  }
  if (call.collective == Collective::kAllToAll) {
    gloo::AlltoallOptions options(context);
    options.setInput(bytes(call.input), all);
    options.setOutput(bytes(call.output), all);
    return gloo::alltoall(options);
  }
  gloo::AllgatherOptions options(context);
  options.setInput(bytes(call.input), call.count);
  options.setOutput(bytes(call.output), all);
  gloo::allgather(options);
}

void use_calls(const ContextPtr& context, gossamer::Peer* peer) {
  peer->lacks = {gossamer::Collective::kReduceScatter};
  peer->run = [context](const gossamer::CollectiveCall& call) { run(context, call); };
}

// The older one: an object bound to its buffers, run again and again.
void use_objects(const ContextPtr& context, const std::string& algorithm, gossamer::Peer* peer) {
  for (int i = 2; i < gossamer::kCollectiveCount; ++i) {
    peer->lacks.push_back(static_cast<gossamer::Collective>(i));  // all but all-reduce, all-gather
  }
  auto bound = std::make_shared<std::unique_ptr<gloo::Algorithm>>();
  peer->prepare = [=](const gossamer::CollectiveCall& call) {
    const auto count = static_cast<int>(call.count);
    bound->reset();
    if (call.collective == gossamer::Collective::kAllGather) {
      const std::vector<const uint8_t*> pointers{bytes(call.input)};
      *bound = std::make_unique<gloo::AllgatherRing<uint8_t>>(context, pointers, bytes(call.output),
                                                              count);
    } else if (algorithm == "ring_chunked") {
      *bound = std::make_unique<gloo::AllreduceRingChunked<float>>(
          context, std::vector<float*>{floats(call)}, count);
    } else {
      *bound = std::make_unique<gloo::AllreduceHalvingDoubling<float>>(
          context, std::vector<float*>{floats(call)}, count);
    }
  };
  peer->run = [bound](const gossamer::CollectiveCall&) { (*bound)->run(); };
}

}  // namespace

int main(int argc, char** argv) {
  const gossamer::PeerFlags flags(argc, argv);
  gossamer::Peer peer;
  peer.name = flags.get("name", "gloo");
  peer.rank = number_from("GOSSAMER_RANK");
  peer.size = number_from("GOSSAMER_SIZE");
  const auto context = connect(flags, peer.rank, peer.size);
  const std::string algorithm = flags.get("algorithm", "new_ring");
  if (algorithm == "new_ring")
    use_calls(context, &peer);
  else
    use_objects(context, algorithm, &peer);
  const int code = gossamer::run_peer(peer, flags);
  std::fflush(stdout);
  _exit(code);  // its threads need not be waited for
}
