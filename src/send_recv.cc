// Sends and receives: from validated arguments to letters.

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

Result<Letter> Communicator::Impl::letter(bool sends, const void* data, uint64_t count,
                                          DataType type, Rank peer) const {
  if (revoked()) return invalid(kRevoked);
  const uint64_t element = size_of(type);
  if (element == 0) return invalid("the element type is none of gossamer::DataType");
  if (peer >= size || peer < 0) {
    return Status::error(Code::kInvalidArgument,
                         fmt::format("there is no rank {} to {} in a group of {}", peer,
                                     sends ? "send to" : "receive from", size),
                         peer);
  }
  if (count > INT64_MAX / element) {
    return invalid(
        fmt::format("count {} of {} overflows; counts are elements, not bytes, and never "
                    "negative",
                    count, name_of(type)));
  }
  if (count > 0 && data == nullptr) {
    return invalid(fmt::format("the buffer to {} is null but count is {}",
                               sends ? "send" : "receive into", count));
  }
  Letter letter;
  letter.sends = sends;
  letter.peer = peer;
  letter.type = type;
  letter.count = count;
  letter.data = static_cast<std::byte*>(const_cast<void*>(data));
  return letter;
}

// Now, or noted in the thread's group.
Status Communicator::Impl::carry_out(std::span<Letter> letters) {
  if (!deferral.any()) return exchange(letters);
  CallGroup::Noted call;
  call.impl = this;
  call.is_collective = false;
  return CallGroup::note(call, letters);
}

Status Communicator::send(const void* data, uint64_t count, DataType type, Rank to) {
  Result<Letter> letter = impl_->letter(true, data, count, type, to);
  if (!letter) return CallGroup::refuse(letter.status());
  return impl_->carry_out(std::span(&*letter, 1));
}

Status Communicator::recv(void* data, uint64_t count, DataType type, Rank from) {
  Result<Letter> letter = impl_->letter(false, data, count, type, from);
  if (!letter) return CallGroup::refuse(letter.status());
  return impl_->carry_out(std::span(&*letter, 1));
}

Work Communicator::start_send(const void* data, uint64_t count, DataType type, Rank to) {
  Result<Letter> letter = impl_->letter(true, data, count, type, to);
  if (!letter) return Work(Operation::failed(letter.status()));
  return Work(impl_->start(std::span(&*letter, 1)));
}

Work Communicator::start_recv(void* data, uint64_t count, DataType type, Rank from) {
  Result<Letter> letter = impl_->letter(false, data, count, type, from);
  if (!letter) return Work(Operation::failed(letter.status()));
  return Work(impl_->start(std::span(&*letter, 1)));
}

Result<Rank> Communicator::recv_any(void* data, uint64_t count, DataType type) {
  if (deferral.any()) {
    return CallGroup::refuse(
        invalid("recv_any() tells the rank when it returns, so it fits no group and no stream; "
                "call it outside"));
  }
  Result<Letter> letter = impl_->letter(false, data, count, type, impl_->rank);
  if (!letter) return letter.status();
  letter->peer = -1;
  const Status status = impl_->exchange(std::span(&*letter, 1));
  if (!status) return status;
  return letter->peer;
}

}  // namespace gossamer
