// loopback: ranks that are threads of one process. The smallest transport; other tests stand on it.
//
// Each rank has a Node that its peers reach through a table of the process. A sender leaves a
// letter (where its bytes are) in the receiver's inbox; the receiver folds straight from the
// sender's buffer and puts the sender's token into the sender's node.
//
// Threads    A Node's members are guarded by its mutex. No two node mutexes are held at once.
//            Bytes are moved with no mutex held: a letter being read is marked, and abandon()
//            waits for the mark, which is how a sender may forget its buffers.
// Sleeping   An eventfd per node, written only when its owner is armed.

#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "src/check.h"
#include "src/system_text.h"
#include "transports/list.h"
#include "transports/mismatch.h"

namespace gossamer {

namespace {

constexpr uint32_t kWindow = 64;  // a power of two
constexpr uint8_t kLanes = 4;

// A FIFO of at most kWindow entries, which stay put; allocates when it is made.
template <class T>
class Ring {
 public:
  bool empty() const { return first_ == end_; }
  bool full() const { return end_ - first_ == kWindow; }
  T& front() { return entries_[first_ % kWindow]; }
  void pop() { ++first_; }
  void clear() { first_ = end_; }
  void push(const T& entry) { entries_[end_++ % kWindow] = entry; }

 private:
  std::vector<T> entries_ = std::vector<T>(kWindow);
  uint32_t first_ = 0;
  uint32_t end_ = 0;
};

struct Letter {
  Message message;
  Token token = 0;
};

// What one peer has sent on one lane.
struct Box {
  Ring<Letter> letters;
  bool reading = false;  // the receiver reads letters.front() at this moment
};

// A letter of ours that its receiver has read.
struct Taken {
  Rank by = -1;
  Token token = 0;
};

struct Node {
  Rank rank = -1;
  int event = -1;
  std::atomic<bool> changed{false};
  std::atomic<bool> left{false};

  std::mutex mutex;
  bool armed = false;
  bool notified = false;
  Fault notice;
  std::vector<Taken> completed;             // own sends that peers have taken
  std::unordered_map<uint64_t, Box> inbox;  // by key(peer, lane)

  ~Node() {
    if (event >= 0) ::close(event);
  }
  static uint64_t key(Rank peer, Lane lane) { return static_cast<uint64_t>(peer) * kLanes + lane; }
  // Something happened to this node. Caller holds the mutex.
  void touch() {
    changed.store(true, std::memory_order_release);
    if (!armed) return;
    armed = false;
    const uint64_t one = 1;
    // The counter cannot overflow from single ones, and a full one is readable: nothing to check.
    [[maybe_unused]] const ssize_t written = ::write(event, &one, sizeof one);
  }
};

// The nodes of this process by number. A fork gets another token by its process id.
struct Table {
  std::mutex mutex;
  uint64_t next = 1;
  std::unordered_map<uint64_t, std::weak_ptr<Node>> nodes;
};
Table& table() {
  static Table instance;
  return instance;
}

struct Posted {
  Sink sink;
  Token token = 0;
};

class Loopback final : public Transport {
 public:
  Loopback(const TransportConfig& config, std::shared_ptr<Node> node)
      : rank_(config.rank), size_(config.size), node_(std::move(node)) {
    node_->rank = rank_;
    Table& all = table();
    const std::lock_guard lock(all.mutex);
    id_ = all.next++;
    all.nodes[id_] = node_;
  }

  ~Loopback() override {
    abandon();
    node_->left.store(true, std::memory_order_release);
    Table& all = table();
    const std::lock_guard lock(all.mutex);
    all.nodes.erase(id_);
    // Whoever waits for this rank looks at `left` when woken; a peer we never opened may wait too.
    for (auto& [id, weak] : all.nodes) {
      const std::shared_ptr<Node> other = weak.lock();
      if (other == nullptr) continue;
      const std::lock_guard inner(other->mutex);
      other->touch();
    }
  }

  const char* name() const noexcept override { return "loopback"; }

  std::string address() const override {
    return std::to_string(::getpid()) + ":" + std::to_string(id_);
  }

  Status start(std::vector<std::string> addresses) override {
    if (addresses.size() != static_cast<size_t>(size_)) {
      return Status::error(Code::kInvalidArgument, "loopback needs one address per rank");
    }
    addresses_ = std::move(addresses);
    peers_.resize(addresses_.size());
    outstanding_.assign(addresses_.size(), 0);
    left_.assign(addresses_.size(), false);
    const std::lock_guard lock(node_->mutex);
    node_->completed.reserve(addresses_.size() * kWindow);
    return Status::ok();
  }

  Limits limits() const noexcept override { return {UINT64_MAX, kWindow, kLanes}; }

  Code open(Rank peer, Fault* fault) noexcept override {
    std::shared_ptr<Node>& slot = peers_[static_cast<size_t>(peer)];
    if (slot != nullptr) return Code::kOk;
    int process = 0;
    uint64_t id = 0;
    const std::string& text = addresses_[static_cast<size_t>(peer)];
    if (std::sscanf(text.c_str(), "%d:%" SCNu64, &process, &id) != 2 || process != ::getpid()) {
      fault->set(Code::kUnavailable, peer,
                 "rank %d is not a thread of this process: loopback cannot reach it, choose tcp "
                 "or shm",
                 peer);
      return fault->code;
    }
    Table& all = table();
    const std::lock_guard lock(all.mutex);
    const auto found = all.nodes.find(id);
    if (found != all.nodes.end()) slot = found->second.lock();
    return slot != nullptr ? Code::kOk : lost(peer, fault);
  }

  Status pin(std::span<std::byte>) override { return Status::ok(); }
  // Nothing is ever copied but by the last move, and nothing needs to be described.
  Traffic traffic() const noexcept override { return {.direct_messages = sent_}; }

  Code send(Rank peer, Lane lane, const Message& message, Token token,
            Fault* fault) noexcept override {
    GOSSAMER_CHECK(lane < kLanes && peers_[static_cast<size_t>(peer)] != nullptr);
    Node& to = *peers_[static_cast<size_t>(peer)];
    const std::lock_guard lock(to.mutex);
    if (to.left.load(std::memory_order_acquire)) return lost(peer, fault);
    Ring<Letter>& letters = to.inbox[Node::key(rank_, lane)].letters;
    if (letters.full()) return Code::kAgain;
    letters.push({message, token});
    to.touch();
    ++outstanding_[static_cast<size_t>(peer)];
    ++sent_;
    return Code::kPending;
  }

  Code recv(Rank peer, Lane lane, const Sink& sink, Token token, Fault* fault) noexcept override {
    GOSSAMER_CHECK(lane < kLanes && peers_[static_cast<size_t>(peer)] != nullptr);
    Ring<Posted>& queue = posted_[Node::key(peer, lane)];
    if (queue.full()) return Code::kAgain;
    if (queue.empty()) {
      const Code code = take(peer, lane, sink, fault);
      if (code != Code::kAgain) return code;
      if (has_left(peer)) return lost(peer, fault);
    }
    queue.push({sink, token});
    return Code::kPending;
  }

  Code poll(std::vector<Token>* done, Fault* fault) noexcept override {
    if (!node_->changed.exchange(false, std::memory_order_acquire)) return Code::kOk;
    // Before the tokens are read: whoever takes a letter and leaves has handed in its token first.
    for (Rank peer = 0; peer < size_; ++peer) {
      if (outstanding_[static_cast<size_t>(peer)] > 0)
        left_[static_cast<size_t>(peer)] = has_left(peer);
    }
    {
      const std::lock_guard lock(node_->mutex);
      if (node_->armed || signalled_) {
        uint64_t count = 0;
        [[maybe_unused]] const ssize_t got = ::read(node_->event, &count, sizeof count);
        node_->armed = signalled_ = false;
      }
      for (const Taken& taken : node_->completed) {
        done->push_back(taken.token);
        --outstanding_[static_cast<size_t>(taken.by)];
      }
      node_->completed.clear();
      if (node_->notified) {
        *fault = node_->notice;
        return fault->code;
      }
    }
    for (auto& [key, queue] : posted_) {
      const Rank peer = static_cast<Rank>(key / kLanes);
      while (!queue.empty()) {
        const Code code = take(peer, static_cast<Lane>(key % kLanes), queue.front().sink, fault);
        if (code == Code::kAgain) break;
        if (code != Code::kOk) return code;
        done->push_back(queue.front().token);
        queue.pop();
      }
      if (!queue.empty() && has_left(peer)) return lost(peer, fault);
    }
    for (Rank peer = 0; peer < size_; ++peer) {
      const auto index = static_cast<size_t>(peer);
      if (outstanding_[index] > 0 && left_[index]) return lost(peer, fault);
    }
    return Code::kOk;
  }

  Code peek(Rank peer, Lane lane, Fingerprint* arrived) noexcept override {
    const auto waiting = posted_.find(Node::key(peer, lane));
    if (waiting != posted_.end() && !waiting->second.empty()) return Code::kAgain;
    const std::lock_guard lock(node_->mutex);
    const auto box = node_->inbox.find(Node::key(peer, lane));
    if (box == node_->inbox.end() || box->second.letters.empty()) return Code::kAgain;
    *arrived = box->second.letters.front().message.fingerprint;
    return Code::kOk;
  }

  void notify(const Fault& fault) noexcept override {
    for (const std::shared_ptr<Node>& peer : peers_) {
      if (peer == nullptr || peer == node_) continue;
      const std::lock_guard lock(peer->mutex);
      if (peer->notified) continue;
      peer->notified = true;
      peer->notice = fault;
      peer->touch();
    }
  }

  void abandon() noexcept override {
    posted_.clear();
    for (const std::shared_ptr<Node>& peer : peers_) {
      if (peer == nullptr) continue;
      for (Lane lane = 0; lane < kLanes; ++lane) {
        std::unique_lock lock(peer->mutex);
        const auto found = peer->inbox.find(Node::key(rank_, lane));
        if (found == peer->inbox.end()) continue;
        while (found->second.reading) {  // as long as one fold of one message takes
          lock.unlock();
          std::this_thread::yield();
          lock.lock();
        }
        found->second.letters.clear();
      }
    }
    const std::lock_guard lock(node_->mutex);
    node_->completed.clear();
    outstanding_.assign(outstanding_.size(), 0);
  }

  int wait_fd() const noexcept override { return node_->event; }

  bool arm() noexcept override {
    const std::lock_guard lock(node_->mutex);
    if (node_->changed.load(std::memory_order_acquire)) return false;
    node_->armed = true;
    signalled_ = true;
    return true;
  }

 private:
  bool has_left(Rank peer) const noexcept {
    return peers_[static_cast<size_t>(peer)]->left.load(std::memory_order_acquire);
  }

  Code lost(Rank peer, Fault* fault) const noexcept {
    fault->set(Code::kPeerLost, peer, "rank %d has left (its communicator was destroyed)", peer);
    return fault->code;
  }

  // Takes the first letter of (peer, lane) into `sink`. kAgain: there is none.
  Code take(Rank peer, Lane lane, const Sink& sink, Fault* fault) noexcept {
    Letter letter;
    Box* box = nullptr;
    {
      const std::lock_guard lock(node_->mutex);
      box = &node_->inbox[Node::key(peer, lane)];  // stays put: the map is node based
      if (box->letters.empty()) return Code::kAgain;
      letter = box->letters.front();
      if (mismatched(rank_, peer, lane, letter.message.bytes, letter.message.fingerprint, sink,
                     fault)) {
        return fault->code;
      }
      box->reading = true;
    }
    if (letter.message.bytes > 0) {
      if (sink.combine != nullptr) {
        sink.combine(sink, 0, letter.message.data, letter.message.bytes);
      } else {
        std::memcpy(sink.target, letter.message.data, letter.message.bytes);
      }
    }
    {
      const std::lock_guard lock(node_->mutex);
      box->letters.pop();
      box->reading = false;
    }
    Node& sender = *peers_[static_cast<size_t>(peer)];
    const std::lock_guard lock(sender.mutex);
    sender.completed.push_back({rank_, letter.token});
    sender.touch();
    return Code::kOk;
  }

  const Rank rank_;
  const Rank size_;
  const std::shared_ptr<Node> node_;
  uint64_t id_ = 0;
  uint64_t sent_ = 0;       // messages
  bool signalled_ = false;  // the eventfd may hold a count
  std::vector<std::string> addresses_;
  std::vector<std::shared_ptr<Node>> peers_;  // null: not open
  std::vector<uint32_t> outstanding_;         // per peer: sends not yet taken
  std::vector<bool> left_;                    // per peer with sends outstanding: seen to have left
  std::unordered_map<uint64_t, Ring<Posted>> posted_;
};

Result<std::unique_ptr<Transport>> create(const TransportConfig& config) {
  auto node = std::make_shared<Node>();
  node->event = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (node->event < 0) {
    return Status::error(Code::kSystem, "eventfd: " + system_text(errno));
  }
  return std::unique_ptr<Transport>(std::make_unique<Loopback>(config, std::move(node)));
}

}  // namespace

const TransportFactory loopback_transport{"loopback", create};

}  // namespace gossamer
