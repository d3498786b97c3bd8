// gossamer gossip-demo: local processes in one averaging job, killed and joined on a schedule. What
// its parts share.
//
//   Values     of a member: a model of `dim` elements, then a vector of `dim` elements. The model
//              is trained, a logistic regression on the member's own samples; the vector is only
//              averaged: each member moves it once, when it has come, by numbers of its own.
//   Board      memory that all processes share: a slot for each that ever starts.
//   Threads    plain values; slots are written by one process and read by the one that started it.

#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "gossamer/status.h"

namespace gossamer {

struct GossipDemo {
  int ranks = 8;
  double seconds = 20;
  double kill_every = 2;  // seconds; 0: nobody is killed
  double join_every = 3;  // seconds; 0: nobody joins
  uint64_t seed = 1;
  uint64_t dim = 32;
  std::string svg;
  std::string key;  // of the job; drawn anew for each run
};

// One second of it.
struct GossipDemoRow {
  double time = 0;
  int up = 0;             // processes
  uint64_t seen_min = 0;  // members that one of them sees, at least and at most
  uint64_t seen_max = 0;
  int joined = 0;  // so far, the first ones included
  int died = 0;
  double consensus = 0;  // of the vectors: root mean square distance from their mean
  double model = 0;      // the same of the models
  double loss = 0;       // of the mean model, on samples that nobody trains with
  double accuracy = 0;
  double weight = 0;  // held and under way
};

// What a process publishes. Elements lie behind the slots of the board.
struct DemoSlot {
  std::atomic<bool> ready{false};  // has joined and stepped
  std::atomic<bool> asked_to_leave{false};
  std::array<char, 64> address{};
  std::atomic<uint64_t> steps{0};
  std::atomic<uint64_t> members{0};
  std::atomic<double> weight{0};
  std::array<char, 200> failure{};
};

class DemoBoard {
 public:
  //   kSystem  no memory
  Status open(size_t slots, uint64_t dim);
  DemoBoard() = default;
  ~DemoBoard();
  DemoBoard(const DemoBoard&) = delete;
  DemoBoard& operator=(const DemoBoard&) = delete;

  DemoSlot& slot(size_t s) { return static_cast<DemoSlot*>(memory_)[s]; }
  std::atomic<double>* values(size_t s);  // 2 * dim
  struct Signals {
    std::atomic<bool> all_there{false};  // the first ones may move their vectors, all may train
    std::atomic<bool> hold{false};       // no steps, for the weights to be counted
  };
  Signals& signals();
  size_t slots() const { return slots_; }

 private:
  void* memory_ = nullptr;
  size_t bytes_ = 0;
  size_t slots_ = 0;
  uint64_t dim_ = 0;
};

// Samples of a logistic model that the seed decides; `shard` -1: those nobody trains with.
struct DemoSamples {
  DemoSamples(uint64_t seed, uint64_t dim, int shard, int count);
  // Mean loss and share of right answers of a model.
  double loss(const double* model) const;
  double accuracy(const double* model) const;
  // Mean gradient over `batch` random samples.
  void gradient(const double* model, int batch, std::mt19937_64* random, double* into) const;

  uint64_t dim;
  std::vector<double> inputs;
  std::vector<double> labels;  // 0 or 1
};

// The life of one member, in a process of its own: joins through one of `others`, or starts the job
// when there are none; steps until it is asked to leave. Returns its exit code.
int live_as_member(const GossipDemo& demo, DemoBoard* board, size_t slot,
                   const std::vector<size_t>& others);

// Runs it all, printing a line per second.
//   kSystem  a process could not be started
//   others   a member has failed
Result<std::vector<GossipDemoRow>> run_gossip_demo(const GossipDemo& demo);

std::string draw_gossip_demo(const GossipDemo& demo, const std::vector<GossipDemoRow>& rows);

}  // namespace gossamer
