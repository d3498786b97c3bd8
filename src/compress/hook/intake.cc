// Gradients as they become ready: copied into their bucket on the caller's thread, while they are
// still in its cache. What was computed in the bucket, or is encoded by itself, is only looked at.

#include <fmt/format.h>

#include <cstring>

#include "src/compress/hook/hook_impl.h"

namespace gossamer {

Status GradientHook::Impl::take(size_t parameter, void* target, bool contributes) {
  Slot& slot = slots_[parameter];
  {
    const Lock lock(mutex_);
    if (!broken_) return broken_;
    if (!now_.failure) return now_.failure;
    if (slot.stage != Stage::kMissing) {
      return Status::error(Code::kInvalidArgument,
                           fmt::format("parameter '{}' was made ready or skipped before in "
                                       "iteration {}; wait() ends an iteration",
                                       parameters_.key(parameter), iteration_));
    }
    slot.stage = Stage::kFilling;
    slot.target = static_cast<std::byte*>(target);
    slot.contributes = contributes;
    slot.source = contributes && stays_in_place(slot.carrier) ? slot.target : slot.memory;
    arrival_[parameter] = now_.arrivals++;
    ++now_.filling;
  }
  const DataType type = parameters_.type(parameter);
  const uint64_t count = parameters_.count(parameter);
  bool finite = true;
  if (contributes) {
    finite = slot.target == slot.source ? all_finite(type, slot.source, count)
                                        : copy_finite(type, slot.memory, slot.target, count);
  }
  const bool alone = !finite && options_.exchange == Exchange::kGossip;
  if (!contributes || alone) std::memset(slot.memory, 0, parameters_.bytes(parameter));
  const Lock lock(mutex_);
  slot.stage = Stage::kReady;
  if (alone) slot.contributes = false;
  if (!finite && now_.not_finite == SIZE_MAX) now_.not_finite = parameter;
  --now_.filling;
  --now_.unready;
  const bool complete = --carriers_[slot.carrier].missing == 0;
  if (complete && can_step() && !conducting_) work_.notify_one();
  if (complete || now_.filling == 0) changed_.notify_all();
  return Status::ok();
}

}  // namespace gossamer
