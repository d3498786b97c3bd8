// Members of a group in simulated time: their datagrams are lost, delayed and cut as a test wants
// it. One thread, thousands of members; equal seeds give equal runs.
//
//   Threads    one.
//   Units      microseconds of simulated time.

#pragma once

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "gossip/membership/protocol.h"

namespace gossamer::swim {

inline Key test_key(uint8_t fill = 7) {
  Key key{};
  key.fill(std::byte{fill});
  return key;
}

class MemberWorld {
 public:
  struct Options {
    uint64_t seed = 1;
    MembershipTiming timing = {};
    double loss = 0;  // of each datagram
    Duration latency = std::chrono::microseconds(500);
    Duration jitter = std::chrono::microseconds(500);
  };
  struct Seen {
    Instant at;
    size_t observer;
    MemberEvent event;
  };
  struct Traffic {
    uint64_t datagrams = 0;
    uint64_t bytes = 0;
  };

  explicit MemberWorld(const Options& options)
      : options_(options), random_(options.seed * 0x9e37 + 5), seal_(test_key(), 0) {}

  // A new process at address `slot` (or a new one), alone. Returns its index.
  size_t start(const std::string& metadata = "", const Key& key = test_key(),
               uint64_t session = 0) {
    return start_at(nodes_.size(), metadata, key, session);
  }
  // A new process where `old` was.
  size_t restart(size_t old) {
    const size_t fresh = start_at(nodes_[old].slot, "", test_key(), 0);
    nodes_[old].up = false;
    return fresh;
  }
  // `count` members, each of which knows `known` others (all of them by default), at random.
  void start_group(size_t count, size_t known = ~size_t{0}) {
    const size_t first = nodes_.size();
    for (size_t i = 0; i < count; ++i) start();
    for (size_t i = 0; i < count; ++i) {
      std::vector<size_t> others;
      if (known >= count) {
        for (size_t j = 0; j < count; ++j) {
          if (j != i) others.push_back(first + j);
        }
      } else {
        std::unordered_set<size_t> chosen;
        while (chosen.size() < known) {
          const size_t j = random_.below(count);
          if (j != i && chosen.insert(j).second) others.push_back(first + j);
        }
      }
      introduce(first + i, others);
    }
  }
  // Makes `node` know of `others`, without a rumour of it.
  void introduce(size_t node, const std::vector<size_t>& others) {
    nodes_[node].protocol->join(now_, address_of(node));
    (void)nodes_[node].protocol->take_datagrams();
    const auto seen_before = static_cast<std::ptrdiff_t>(seen_.size());
    constexpr size_t kPerDatagram = 20;
    for (size_t at = 0; at < others.size(); at += kPerDatagram) {
      Message state;
      state.kind = Kind::kState;
      state.from = 1;
      state.to = id(node);
      state.counter = ++introductions_;
      for (size_t j = at; j < std::min(at + kPerDatagram, others.size()); ++j) {
        Update update;
        update.id = id(others[j]);
        update.address = address_of(others[j]);
        state.updates.push_back(update);
      }
      hand(node, address_of(others[at]), state);
    }
    nodes_[node].protocol->stop_joining();
    after(node);
    seen_.erase(seen_.begin() + seen_before, seen_.end());
  }

  // What a datagram of the group's with this message in it does to `node`, at once.
  void hand(size_t node, const Endpoint& from, const Message& message) {
    std::vector<std::byte> bytes = DatagramWriter(message).take();
    seal_.close(&bytes);
    nodes_[node].protocol->receive(now_, from, bytes);
    after(node);
  }
  void hand_bytes(size_t node, const Endpoint& from, std::span<const std::byte> bytes) {
    nodes_[node].protocol->receive(now_, from, bytes);
    after(node);
  }

  void join(size_t node, size_t through) {
    nodes_[node].protocol->join(now_, address_of(through));
    after(node);
  }
  void leave(size_t node) {
    nodes_[node].protocol->leave(now_);
    after(node);
  }
  void crash(size_t node) { nodes_[node].up = false; }
  // Neither receives nor ticks for so long; then first all that has arrived, then a tick.
  void freeze(size_t node, Duration length) {
    nodes_[node].frozen = true;
    push({now_ + length, 0, What::kThaw, node, {}, {}});
  }
  // Datagrams pass only between members of equal parts.
  void set_part(size_t node, int part) { nodes_[node].part = part; }
  // None of [a, a_end) can reach one of [b, b_end), nor the other way.
  void set_blocked(size_t a, size_t a_end, size_t b, size_t b_end) {
    blocked_ = {{{a, a_end}, {b, b_end}}};
  }
  // What arrives at this member is looked at up to so much later.
  void make_slow(size_t node, Duration delay) { nodes_[node].delay = delay; }
  void set_progress(size_t node, uint64_t progress) {
    nodes_[node].protocol->set_progress(now_, progress);
    after(node);
  }
  void set_metadata(size_t node, const std::string& metadata) {
    nodes_[node].protocol->set_metadata(now_, metadata);
    after(node);
  }

  void run_for(Duration length) { run_until(now_ + length); }
  void run_until(Instant end) {
    while (!events_.empty() && events_.top().at <= end && !stop) {
      Event event = events_.top();
      events_.pop();
      now_ = event.at;
      handle(event);
    }
    if (!stop) now_ = end;
  }
  // True when `holds` does within `limit`, looked at once per probe interval.
  bool run_until_holds(Duration limit, const std::function<bool()>& holds) {
    for (const Instant end = now_ + limit; !holds();) {
      if (now_ >= end) return false;
      run_for(options_.timing.probe_interval);
    }
    return true;
  }

  // Every member that is up and has not left knows exactly those.
  bool all_agree() const {
    std::vector<MemberId> expected;
    for (const Node& node : nodes_) {
      if (is_member(node)) expected.push_back(node.protocol->self().id);
    }
    std::sort(expected.begin(), expected.end());
    for (const Node& node : nodes_) {
      if (!is_member(node)) continue;
      const std::vector<Member> members = node.protocol->members();
      if (!std::equal(members.begin(), members.end(), expected.begin(), expected.end(),
                      [](const Member& m, MemberId id) { return m.id == id; })) {
        return false;
      }
    }
    return true;
  }

  // The first thing that all_agree() misses.
  std::string disagreement() const {
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (!is_member(nodes_[i])) continue;
      for (size_t j = 0; j < nodes_.size(); ++j) {
        const Roster::Entry* entry = view(i, j);
        const bool live = entry != nullptr && entry->is_live();
        if (live == is_member(nodes_[j])) continue;
        return std::to_string(i) + " holds " + std::to_string(j) + " for " +
               (entry == nullptr ? "unknown" : std::string(name_of(entry->state))) + " at " +
               std::to_string(entry == nullptr ? 0 : entry->incarnation) + ", which is " +
               (is_member(nodes_[j]) ? "a member" : "none") + " at " +
               std::to_string(nodes_[j].protocol->self().incarnation);
      }
    }
    return "none";
  }

  size_t size() const { return nodes_.size(); }
  bool up(size_t node) const { return nodes_[node].up; }
  Protocol& operator[](size_t node) { return *nodes_[node].protocol; }
  MemberId id(size_t node) const { return nodes_[node].protocol->self().id; }
  Endpoint address_of(size_t node) const { return slot_address(nodes_[node].slot); }
  const Roster::Entry* view(size_t observer, size_t subject) const {
    return nodes_[observer].protocol->roster().find(id(subject));
  }
  Instant now() const { return now_; }
  Random& random() { return random_; }
  const std::vector<Seen>& seen() const { return seen_; }
  void clear_seen() { seen_.clear(); }
  size_t count_seen(MemberEventKind kind) const {
    return static_cast<size_t>(std::count_if(
        seen_.begin(), seen_.end(), [kind](const Seen& s) { return s.event.kind == kind; }));
  }
  const Traffic& traffic() const { return traffic_; }

  // Told of every datagram that is sent, lost ones too: (from, to, its bytes).
  std::function<void(size_t, size_t, std::span<const std::byte>)> on_send;
  bool stop = false;  // set by on_send or a test: run_until() returns

 private:
  enum class What : uint8_t { kTick, kDatagram, kThaw };
  struct Node {
    std::unique_ptr<Protocol> protocol;
    size_t slot = 0;
    bool up = true;
    bool frozen = false;
    int part = 0;
    Duration delay{0};
    Instant next_tick{-1};
    std::vector<std::pair<Endpoint, std::vector<std::byte>>> inbox;  // while frozen
  };
  struct Event {
    Instant at;
    uint64_t sequence;
    What what;
    size_t node;
    Endpoint from;
    std::vector<std::byte> bytes;
    bool operator<(const Event& other) const {
      return at != other.at ? at > other.at : sequence > other.sequence;
    }
  };

  using Range = std::pair<size_t, size_t>;
  static bool in(Range range, size_t node) { return node >= range.first && node < range.second; }
  bool passes(size_t from, size_t to) const {
    return nodes_[to].part == nodes_[from].part &&
           !(in(blocked_[0], from) && in(blocked_[1], to)) &&
           !(in(blocked_[1], from) && in(blocked_[0], to));
  }

  static Endpoint slot_address(size_t slot) {
    Endpoint e;
    e.family = 4;
    e.host = {10, static_cast<uint8_t>(slot >> 16), static_cast<uint8_t>(slot >> 8),
              static_cast<uint8_t>(slot)};
    e.port = 4'000;
    return e;
  }
  static size_t slot_of(const Endpoint& e) {
    return size_t{e.host[1]} << 16 | size_t{e.host[2]} << 8 | size_t{e.host[3]};
  }
  static bool is_member(const Node& node) {
    return node.up && node.protocol->self().state != MemberState::kLeft;
  }

  size_t start_at(size_t slot, const std::string& metadata, const Key& key, uint64_t session) {
    Protocol::Config config;
    config.timing = options_.timing;
    config.key = key;
    config.session = session;
    config.id = random_() | 1;
    config.seed = random_();
    config.address = slot_address(slot);
    config.metadata = metadata;
    Node node;
    node.protocol = std::make_unique<Protocol>(config, now_);
    node.slot = slot;
    nodes_.push_back(std::move(node));
    if (slot >= at_slot_.size()) at_slot_.resize(slot + 1);
    at_slot_[slot] = nodes_.size() - 1;
    after(nodes_.size() - 1);
    return nodes_.size() - 1;
  }

  void push(Event event) {
    event.sequence = next_sequence_++;
    events_.push(std::move(event));
  }

  void handle(Event& event) {
    Node& node = nodes_[event.node];
    if (!node.up) return;
    if (event.what == What::kThaw) {
      node.frozen = false;
      for (const auto& [from, bytes] : std::exchange(node.inbox, {})) {
        node.protocol->receive(now_, from, bytes);
      }
      node.protocol->tick(now_);
    } else if (event.what == What::kDatagram) {
      if (node.frozen) {
        node.inbox.emplace_back(event.from, std::move(event.bytes));
        return;
      }
      node.protocol->receive(now_, event.from, event.bytes);
    } else {
      if (node.frozen || event.at != node.next_tick) return;  // overtaken by another plan
      node.protocol->tick(now_);
    }
    after(event.node);
  }

  // Sends what the member has to say and notes when it wants to be called.
  void after(size_t index) {
    Node& node = nodes_[index];
    for (Protocol::Datagram& datagram : node.protocol->take_datagrams()) {
      const size_t slot = slot_of(datagram.to);
      const size_t to = slot < at_slot_.size() ? at_slot_[slot] : nodes_.size();
      ++traffic_.datagrams;
      traffic_.bytes += datagram.bytes.size();
      if (on_send && to < nodes_.size()) on_send(index, to, datagram.bytes);
      if (to >= nodes_.size() || !passes(index, to) || random_.real() < options_.loss) continue;
      Duration latency = options_.latency + scaled(options_.jitter, random_.real());
      if (nodes_[to].delay.count() > 0) latency += scaled(nodes_[to].delay, random_.real());
      push({now_ + latency, 0, What::kDatagram, to, slot_address(node.slot),
            std::move(datagram.bytes)});
    }
    for (MemberEvent& event : node.protocol->take_events()) {
      seen_.push_back({now_, index, std::move(event)});
    }
    const Instant next = std::max(node.protocol->next_tick(), now_);
    if (next != node.next_tick || next == now_) {
      node.next_tick = next;
      push({next, 0, What::kTick, index, {}, {}});
    }
  }

  Options options_;
  Random random_;
  Seal seal_;
  Instant now_{0};
  uint64_t introductions_ = 0;
  uint64_t next_sequence_ = 0;
  std::vector<Node> nodes_;
  std::vector<size_t> at_slot_;  // the latest process there
  std::array<Range, 2> blocked_{};
  std::priority_queue<Event> events_;
  std::vector<Seen> seen_;
  Traffic traffic_;
};

// How often something holds, for probabilities and means over seeds.
struct Mean {
  double sum = 0;
  int count = 0;
  void add(double value) {
    sum += value;
    ++count;
  }
  double value() const { return sum / count; }
};

}  // namespace gossamer::swim
