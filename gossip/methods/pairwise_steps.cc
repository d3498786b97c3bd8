// AD-PSGD over a communicator: one receive per neighbor is always posted, and only finish() waits.

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "gossip/graph.h"
#include "gossip/methods/checks.h"
#include "gossip/methods/pairwise_edge.h"

namespace gossamer {
namespace {

// How long one neighbor is listened to alone while another might have something to say.
constexpr std::chrono::microseconds kListen{200};

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

PacketKind kind_of(const std::vector<std::byte>& packet) {
  PacketHead head;
  std::memcpy(&head, packet.data(), sizeof head);
  return head.kind;
}

}  // namespace

Status PairwiseSgd::check_graph_of(const Communicator& comm, const Graph& graph) {
  if (comm.rank() != options_.rank || comm.size() != options_.size) {
    return invalid(fmt::format("the method is rank {} of {} and this communicator rank {} of {}",
                               options_.rank, options_.size, comm.rank(), comm.size()));
  }
  if (Status sound = admit(&admitted_, comm, graph, Stochastic::kDouble, true); !sound) {
    return sound;
  }
  if (graph.period() != 1) {
    return invalid(
        fmt::format("graph {} has rounds that differ; without rounds neighbors are always the same",
                    graph.name()));
  }
  if (!shrunk_) return Status::ok();
  const std::shared_ptr<const Mixing> mixing = graph.mixing(0);
  for (Rank r = 0; r < options_.size; ++r) {
    if (!edges_[static_cast<size_t>(r)].asked || mixing->weight(options_.rank, r) > 0) continue;
    return invalid(
        fmt::format("an exchange with rank {} is open, which is no neighbor of rank {} in graph "
                    "{}; heal_graph() leaves neighbors neighbors",
                    r, options_.rank, graph.name()));
  }
  shrunk_ = false;
  return Status::ok();
}

// The neighbor's resumption has come.
Status PairwiseSgd::resume(Communicator& comm, Rank peer) {
  Edge& edge = edges_[static_cast<size_t>(peer)];
  PacketHead head;
  std::memcpy(&head, edge.arriving.data(), sizeof head);
  const bool behind = head.number == edge.done + 1 && edge.asked;    // its answer comes
  const bool ahead = head.number + 1 == edge.done && edge.answered;  // mine did not
  if (head.kind != PacketKind::kResume || !(behind || ahead || head.number == edge.done)) {
    return Status::error(Code::kMismatch,
                         fmt::format("rank {} does not resume after exchange {} with it as this "
                                     "rank does: all that are left call shrink() with the same "
                                     "ranks, or load() what was saved",
                                     peer, edge.done),
                         peer);
  }
  if (ahead) {
    edge.sends_answer =
        comm.start_send(edge.answer.data(), edge.answer.size(), DataType::kUint8, peer);
  }
  edge.asks_again = edge.asked && !behind;
  edge.resumes = false;
  return Status::ok();
}

// Takes what has come from one neighbor, and answers.
Status PairwiseSgd::serve_one(Communicator& comm, Rank peer, void* x, bool* moved) {
  Edge& edge = edges_[static_cast<size_t>(peer)];
  const uint64_t bytes = kPacketHeadBytes + options_.count * size_of(options_.type);
  const auto listen = [&] {
    edge.receive = comm.start_recv(edge.arriving.data(), bytes, DataType::kUint8, peer);
    edge.listens = true;
  };
  if (!edge.listens && !edge.ended) {
    edge.arriving.resize(bytes);
    edge.request.resize(bytes);
    edge.answer.resize(bytes);
    listen();
  }
  if (edge.resumes && edge.resumption.empty()) {
    edge.resumption.resize(bytes);
    const PacketHead head{PacketKind::kResume, edge.done};
    std::memcpy(edge.resumption.data(), &head, sizeof head);
    edge.sends_request = comm.start_send(edge.resumption.data(), bytes, DataType::kUint8, peer);
  }
  while (edge.listens && edge.receive.test()) {
    *moved = true;
    edge.listens = false;
    if (Status arrived = edge.receive.wait(); !arrived) return arrived;
    edge.receive = Work();  // it may not outlive the communicator
    if (kind_of(edge.arriving) == PacketKind::kEnd) {
      edge.ended = true;
      if (edge.asked) listen();
      continue;
    }
    if (edge.resumes) {
      if (Status resumed = resume(comm, peer); !resumed) return resumed;
      listen();
      continue;
    }
    // Its last answer has been taken there: it asks again.
    if (kind_of(edge.arriving) == PacketKind::kRequest) {
      if (Status sent = edge.sends_answer.wait(); !sent) return sent;
    }
    const auto back = take(peer, edge.arriving, x);
    if (!back) return Status::error(Code::kMismatch, back.status().message(), peer);
    if (!back->empty()) {
      edge.sends_answer = comm.start_send(back->data(), bytes, DataType::kUint8, peer);
    }
    if (!edge.ended) listen();
  }
  edge.asks_again = edge.asks_again && edge.asked;  // or it was dropped for the neighbor's
  if (edge.asks_again && edge.sends_request.test()) {
    if (Status sent = edge.sends_request.wait(); !sent) return sent;
    edge.sends_request = comm.start_send(edge.request.data(), bytes, DataType::kUint8, peer);
    edge.asks_again = false;
  }
  return Status::ok();
}

Status PairwiseSgd::serve(Communicator& comm, std::span<const Rank> neighbors, void* x,
                          bool* moved) {
  for (const Rank peer : neighbors) {
    if (Status served = serve_one(comm, peer, x, moved); !served) return served;
  }
  return Status::ok();
}

Status PairwiseSgd::step(Communicator& comm, const Graph& graph, void* x, const void* gradient,
                         double rate) {
  const uint64_t bytes = options_.count * size_of(options_.type);
  if (Status sound = check_step(x, gradient, rate, bytes); !sound) return sound;
  if (Status sound = check_graph_of(comm, graph); !sound) return sound;
  const std::shared_ptr<const Mixing> mixing = graph.mixing(0);
  const std::span<const Rank> neighbors = mixing->targets(options_.rank);
  bool moved = false;
  if (Status served = serve(comm, neighbors, x, &moved); !served) return served;
  add_scaled(options_.type, x, x, gradient, options_.count, -rate);
  const uint64_t drawn = draw(options_.seed, steps_++, static_cast<uint64_t>(options_.rank));
  if (neighbors.empty()) return Status::ok();
  const bool busy =
      std::any_of(neighbors.begin(), neighbors.end(), [&](Rank r) { return open(r); });
  if (busy) return Status::ok();
  const Rank peer = neighbors[drawn % neighbors.size()];
  Edge& edge = edges_[static_cast<size_t>(peer)];
  // A peer that has told its end still answers, but what is not asked need not be waited for. A
  // request that was dropped for the peer's may still be on its way.
  if (edge.ended || edge.resumes || !edge.sends_request.test()) return Status::ok();
  if (Status sent = edge.sends_request.wait(); !sent) return sent;
  const auto packet = request(peer, x);
  if (!packet) return packet.status();
  edge.sends_request = comm.start_send(packet->data(), packet->size(), DataType::kUint8, peer);
  return Status::ok();
}

// Serves until this rank owes and awaits no answer and no resumption, or, if `ended`, until all
// neighbors have told their end too.
Status PairwiseSgd::serve_until(Communicator& comm, std::span<const Rank> neighbors, void* x,
                                bool ended) {
  for (;;) {
    bool moved = false;
    if (Status served = serve(comm, neighbors, x, &moved); !served) return served;
    Edge* awaited = nullptr;
    for (const Rank peer : neighbors) {
      Edge& edge = edges_[static_cast<size_t>(peer)];
      if (ended ? !edge.ended : edge.asked || edge.resumes) awaited = &edge;
    }
    if (awaited == nullptr) return Status::ok();
    if (moved) continue;
    // Its own deadline ends it where the neighbor is gone.
    Status waited = awaited->receive.wait(kListen);
    if (!waited && waited.code() != Code::kTimeout) return waited;
    if (!waited && !comm.status()) return comm.status();
  }
}

Status PairwiseSgd::finish(Communicator& comm, const Graph& graph, void* x) {
  if (Status sound = check_buffer(x, "value"); !sound) return sound;
  if (Status sound = check_graph_of(comm, graph); !sound) return sound;
  const std::shared_ptr<const Mixing> mixing = graph.mixing(0);
  const std::span<const Rank> neighbors = mixing->targets(options_.rank);
  if (Status served = serve_until(comm, neighbors, x, false); !served) return served;
  for (const Rank peer : neighbors) {
    Edge& edge = edges_[static_cast<size_t>(peer)];
    if (Status sent = edge.sends_request.wait(); !sent) return sent;
    const PacketHead head{PacketKind::kEnd, edge.done};
    std::memcpy(edge.request.data(), &head, sizeof head);
    edge.sends_request =
        comm.start_send(edge.request.data(), edge.request.size(), DataType::kUint8, peer);
  }
  if (Status served = serve_until(comm, neighbors, x, true); !served) return served;
  for (const Rank peer : neighbors) {
    Edge& edge = edges_[static_cast<size_t>(peer)];
    Status sent = edge.sends_request.wait();
    if (sent) sent = edge.sends_answer.wait();
    if (!sent) return sent;
    edge.sends_request = Work();  // they may not outlive the communicator
    edge.sends_answer = Work();
    edge.ended = edge.answered = false;
  }
  for (Edge& edge : edges_) edge.resumes = false;  // those that are no neighbors
  return Status::ok();
}

}  // namespace gossamer
