// Collectives whose shares differ in length, every element checked.

#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "gossamer/communicator.h"

namespace gossamer {

// One rank's part in every such collective, with shares of 0 to 4 times `unit` elements. All ranks
// of the group call it.
class ShareCalls {
 public:
  ShareCalls(Communicator& comm, uint64_t unit) : comm_(comm), unit_(unit) {
    for (Rank r = 0; r < comm.size(); ++r) {
      gathered_.add(length(r, 1));
      sent_.add(length(me(), r));
      received_.add(length(r, me()));
    }
    mine_ = numbers(length(me(), 1), me() * 1'000'000);
    all_.resize(gathered_.total, -1);
  }

  void check() {
    all_gather();
    gather_and_scatter();
    all_to_all();
  }

 private:
  // Where shares lie, with holes between them.
  struct Layout {
    std::vector<uint64_t> counts, displacements;
    uint64_t total = 0;
    void add(uint64_t count) {
      counts.push_back(count);
      displacements.push_back(total + 2);
      total += count + 2;
    }
    Shares shares() const { return {counts, displacements}; }
    int64_t* at(std::vector<int64_t>* values, Rank r) const {
      return values->data() + displacements[static_cast<size_t>(r)];
    }
  };

  static std::vector<int64_t> numbers(uint64_t count, int64_t first) {
    std::vector<int64_t> values(count);
    std::iota(values.begin(), values.end(), first);
    return values;
  }

  Rank me() const { return comm_.rank(); }
  // How many elements rank `from` has for rank `to`: none for some.
  uint64_t length(Rank from, Rank to) const {
    return static_cast<uint64_t>((from * 7 + to * 3) % 5) * unit_;
  }

  void check_gathered() {
    for (Rank r = 0; r < comm_.size(); ++r) {
      const int64_t* at = gathered_.at(&all_, r);
      EXPECT_EQ(std::vector<int64_t>(at, at + length(r, 1)), numbers(length(r, 1), r * 1'000'000));
    }
    EXPECT_EQ(all_[0], -1);
    std::fill(all_.begin(), all_.end(), -1);
  }

  void all_gather() {
    ASSERT_TRUE(comm_.all_gather_v(mine_.data(), mine_.size(), all_.data(), gathered_.shares(),
                                   DataType::kInt64));
    check_gathered();
    std::copy(mine_.begin(), mine_.end(), gathered_.at(&all_, me()));  // in place
    ASSERT_TRUE(comm_.all_gather_v(gathered_.at(&all_, me()), mine_.size(), all_.data(),
                                   gathered_.shares(), DataType::kInt64));
    check_gathered();
  }

  void gather_and_scatter() {
    const Rank root = comm_.size() - 1;
    const bool is_root = me() == root;
    const Shares shares = is_root ? gathered_.shares() : Shares();
    int64_t* const all = is_root ? all_.data() : nullptr;
    ASSERT_TRUE(comm_.gather_v(mine_.data(), mine_.size(), all, shares, DataType::kInt64, root));
    std::vector<int64_t> back(mine_.size(), -1);
    ASSERT_TRUE(comm_.scatter_v(all, shares, back.data(), back.size(), DataType::kInt64, root));
    EXPECT_EQ(back, mine_);
    if (is_root) check_gathered();
  }

  void all_to_all() {
    std::vector<int64_t> out(sent_.total), in(received_.total, -1);
    for (Rank r = 0; r < comm_.size(); ++r) {
      const std::vector<int64_t> part = numbers(length(me(), r), me() * 100 + r);
      std::copy(part.begin(), part.end(), sent_.at(&out, r));
    }
    ASSERT_TRUE(comm_.all_to_all_v(out.data(), sent_.shares(), in.data(), received_.shares(),
                                   DataType::kInt64));
    for (Rank r = 0; r < comm_.size(); ++r) {
      const int64_t* at = received_.at(&in, r);
      EXPECT_EQ(std::vector<int64_t>(at, at + length(r, me())),
                numbers(length(r, me()), r * 100 + me()));
    }
  }

  Communicator& comm_;
  const uint64_t unit_;
  Layout gathered_, sent_, received_;
  std::vector<int64_t> mine_, all_;
};

}  // namespace gossamer
