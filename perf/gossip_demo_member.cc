#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <thread>

#include "gossamer/averaging_job.h"
#include "perf/gossip_demo.h"

namespace gossamer {
namespace {

using std::chrono::milliseconds;

constexpr int kSamples = 400;  // of a member
constexpr int kBatch = 16;
constexpr double kRate = 0.5;
constexpr double kRateSteps = 100;  // after so many it is half
constexpr milliseconds kPause{20};  // a step's computation, as it were

AveragingJob::Options options_of(const GossipDemo& demo, size_t slot) {
  AveragingJob::Options options;
  options.key = demo.key;
  options.count = 2 * demo.dim;
  options.type = DataType::kFloat64;
  options.label = std::to_string(slot);
  options.interfaces = "=lo";
  options.probe_interval = milliseconds(200);
  options.timeout = milliseconds(2'000);
  return options;
}

int fail(DemoSlot* slot, const Status& status) {
  std::snprintf(slot->failure.data(), slot->failure.size(), "%s", status.to_string().c_str());
  return 1;
}

// Through any of the others; one that was killed meanwhile is passed over.
Result<std::unique_ptr<AveragingJob>> enter(const GossipDemo& demo, DemoBoard* board, size_t slot,
                                            const std::vector<size_t>& others, double* x) {
  if (others.empty()) return AveragingJob::start(options_of(demo, slot), x);
  std::mt19937_64 random(demo.seed + slot);
  for (;;) {
    const std::string through = board->slot(others[random() % others.size()]).address.data();
    if (!through.empty()) {
      auto job = AveragingJob::join(through, options_of(demo, slot), x);
      if (job || job.status().code() != Code::kTimeout) return job;
    }
    std::this_thread::sleep_for(milliseconds(10));
  }
}

void publish(const AveragingJob& job, DemoBoard* board, size_t slot, const std::vector<double>& x) {
  DemoSlot& own = board->slot(slot);
  for (size_t k = 0; k < x.size(); ++k) board->values(slot)[k] = x[k];
  own.steps = job.steps();
  own.members = job.members().size();
  own.ready = true;
}

}  // namespace

Status DemoBoard::open(size_t slots, uint64_t dim) {
  slots_ = slots;
  dim_ = dim;
  bytes_ = slots * (sizeof(DemoSlot) + 2 * dim * sizeof(double)) + sizeof(Signals);
  memory_ = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory_ == MAP_FAILED) {
    memory_ = nullptr;
    return Status::error(Code::kSystem,
                         "no memory that processes share: " + std::string(std::strerror(errno)));
  }
  for (size_t s = 0; s < slots; ++s) new (&slot(s)) DemoSlot;
  new (&signals()) Signals;
  return Status::ok();
}

DemoBoard::~DemoBoard() {
  if (memory_ != nullptr) ::munmap(memory_, bytes_);
}

// Zeros are what an atomic double of 0 consists of.
std::atomic<double>* DemoBoard::values(size_t s) {
  auto* const first = reinterpret_cast<std::atomic<double>*>(&slot(slots_));
  return first + s * 2 * dim_;
}

DemoBoard::Signals& DemoBoard::signals() {
  return *reinterpret_cast<Signals*>(values(slots_));
}

int live_as_member(const GossipDemo& demo, DemoBoard* board, size_t slot,
                   const std::vector<size_t>& others) {
  DemoSlot& own = board->slot(slot);
  const uint64_t dim = demo.dim;
  const DemoSamples samples(demo.seed, dim, static_cast<int>(slot), kSamples);
  std::mt19937_64 random(demo.seed * 7'919 + slot);
  std::normal_distribution<> normal;
  std::vector<double> x(2 * dim);
  auto job = enter(demo, board, slot, others, x.data());
  if (!job) return fail(&own, job.status());
  std::snprintf(own.address.data(), own.address.size(), "%s", (*job)->address().c_str());
  bool moved = false;
  std::vector<double> update(2 * dim);
  while (!own.asked_to_leave) {
    std::fill(update.begin(), update.end(), 0);
    if (board->signals().all_there) {
      samples.gradient(x.data(), kBatch, &random, update.data());
      const double rate = kRate / (1 + static_cast<double>((*job)->steps()) / kRateSteps);
      for (uint64_t k = 0; k < dim; ++k) update[k] *= rate;
      for (uint64_t k = dim; !moved && k < 2 * dim; ++k) update[k] = normal(random);
      moved = true;
    }
    if (Status stepped = (*job)->step(x.data(), update.data(), 1); !stepped) {
      return fail(&own, stepped);
    }
    publish(**job, board, slot, x);
    // What is under way when nobody steps has not been taken: then weights can be added up.
    do {
      std::this_thread::sleep_for(kPause);
      const auto account = (*job)->account();
      own.weight = account.weight + account.under_way;
    } while (board->signals().hold);
  }
  if (Status left = (*job)->leave(milliseconds(10'000)); !left) return fail(&own, left);
  return 0;
}

}  // namespace gossamer
