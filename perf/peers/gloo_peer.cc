// Times Gloo over its TCP transport. Ranks come from GOSSAMER_RANK and GOSSAMER_SIZE.
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
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
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

// The newer interface: one call, a ring.
void use_calls(const ContextPtr& context, gossamer::Peer* peer) {
  peer->all_reduce = [context](float* values, size_t count) {
    gloo::AllreduceOptions options(context);
    options.setOutput(values, count);
    options.setReduceFunction([](void* into, const void* a, const void* b, size_t n) {
      gloo::sum<float>(into, a, b, n);
    });
    gloo::allreduce(options);
  };
  peer->all_gather = [context](const void* input, void* output, size_t bytes) {
    gloo::AllgatherOptions options(context);
    options.setInput(static_cast<uint8_t*>(const_cast<void*>(input)), bytes);
    options.setOutput(static_cast<uint8_t*>(output), bytes * static_cast<size_t>(context->size));
    gloo::allgather(options);
  };
}

// The older one: an object bound to its buffers, run again and again.
void use_objects(const ContextPtr& context, const std::string& algorithm, gossamer::Peer* peer) {
  auto bound = std::make_shared<std::unique_ptr<gloo::Algorithm>>();
  peer->prepare_all_reduce = [=](float* values, size_t count) {
    const std::vector<float*> pointers{values};
    bound->reset();
    if (algorithm == "ring_chunked")
      *bound = std::make_unique<gloo::AllreduceRingChunked<float>>(context, pointers,
                                                                   static_cast<int>(count));
    else
      *bound = std::make_unique<gloo::AllreduceHalvingDoubling<float>>(context, pointers,
                                                                       static_cast<int>(count));
  };
  peer->prepare_all_gather = [=](const void* input, void* output, size_t bytes) {
    const std::vector<const uint8_t*> pointers{static_cast<const uint8_t*>(input)};
    bound->reset();
    *bound = std::make_unique<gloo::AllgatherRing<uint8_t>>(
        context, pointers, static_cast<uint8_t*>(output), static_cast<int>(bytes));
  };
  peer->all_reduce = [bound](float*, size_t) { (*bound)->run(); };
  peer->all_gather = [bound](const void*, void*, size_t) { (*bound)->run(); };
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
