#include "perf/board.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstring>
#include <ctime>
#include <utility>

namespace gossamer {
namespace {

struct alignas(64) Seat {
  std::atomic<uint32_t> arrived_at;  // the generation this rank waits for
  double row[Board::kRowMax];
};

Status system_error(const std::string& what) {
  return Status::error(Code::kSystem, what + ": " + std::strerror(errno));
}

}  // namespace

// All zero is a valid fresh state, so whoever opens the file first needs no part in setting it up.
struct Board::Memory {
  std::atomic<uint32_t> size;  // 0 until the first rank says
  std::atomic<uint32_t> arrived;
  alignas(64) std::atomic<uint32_t> generation;
  Seat seats[1];  // `size` of them

  static size_t bytes_for(int size) {
    return sizeof(Memory) + sizeof(Seat) * static_cast<size_t>(size);
  }
};

Board::Board(Board&& other) noexcept {
  *this = std::move(other);
}

Board& Board::operator=(Board&& other) noexcept {
  std::swap(memory_, other.memory_);
  std::swap(bytes_, other.bytes_);
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  return *this;
}

Board::~Board() {
  if (memory_ != nullptr) munmap(memory_, bytes_);
  if (fd_ >= 0) close(fd_);
}

Result<Board> Board::map(int fd, int size) {
  Board board;
  board.fd_ = fd;
  if (size < 1 || size > kRanksMax)
    return Status::error(Code::kInvalidArgument,
                         "a timing board seats 1 to " + std::to_string(kRanksMax) + " ranks");
  board.size_ = size;
  board.bytes_ = Memory::bytes_for(size);
  if (ftruncate(fd, static_cast<off_t>(board.bytes_)) != 0)
    return system_error("cannot size the timing board");
  void* memory = mmap(nullptr, board.bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return system_error("cannot map the timing board");
  board.memory_ = static_cast<Memory*>(memory);
  uint32_t none = 0;
  if (!board.memory_->size.compare_exchange_strong(none, static_cast<uint32_t>(size)) &&
      none != static_cast<uint32_t>(size))
    return Status::error(Code::kInvalidArgument, "the timing board was made for " +
                                                     std::to_string(none) + " ranks, not " +
                                                     std::to_string(size));
  return board;
}

Result<Board> Board::create(int size) {
  const int fd = memfd_create("gossamer-perf", MFD_CLOEXEC);
  if (fd < 0) return system_error("cannot make the timing board");
  return map(fd, size);
}

Result<Board> Board::open(const std::string& path, int size) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return system_error("cannot open the timing board " + path);
  return map(fd, size);
}

std::string Board::path() const {
  return "/proc/" + std::to_string(getpid()) + "/fd/" + std::to_string(fd_);
}

Status Board::barrier(int rank, const std::function<void()>& progress,
                      std::chrono::milliseconds timeout) const {
  std::atomic<uint32_t>& generation = memory_->generation;
  const uint32_t now = generation.load(std::memory_order_acquire);
  memory_->seats[rank].arrived_at.store(now + 1, std::memory_order_relaxed);
  if (memory_->arrived.fetch_add(1, std::memory_order_acq_rel) + 1 ==
      static_cast<uint32_t>(size_)) {
    memory_->arrived.store(0, std::memory_order_relaxed);
    generation.store(now + 1, std::memory_order_release);
    syscall(SYS_futex, &generation, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
    return Status::ok();
  }
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (generation.load(std::memory_order_acquire) == now) {
    if (progress) {
      progress();
      sched_yield();
    } else {
      const timespec slice{0, 100'000'000};
      syscall(SYS_futex, &generation, FUTEX_WAIT, now, &slice, nullptr, 0);
    }
    if (std::chrono::steady_clock::now() < deadline) continue;
    for (int r = 0; r < size_; ++r) {
      if (memory_->seats[r].arrived_at.load(std::memory_order_relaxed) == now + 1) continue;
      return Status::error(Code::kTimeout,
                           "rank " + std::to_string(r) + " did not reach the barrier", r);
    }
  }
  return Status::ok();
}

std::span<double> Board::row(int rank) const {
  return {memory_->seats[rank].row, kRowMax};
}

}  // namespace gossamer
