// Several ranks of one transport, driven from one test thread: nothing a transport does blocks, so
// stepping all of them in turn is enough, and a failure repeats.

#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gossamer/transport.h"

namespace gossamer::suite {

using Create = std::function<Result<std::unique_ptr<Transport>>(const TransportConfig&)>;

inline TransportConfig make_config(Rank rank, Rank size) {
  TransportConfig config;
  config.rank = rank;
  config.size = size;
  for (size_t i = 0; i < config.key.size(); ++i) config.key[i] = static_cast<std::byte>(i * 7 + 1);
  static uint64_t group = 0x60550000;
  if (rank == 0) ++group;
  config.session = group;
  config.interfaces = "lo";
  config.timeout = std::chrono::seconds(10);
  return config;
}

inline std::vector<std::byte> pattern(uint64_t bytes, uint64_t seed) {
  std::vector<std::byte> data(bytes);
  uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
  for (std::byte& b : data) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    b = static_cast<std::byte>(state >> 56);
  }
  return data;
}

class Ranks {
 public:
  using Configure = std::function<void(TransportConfig&)>;

  Ranks(const Create& create, Rank size, const Configure& configure = nullptr) {
    std::vector<std::string> addresses;
    for (Rank r = 0; r < size; ++r) {
      TransportConfig config = make_config(r, size);
      if (configure) configure(config);
      Result<std::unique_ptr<Transport>> made = create(config);
      EXPECT_TRUE(made.is_ok()) << made.status().message();
      if (!made.is_ok()) return;
      transports_.push_back(std::move(*made));
      addresses.push_back(transports_.back()->address());
    }
    done.resize(transports_.size());
    faults.resize(transports_.size());
    for (auto& transport : transports_) {
      const Status started = transport->start(addresses);
      EXPECT_TRUE(started.is_ok()) << started.message();
    }
  }

  Rank size() const { return static_cast<Rank>(transports_.size()); }
  Transport& operator[](Rank r) { return *transports_[static_cast<size_t>(r)]; }
  std::unique_ptr<Transport> release(Rank r) {
    return std::move(transports_[static_cast<size_t>(r)]);
  }
  void destroy(Rank r) { transports_[static_cast<size_t>(r)].reset(); }
  Fault& fault(Rank r) { return faults[static_cast<size_t>(r)]; }
  std::vector<Token>& tokens(Rank r) { return done[static_cast<size_t>(r)]; }
  bool has(Rank r, Token token) {
    for (const Token t : tokens(r)) {
      if (t == token) return true;
    }
    return false;
  }

  // Polls every living rank without a fault once.
  void step() {
    for (Rank r = 0; r < size(); ++r) step(r);
  }
  void step(Rank r) {
    const auto i = static_cast<size_t>(r);
    if (transports_[i] == nullptr || faults[i].code != Code::kOk) return;
    const Code code = transports_[i]->poll(&done[i], &faults[i]);
    EXPECT_EQ(code, faults[i].code);
  }

  // Steps until `condition`. False, with a test failure, when it does not come true in time.
  bool drive(const std::function<bool()>& condition,
             std::chrono::milliseconds limit = std::chrono::seconds(20)) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!condition()) {
      step();
      if (std::chrono::steady_clock::now() > end) {
        ADD_FAILURE() << "did not come true within " << limit.count() << " ms" << describe();
        return false;
      }
    }
    return true;
  }

  // Opens the link between a and b at both ends.
  void open(Rank a, Rank b) {
    Code forth = Code::kAgain;
    Code back = Code::kAgain;
    drive([&] {
      if (forth == Code::kAgain) forth = (*this)[a].open(b, &fault(a));
      if (back == Code::kAgain) back = (*this)[b].open(a, &fault(b));
      return forth != Code::kAgain && back != Code::kAgain;
    });
    EXPECT_EQ(forth, Code::kOk) << fault(a).text.data();
    EXPECT_EQ(back, Code::kOk) << fault(b).text.data();
  }
  void open_all() {
    for (Rank a = 0; a < size(); ++a) {
      for (Rank b = a + 1; b < size(); ++b) open(a, b);
    }
  }

  // Posts; an operation that completes at once hands in its token here.
  Code send(Rank from, Rank to, Lane lane, const Message& message, Token token) {
    const Code code = (*this)[from].send(to, lane, message, token, &fault(from));
    if (code == Code::kOk) tokens(from).push_back(token);
    return code;
  }
  Code recv(Rank at, Rank from, Lane lane, const Sink& sink, Token token) {
    const Code code = (*this)[at].recv(from, lane, sink, token, &fault(at));
    if (code == Code::kOk) tokens(at).push_back(token);
    return code;
  }

  std::string describe() const {
    std::string text;
    for (size_t i = 0; i < faults.size(); ++i) {
      if (faults[i].code == Code::kOk) continue;
      text += "; rank " + std::to_string(i) + ": " + faults[i].text.data();
    }
    return text;
  }

  std::vector<std::vector<Token>> done;
  std::vector<Fault> faults;

 private:
  std::vector<std::unique_ptr<Transport>> transports_;
};

inline Message message_of(const std::vector<std::byte>& data, Fingerprint fingerprint = 7) {
  return {data.data(), data.size(), fingerprint, 0};
}
inline Sink sink_of(std::vector<std::byte>& data, Fingerprint fingerprint = 7) {
  Sink sink;
  sink.target = data.data();
  sink.bytes = data.size();
  sink.fingerprint = fingerprint;
  return sink;
}

// A sink that adds bytes to `operand` and checks how it is called.
struct Fold {
  std::vector<std::byte> operand;
  std::vector<std::byte> target;
  uint64_t next = 0;
  uint64_t calls = 0;
  bool in_order = true;
  bool whole_granules = true;

  Fold(uint64_t bytes, uint64_t seed) : operand(pattern(bytes, seed)), target(bytes) {}

  Sink sink(uint32_t granule, Fingerprint fingerprint = 7) {
    Sink s = sink_of(target, fingerprint);
    s.combine = &Fold::combine;
    s.operand = operand.data();
    s.context = this;
    s.granule = granule;
    return s;
  }
  static void combine(const Sink& sink, uint64_t offset, const std::byte* arrived, uint64_t bytes) {
    auto& self = *const_cast<Fold*>(static_cast<const Fold*>(sink.context));
    ++self.calls;
    self.in_order = self.in_order && offset == self.next;
    self.whole_granules = self.whole_granules && bytes % sink.granule == 0;
    if (offset + bytes > sink.bytes) {
      ADD_FAILURE() << "combine() was handed bytes beyond the message";
      return;
    }
    self.next = offset + bytes;
    for (uint64_t i = 0; i < bytes; ++i) {
      sink.target[offset + i] = static_cast<std::byte>(
          static_cast<unsigned>(sink.operand[offset + i]) + static_cast<unsigned>(arrived[i]));
    }
  }
  // Whether target == operand + sent everywhere.
  bool holds(const std::vector<std::byte>& sent) const {
    if (sent.size() != target.size()) return false;
    for (size_t i = 0; i < sent.size(); ++i) {
      const auto sum = static_cast<std::byte>(static_cast<unsigned>(operand[i]) +
                                              static_cast<unsigned>(sent[i]));
      if (target[i] != sum) return false;
    }
    return true;
  }
};

}  // namespace gossamer::suite
