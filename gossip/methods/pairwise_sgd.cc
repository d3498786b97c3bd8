// AD-PSGD: exchanges of two ranks, by opposite half differences. Nothing in this file waits.

#include <fmt/format.h>

#include <cstring>

#include "gossip/methods/checks.h"
#include "gossip/methods/pairwise_edge.h"
#include "gossip/methods/saved_state.h"

namespace gossamer {
namespace {

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

// x[i] += (theirs[i] - sent[i]) / 2. The other side's is the same number with the other sign.
template <class T>
void meet_halfway(void* x, const std::byte* theirs, const std::byte* sent, uint64_t count) {
  T* const mine = static_cast<T*>(x);
  for (uint64_t i = 0; i < count; ++i) {
    T a = 0;
    T b = 0;
    std::memcpy(&a, theirs + i * sizeof a, sizeof a);
    std::memcpy(&b, sent + i * sizeof b, sizeof b);
    mine[i] += (a - b) / 2;
  }
}

void write_packet(std::vector<std::byte>* packet, PacketKind kind, uint64_t number, const void* x,
                  uint64_t bytes) {
  packet->resize(kPacketHeadBytes + bytes);
  const PacketHead head{kind, number};
  std::memcpy(packet->data(), &head, sizeof head);
  std::memcpy(packet->data() + kPacketHeadBytes, x, bytes);
}

}  // namespace

Result<std::unique_ptr<PairwiseSgd>> PairwiseSgd::create(const Options& options) {
  if (Status sound = check_elements(options.count, options.type, true); !sound) return sound;
  if (options.size < 1 || options.rank < 0 || options.rank >= options.size) {
    return invalid(fmt::format("there is no rank {} in a group of {}", options.rank, options.size));
  }
  return std::unique_ptr<PairwiseSgd>(new PairwiseSgd(options));
}

PairwiseSgd::PairwiseSgd(const Options& options)
    : options_(options), edges_(static_cast<size_t>(options.size)) {}

PairwiseSgd::~PairwiseSgd() = default;

Status PairwiseSgd::check_peer(Rank peer) const {
  if (peer >= 0 && peer < options_.size && peer != options_.rank) return Status::ok();
  return invalid(fmt::format("rank {} is no other rank of {}", peer, options_.size));
}

uint64_t PairwiseSgd::exchanges(Rank peer) const {
  return check_peer(peer) ? edges_[static_cast<size_t>(peer)].done : 0;
}

bool PairwiseSgd::open(Rank peer) const {
  return check_peer(peer) && edges_[static_cast<size_t>(peer)].asked;
}

Result<std::span<const std::byte>> PairwiseSgd::request(Rank peer, const void* x) {
  if (Status sound = check_peer(peer); !sound) return sound;
  if (Status sound = check_buffer(x, "value"); !sound) return sound;
  Edge& edge = edges_[static_cast<size_t>(peer)];
  if (!edge.asked) {
    write_packet(&edge.request, PacketKind::kRequest, edge.done + 1, x,
                 options_.count * size_of(options_.type));
    edge.asked = true;
  }
  return std::span<const std::byte>(edge.request);
}

Result<std::span<const std::byte>> PairwiseSgd::take(Rank from, std::span<const std::byte> packet,
                                                     void* x) {
  if (Status sound = check_peer(from); !sound) return sound;
  if (Status sound = check_buffer(x, "value"); !sound) return sound;
  const uint64_t bytes = options_.count * size_of(options_.type);
  if (packet.size() != kPacketHeadBytes + bytes) {
    return invalid(fmt::format("a packet of {} bytes from rank {}; of {} elements it has {}",
                               packet.size(), from, options_.count, kPacketHeadBytes + bytes));
  }
  PacketHead head;
  std::memcpy(&head, packet.data(), sizeof head);
  if (head.kind != PacketKind::kRequest && head.kind != PacketKind::kAnswer) {
    return invalid(fmt::format("a packet of unknown kind {} from rank {}",
                               static_cast<uint64_t>(head.kind), from));
  }
  const std::span<const std::byte> nothing;
  Edge& edge = edges_[static_cast<size_t>(from)];
  const std::byte* const theirs = packet.data() + kPacketHeadBytes;
  const bool wide = options_.type == DataType::kFloat64;
  const auto meet = wide ? meet_halfway<double> : meet_halfway<float>;
  if (head.kind == PacketKind::kAnswer) {
    // Of none that is open: it came twice.
    if (!edge.asked || head.number != edge.done + 1) return nothing;
    meet(x, theirs, edge.request.data() + kPacketHeadBytes, options_.count);
    edge.done = head.number;
    edge.asked = edge.answered = false;
    ++exchanges_;
    return nothing;
  }
  // Again: the answer was lost.
  if (head.number == edge.done && edge.answered) return std::span<const std::byte>(edge.answer);
  // One that crossed an exchange which is done, or overtook an answer on the way here.
  if (head.number != edge.done + 1) return nothing;
  // Two that cross are one exchange, the lower rank's; the other side knows without a word.
  if (edge.asked && options_.rank < from) return nothing;
  edge.asked = false;
  write_packet(&edge.answer, PacketKind::kAnswer, head.number, x, bytes);
  meet(x, theirs, edge.answer.data() + kPacketHeadBytes, options_.count);
  edge.done = head.number;
  edge.answered = true;
  ++exchanges_;
  return std::span<const std::byte>(edge.answer);
}

// An answer or a request that was under way counts as lost, and is sent again: those that come
// twice change nothing. Works are of the old communicator.
Status PairwiseSgd::shrink(std::span<const Rank> lost) {
  std::vector<bool> gone(edges_.size(), false);
  if (lost.empty()) return invalid("no rank is lost; name at least one");
  for (const Rank r : lost) {
    if (r < 0 || r >= options_.size || r == options_.rank || gone[static_cast<size_t>(r)]) {
      return invalid(
          fmt::format("rank {} cannot be lost: this is rank {} of {}, and each is named "
                      "once",
                      r, options_.rank, options_.size));
    }
    gone[static_cast<size_t>(r)] = true;
  }
  std::vector<Edge> left;
  Rank own = 0;
  for (size_t r = 0; r < edges_.size(); ++r) {
    if (gone[r]) continue;
    if (r == static_cast<size_t>(options_.rank)) own = static_cast<Rank>(left.size());
    Edge& edge = left.emplace_back(std::move(edges_[r]));
    edge.receive = Work();
    edge.sends_request = Work();
    edge.sends_answer = Work();
    edge.listens = edge.ended = false;
    edge.resumes = true;
    edge.asks_again = false;
    edge.resumption.clear();
  }
  edges_ = std::move(left);
  options_.rank = own;
  options_.size = static_cast<Rank>(edges_.size());
  admitted_ = 0;
  shrunk_ = true;
  return Status::ok();
}

Result<std::vector<std::byte>> PairwiseSgd::save() const {
  StateWriter out(MethodKind::kPairwiseSgd, 64 + edges_.size() * sizeof(uint64_t));
  out.elements(options_.count, options_.type);
  out.number(static_cast<uint64_t>(options_.rank));
  out.number(static_cast<uint64_t>(options_.size));
  out.number(steps_);
  out.number(exchanges_);
  for (const Edge& edge : edges_) {
    if (edge.asked || edge.listens || edge.resumes) {
      return invalid("an exchange may be open; call finish() before save()");
    }
    out.number(edge.done);
  }
  return out.finish();
}

Status PairwiseSgd::load(std::span<const std::byte> saved) {
  for (const Edge& edge : edges_) {
    if (edge.asked || edge.listens || edge.resumes) {
      return invalid("an exchange may be open; call finish() before load()");
    }
  }
  Result<StateReader> in = StateReader::open(MethodKind::kPairwiseSgd, saved);
  if (!in) return in.status();
  in->expect_elements(options_.count, options_.type);
  in->expect(static_cast<uint64_t>(options_.rank), "rank");
  in->expect(static_cast<uint64_t>(options_.size), "size");
  in->take(&steps_);
  in->take(&exchanges_);
  for (Edge& edge : edges_) in->take(&edge.done);
  if (Status sound = in->finish(); !sound) return sound;
  for (Edge& edge : edges_) edge.answered = false;
  return Status::ok();
}

}  // namespace gossamer
