#include "src/nccl/seat.h"

#include <fmt/format.h>

#include <chrono>
#include <deque>
#include <thread>

#include "src/nccl/fork.h"
#include "src/nccl/memory_kind.h"
#include "src/nccl/result.h"

namespace gossamer::nccl {
namespace {

constexpr size_t kQuarantine = 256;
constexpr std::chrono::microseconds kLookAgain{50};

// Never destroyed: programs exit with communicators alive, and threads of theirs running.
struct Seats {
  static Seats& instance() {
    static auto* const kInstance = new Seats;
    return *kInstance;
  }
  std::mutex mutex;
  std::deque<ncclComm_t> free;   // guarded by mutex, oldest first
  std::vector<ncclComm_t> made;  // guarded by mutex
  uint64_t lives = 0;            // guarded by mutex
};

void reset(ncclComm_t seat) {
  seat->usable.store(nullptr);
  seat->native.store(nullptr);
  seat->setup.store(ncclInProgress);
  seat->failed.store(ncclSuccess);
  seat->cancelled.store(false);
  seat->revoked.store(false);
  seat->finalized.store(false);
  seat->issued.store(0);
  seat->finished.store(0);
  const std::lock_guard lock(seat->mutex);
  seat->ops.clear();
  seat->ops_made = 0;
  seat->windows.clear();
}

}  // namespace

ncclComm_t open_seat(Rank rank, Rank size, const Config& config) {
  look_for_driver();
  Seats& seats = Seats::instance();
  ncclComm_t seat = nullptr;
  uint64_t life = 0;
  {
    const std::lock_guard lock(seats.mutex);
    life = ++seats.lives;
    if (seats.free.size() > kQuarantine) {
      seat = seats.free.front();
      seats.free.pop_front();
    } else {
      seat = new ncclComm;
      seats.made.push_back(seat);
    }
  }
  reset(seat);
  seat->rank = rank;
  seat->size = size;
  seat->config = config;
  seat->identity = {rank, size, config.name};
  seat->generation = process_generation();
  seat->life.store(life);
  return seat;
}

void occupy(ncclComm_t seat, std::unique_ptr<Communicator> made) {
  Communicator* const native = made.get();
  {
    const std::lock_guard lock(seat->mutex);
    seat->owned = std::move(made);
  }
  seat->native.store(native);
  seat->usable.store(native);
  // From now on ncclCommGetAsyncError() says that it may be used.
  seat->setup.store(ncclSuccess);
}

void begin_setup(ncclComm_t seat) {
  seat->usable.store(nullptr);
  seat->setup.store(ncclInProgress);
}

void end_setup(ncclComm_t seat, ncclResult_t result) {
  const bool usable = result == ncclSuccess && !seat->revoked.load() && !seat->finalized.load();
  if (usable) seat->usable.store(seat->native.load());
  seat->setup.store(result);
}

bool close_seat(ncclComm_t seat, uint64_t life) {
  if (!seat->life.compare_exchange_strong(life, 0)) return false;
  if (is_foreign(seat)) return true;  // its locks and threads are the parent's
  while (seat->inside.load() != 0) std::this_thread::sleep_for(kLookAgain);
  seat->usable.store(nullptr);
  seat->native.store(nullptr);
  {
    const std::lock_guard lock(seat->mutex);
    seat->owned.reset();
    seat->windows.clear();
  }
  Seats& seats = Seats::instance();
  const std::lock_guard lock(seats.mutex);
  seats.free.push_back(seat);
  return true;
}

bool is_foreign(ncclComm_t comm) {
  return comm->generation != process_generation();
}

ncclResult_t diagnose(ncclComm_t comm, const Visit& visit, const char* call) {
  if (comm == nullptr) {
    return refuse(ncclInvalidArgument, fmt::format("{}: the communicator is NULL", call));
  }
  if (!visit) {
    return refuse(ncclInvalidArgument,
                  fmt::format("{}: the communicator was destroyed or aborted before", call));
  }
  const auto no = [&](ncclResult_t result, const char* why) {
    return refuse(result, fmt::format("{}: {}", call, why), comm->identity);
  };
  if (is_foreign(comm)) {
    return no(ncclInvalidUsage,
              "the communicator was made before fork(); make one in the child instead");
  }
  const ncclResult_t setup = comm->setup.load();
  if (setup == ncclInProgress) {
    return no(ncclInvalidArgument,
              "the communicator is still being set up; wait until ncclCommGetAsyncError() no "
              "longer says ncclInProgress");
  }
  if (setup != ncclSuccess) {
    return no(setup, "setting up the communicator failed; abort it and make another");
  }
  if (comm->revoked.load()) {
    return no(ncclInvalidUsage, "the communicator was revoked; split, shrink or destroy it");
  }
  if (comm->finalized.load()) {
    return no(ncclInvalidArgument, "the communicator was finalized; destroy it");
  }
  return ncclSuccess;
}

void wait_until_idle(ncclComm_t seat) {
  std::unique_lock lock(seat->mutex);
  seat->changed.wait(
      lock, [&] { return seat->cancelled.load() || seat->finished.load() == seat->issued.load(); });
}

void await_turn(ncclComm_t seat, uint64_t turn) {
  std::unique_lock lock(seat->mutex);
  seat->changed.wait(lock, [&] { return seat->cancelled.load() || seat->finished.load() == turn; });
}

void finish_turn(ncclComm_t seat) {
  const std::lock_guard lock(seat->mutex);
  seat->finished.fetch_add(1);
  seat->changed.notify_all();
}

ncclResult_t failure_of(ncclComm_t seat) {
  if (const ncclResult_t failed = seat->failed.load(); failed != ncclSuccess) return failed;
  const Communicator* native = seat->native.load();
  if (native == nullptr) return ncclSuccess;
  const Status status = native->status();
  return result_of(status.code(), status.rank() == seat->rank);
}

ncclResult_t report(ncclComm_t seat, const Status& status) {
  if (status.is_ok()) return ncclSuccess;
  const ncclResult_t result = result_of(status.code(), status.rank() == seat->rank);
  return refuse(result, status.to_string(), seat->identity);
}

void lock_seats() {
  Seats::instance().mutex.lock();
}
void unlock_seats() {
  Seats::instance().mutex.unlock();
}

void forget_seats() {
  for (ncclComm_t seat : Seats::instance().made) seat->usable.store(nullptr);
}

}  // namespace gossamer::nccl
