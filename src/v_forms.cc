// Collectives whose shares differ in length: messages between the ranks, all issued at once.
//
// They are messages and no schedules because a rank knows only its own counts: nobody could prove
// or price a plan of them, and what is sent is fixed by the counts anyway. Every pair has its
// message, of no elements too, so that counts that do not agree are a mismatch and no wait without
// end.

#include <fmt/format.h>

#include "gossamer/communicator.h"
#include "src/communicator_impl.h"
#include "src/group.h"

namespace gossamer {
namespace {

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

}  // namespace

// Collects the letters of one call, one call of a thread at a time; the first bad one is its
// result.
class Communicator::Impl::LetterList {
 public:
  LetterList(Impl* impl, DataType type) : impl_(impl), type_(type), letters_(list_of_thread()) {
    letters_.clear();
    letters_.reserve(2 * static_cast<size_t>(impl->size));
  }

  void send(const void* base, uint64_t first, uint64_t count, Rank to) {
    add(true, base, first, count, to);
  }
  void recv(void* base, uint64_t first, uint64_t count, Rank from) {
    add(false, base, first, count, from);
  }
  void expect_shares(const Shares& shares, const char* whose) {
    const auto ranks = static_cast<size_t>(impl_->size);
    if (bad_ && (shares.counts.size() != ranks || shares.displacements.size() != ranks)) {
      bad_ = invalid(
          fmt::format("{} counts and {} displacements of the {} for {} ranks; give one of each per "
                      "rank",
                      shares.counts.size(), shares.displacements.size(), whose, ranks));
    }
  }
  void expect_own_share(const Shares& shares, uint64_t count) {
    const uint64_t told = ok() ? shares.counts[static_cast<size_t>(impl_->rank)] : count;
    if (told != count) {
      bad_ = invalid(fmt::format("rank {} gives {} elements but its own entry in counts is {}",
                                 impl_->rank, count, told));
    }
  }
  bool ok() const { return bad_.is_ok(); }

  Status run() { return bad_ ? impl_->carry_out(letters_) : CallGroup::refuse(bad_); }

  // The rank at `distance` up, or down.
  Rank ahead(Rank distance) const { return (impl_->rank + distance) % impl_->size; }
  Rank behind(Rank distance) const { return (impl_->rank + impl_->size - distance) % impl_->size; }

 private:
  // Kept, so that a call that is repeated allocates nothing.
  static std::vector<Letter>& list_of_thread() {
    thread_local std::vector<Letter> letters;
    return letters;
  }
  void add(bool sends, const void* base, uint64_t first, uint64_t count, Rank peer) {
    if (!bad_) return;
    const uint64_t element = size_of(type_);
    if (element > 0 && first > INT64_MAX / element) {
      bad_ = invalid(fmt::format("displacement {} of rank {} overflows", first, peer));
      return;
    }
    const auto* at = static_cast<const std::byte*>(base);
    if (at != nullptr) at += first * element;
    Result<Letter> letter = impl_->letter(sends, at, count, type_, peer);
    bad_ = letter.status();
    if (letter) letters_.push_back(*letter);
  }

  Impl* impl_;
  DataType type_;
  std::vector<Letter>& letters_;
  Status bad_;
};

Status Communicator::all_gather_v(const void* input, uint64_t count, void* output,
                                  const Shares& shares, DataType type) {
  Impl::LetterList list(impl_.get(), type);
  list.expect_shares(shares, "output");
  list.expect_own_share(shares, count);
  for (Rank distance = 0; list.ok() && distance < size(); ++distance) {
    const auto from = static_cast<size_t>(list.behind(distance));
    list.send(input, 0, count, list.ahead(distance));
    list.recv(output, shares.displacements[from], shares.counts[from], static_cast<Rank>(from));
  }
  return list.run();
}

Status Communicator::all_to_all_v(const void* input, const Shares& input_shares, void* output,
                                  const Shares& output_shares, DataType type) {
  Impl::LetterList list(impl_.get(), type);
  list.expect_shares(input_shares, "input");
  list.expect_shares(output_shares, "output");
  for (Rank distance = 0; list.ok() && distance < size(); ++distance) {
    const auto to = static_cast<size_t>(list.ahead(distance));
    const auto from = static_cast<size_t>(list.behind(distance));
    list.send(input, input_shares.displacements[to], input_shares.counts[to],
              static_cast<Rank>(to));
    list.recv(output, output_shares.displacements[from], output_shares.counts[from],
              static_cast<Rank>(from));
  }
  return list.run();
}

Status Communicator::gather_v(const void* input, uint64_t count, void* output, const Shares& shares,
                              DataType type, Rank root) {
  Impl::LetterList list(impl_.get(), type);
  list.send(input, 0, count, root);
  if (root == rank()) {
    list.expect_shares(shares, "output");
    list.expect_own_share(shares, count);
    for (Rank distance = 0; list.ok() && distance < size(); ++distance) {
      const auto from = static_cast<size_t>(list.ahead(distance));
      list.recv(output, shares.displacements[from], shares.counts[from], static_cast<Rank>(from));
    }
  }
  return list.run();
}

Status Communicator::scatter_v(const void* input, const Shares& shares, void* output,
                               uint64_t count, DataType type, Rank root) {
  Impl::LetterList list(impl_.get(), type);
  list.recv(output, 0, count, root);
  if (root == rank()) {
    list.expect_shares(shares, "input");
    list.expect_own_share(shares, count);
    for (Rank distance = 0; list.ok() && distance < size(); ++distance) {
      const auto to = static_cast<size_t>(list.ahead(distance));
      list.send(input, shares.displacements[to], shares.counts[to], static_cast<Rank>(to));
    }
  }
  return list.run();
}

}  // namespace gossamer
