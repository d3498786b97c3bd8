// A Board is memory that the measured processes of one host share: a barrier, and one row of
// numbers per rank. It is independent of the library under test, so everything that is compared is
// timed by the same code.
//
// Threads    One per rank.
// Ownership  The memory has no name in the file system and is gone with its last user.
// Blocking   barrier(), until its deadline.

#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "gossamer/status.h"

namespace gossamer {

class Board {
 public:
  static constexpr int kRanksMax = 1024;
  static constexpr int kRowMax = 66;

  Board() = default;
  Board(Board&& other) noexcept;
  Board& operator=(Board&& other) noexcept;
  ~Board();

  // Makes one. path() is how other processes of this user find it, as long as this one lives.
  static Result<Board> create(int size);
  // Opens one made by create(), or a file that starts out empty and is shared by all ranks.
  //   kSystem           no such file, or not enough shared memory
  //   kInvalidArgument  it was made for another number of ranks
  static Result<Board> open(const std::string& path, int size);
  std::string path() const;

  // Returns when all ranks are here. `progress`, when given, is called while waiting: some
  // libraries move data only inside their own calls.
  //   kTimeout  the message names the lowest rank that did not come
  Status barrier(int rank, const std::function<void()>& progress,
                 std::chrono::milliseconds timeout) const;

  std::span<double> row(int rank) const;

 private:
  struct Memory;
  static Result<Board> map(int fd, int size);

  Memory* memory_ = nullptr;
  size_t bytes_ = 0;
  int fd_ = -1;
  int size_ = 0;
};

}  // namespace gossamer
