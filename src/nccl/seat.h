// What an ncclComm_t points at: one rank's seat, from the call that makes it to the one that frees
// it.
//
//   Handles  Seats are never given back to the system, only used again, oldest first and not before
//            kQuarantine others are free. So the handle of a freed communicator stays readable, and
//            a use of it is an error with a sentence instead of a crash.
//   Visits   Any thread may abort a communicator while others are inside a call on it. Whoever
//            looks at a seat holds a Visit; close_seat() lets nobody in and waits until all have
//            left, which abort() sees to.
//   Turns    Calls on one communicator run in the order in which they were made, whatever streams
//            they are on. Each asynchronous one takes a number when it is made and waits until
//            all before it have finished.
//
// Threads    Members are grouped by what guards them.
// Ownership  A seat owns its Communicator.

#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "gossamer/communicator.h"
#include "nccl/nccl.h"
#include "src/log.h"
#include "src/nccl/config.h"

namespace gossamer::nccl {

// A reduction of the user's. Calls copy it, so that it may be destroyed before they run.
struct UserOp {
  ncclDataType_t type = ncclFloat32;
  double factor = 1;
  const void* device_factor = nullptr;  // else read when the call runs
};

struct Window {
  RegistrationId registration = 0;
};

}  // namespace gossamer::nccl

struct ncclComm {
  // any thread
  std::atomic<uint64_t> life{0};  // the number of this use of the seat; 0: free
  std::atomic<int> inside{0};     // visits
  // Set while collectives may be called; null while it is set up, revoked, finalized, or a forked
  // child's copy.
  std::atomic<gossamer::Communicator*> usable{nullptr};
  std::atomic<gossamer::Communicator*> native{nullptr};  // as soon as there is one
  std::atomic<ncclResult_t> setup{ncclSuccess};   // ncclInProgress, or what a set-up call came to
  std::atomic<ncclResult_t> failed{ncclSuccess};  // of an asynchronous call
  std::atomic<bool> cancelled{false};             // abort: whatever waits gives up
  std::atomic<bool> revoked{false};
  std::atomic<bool> finalized{false};
  std::atomic<uint64_t> issued{0};    // turns given out
  std::atomic<uint64_t> finished{0};  // turns done

  // constant while it is used
  gossamer::Rank rank = -1;
  gossamer::Rank size = 0;
  gossamer::nccl::Config config;
  gossamer::LogIdentity identity;
  uint32_t generation = 0;  // of the process: fork.h

  // guarded by mutex
  std::mutex mutex;
  std::condition_variable changed;  // turns, set-up, cancelled
  std::unique_ptr<gossamer::Communicator> owned;
  std::map<int, gossamer::nccl::UserOp> ops;
  int ops_made = 0;
  std::map<ncclWindow_t, std::unique_ptr<gossamer::nccl::Window>> windows;
};

namespace gossamer::nccl {

// A fresh seat, in use, being set up.
ncclComm_t open_seat(Rank rank, Rank size, const Config& config);
// Gives the caller its handle. Another thread may look for it meanwhile, to abort: it finds a whole
// one.
inline void hand_out(ncclComm_t seat, ncclComm_t* handle) {
  std::atomic_ref(*handle).store(seat, std::memory_order_release);
}
// Hands over what set-up has made; from now on collectives may be called.
void occupy(ncclComm_t seat, std::unique_ptr<Communicator> made);
// Around what changes an occupied seat (split, finalize): nothing else may be called meanwhile.
void begin_setup(ncclComm_t seat);
void end_setup(ncclComm_t seat, ncclResult_t result);
// Frees it: lets nobody in any more, waits until all have left, destroys the Communicator. False:
// it was free. Does nothing to a forked child's copy but forget it.
bool close_seat(ncclComm_t seat, uint64_t life);

// The right to look at a seat, for as long as this lives.
class Visit {
 public:
  explicit Visit(ncclComm_t seat) : seat_(seat) {
    if (seat_ == nullptr) return;
    // Before reading `life`: close_seat() writes that and then looks at `inside`.
    seat_->inside.fetch_add(1);
    life_ = seat_->life.load();
    if (life_ == 0) leave();
  }
  // Only if it is still the same use of the seat.
  Visit(ncclComm_t seat, uint64_t life) : Visit(seat) {
    if (seat_ != nullptr && life_ != life) leave();
  }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;
  ~Visit() {
    if (seat_ != nullptr) leave();
  }
  explicit operator bool() const { return seat_ != nullptr; }
  uint64_t life() const { return life_; }
  void leave() {
    seat_->inside.fetch_sub(1);
    seat_ = nullptr;
  }

 private:
  ncclComm_t seat_;
  uint64_t life_ = 0;
};

// ncclSuccess, or why `comm` serves no call named `call` at the moment; for visitors' slow path.
ncclResult_t diagnose(ncclComm_t comm, const Visit& visit, const char* call);
// Of a forked child's copy of its parent's communicator.
bool is_foreign(ncclComm_t comm);

// Waits until all turns given out are done, or `cancelled`.
void wait_until_idle(ncclComm_t seat);
// Waits for `turn`, or until `cancelled`.
void await_turn(ncclComm_t seat, uint64_t turn);
void finish_turn(ncclComm_t seat);

// The first failure of an asynchronous call, or of the Communicator; ncclSuccess while there is
// none.
ncclResult_t failure_of(ncclComm_t seat);
// `status` in NCCL's terms, kept as the last warning.
ncclResult_t report(ncclComm_t seat, const Status& status);

// Around fork().
void lock_seats();
void unlock_seats();
void forget_seats();  // in the child

}  // namespace gossamer::nccl
