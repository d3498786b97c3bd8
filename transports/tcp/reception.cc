#include "transports/tcp/reception.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace gossamer::tcp {

namespace {

constexpr size_t kWordsMax = 64;

}  // namespace

std::span<const std::byte> receive(int control, std::span<std::byte> buffer, const char** ended) {
  ssize_t got = 0;
  do {
    got = ::recv(control, buffer.data(), buffer.size(), MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got > 0) return buffer.first(static_cast<size_t>(got));
  if (got < 0 && errno == EAGAIN) return {};
  *ended = got < 0 && errno == ETIMEDOUT ? "does not answer any more (host or network down)"
                                         : "closed its connection without a word: it died";
  return {};
}

void send_record(int control, const Record& record) {
  (void)::send(control, record.data.data(), record.bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void drain(int control) {
  std::array<std::byte, 1024> rest;
  while (::recv(control, rest.data(), rest.size(), MSG_DONTWAIT) > 0) continue;
}

Code senseless(Rank rank, Fault* fault) {
  fault->set(Code::kSystem, rank,
             "rank %d sends control records that make no sense: corrupted on the way, or two "
             "versions of the library",
             rank);
  return fault->code;
}

Code Reception::connect(Rank rank, uint8_t lane, Fault* fault) {
  const Result<SocketAddress> to = SocketAddress::parse(addresses_[static_cast<size_t>(rank)]);
  if (!to) {
    fault->set(Code::kInvalidArgument, rank, "rank %d's address is unusable: %s", rank,
               to.status().message().c_str());
    return fault->code;
  }
  return greeter_.connect(rank, lane, *to, fault);
}

Code Reception::late(Rank rank, Fault* fault) const {
  fault->set(Code::kTimeout, rank,
             "rank %d did not open its link to rank %d in time; it is late, or cannot reach %s",
             rank, config_.rank, greeter_.address().c_str());
  return fault->code;
}

Code Reception::lost(Rank rank, const std::string& how, Fault* fault) const {
  fault->set(Code::kPeerLost, rank, "rank %d at %s %s", rank,
             addresses_[static_cast<size_t>(rank)].c_str(), how.c_str());
  return fault->code;
}

// Moves connections on that are being made. kOk, or word that a rank without a link has left.
Code Reception::greet(const Admit& admit, Fault* fault) {
  Fault refused;
  Code greeted = greeter_.step(&welcomes_, &refused);
  for (const Welcome& welcome : welcomes_) {
    const Code admitted = admit(welcome, &refused);
    if (greeted == Code::kOk) greeted = admitted;
  }
  welcomes_.clear();
  if (greeted != Code::kOk) suspect(refused);
  if (greeter_.word().code != Code::kOk) *fault = greeter_.word();
  return greeter_.word().code;
}

Code Reception::hear(const std::vector<Rank>& linked, const Admit& admit, const Read& read,
                     Fault* fault) {
  if (greet(admit, fault) != Code::kOk) return fault->code;
  // Notices first: a rank that failed and left gives the reason, not its leaving.
  Fault ended;
  for (const Rank rank : linked) {
    Fault found;
    if (read(rank, &found) == Code::kOk) continue;
    if (found.code != Code::kPeerLost) {
      *fault = found;
      return fault->code;
    }
    if (ended.code == Code::kOk) ended = found;
  }
  if (ended.code == Code::kOk) return Code::kOk;
  // Its word may have come just after we looked, and before its end.
  if (greet(admit, fault) != Code::kOk) return fault->code;
  *fault = ended;
  return fault->code;
}

void Reception::suspect(const Fault& unreachable) {
  if (unreachable_.code != Code::kOk) return;
  unreachable_ = unreachable;
  unreachable_since_ = Clock::now();
}

Code Reception::judge(Fault* fault) const {
  if (unreachable_.code == Code::kOk) return Code::kOk;
  const bool may_be_told_why =
      unreachable_.code == Code::kPeerLost && Clock::now() - unreachable_since_ <= kGrace;
  if (may_be_told_why) return Code::kAgain;
  *fault = unreachable_;
  return fault->code;
}

void Reception::leave_word(const std::function<bool(Rank)>& is_linked, const Record& record) const {
  std::vector<Greeter::Addressee> others;
  for (Rank rank = 0; rank < static_cast<Rank>(addresses_.size()); ++rank) {
    const std::string& address = addresses_[static_cast<size_t>(rank)];
    if (rank == config_.rank || is_linked(rank) || address.empty()) continue;
    const Result<SocketAddress> to = SocketAddress::parse(address);
    if (to) others.push_back({rank, *to});
    if (others.size() == kWordsMax) break;
  }
  greeter_.leave_word(others, record);
}

}  // namespace gossamer::tcp
