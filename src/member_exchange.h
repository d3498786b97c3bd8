// An Exchange among some ranks of a communicator, by messages on it: no connection is made.
//
//   Steps     all-gather of blobs by Bruck's algorithm, as in src/mesh.h: the length, then the
//   blobs. Failure   a rank that has failed passes that on in place of blobs; so do those that hear
//   of it,
//             and after one all-gather all ranks know.
//   Blocking  as the communicator's own calls; ends with kAborted soon after *cancelled is set, and
//             then the communicator has failed.
//   Threads   one thread per object.

#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "src/communicator_impl.h"
#include "src/exchange.h"

namespace gossamer {

class Communicator::Impl::MemberExchange final : public Exchange {
 public:
  // `members` lists this rank too, in the order of the blobs.
  MemberExchange(Impl* parent, std::vector<Rank> members, const std::atomic<bool>* cancelled);

  Result<std::vector<std::string>> all_gather(const std::string& blob) override;
  void tell(const Status& why) override;

 private:
  Result<std::vector<std::string>> gather(const std::string& blob, Status failure);
  Status pass(Rank to, std::span<const std::byte> out, Rank from, std::span<std::byte> in);
  Status pass_body(Rank to, const std::vector<std::byte>& body, Rank from, size_t blobs,
                   std::vector<std::byte>* arrived, bool* failed);

  Impl* parent_;
  std::vector<Rank> members_;
  size_t self_ = 0;  // in members_
  const std::atomic<bool>* cancelled_;
  Status failure_;
};

}  // namespace gossamer
