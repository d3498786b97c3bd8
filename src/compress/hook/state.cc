// What a hook keeps from one iteration to the next, saved by key.

#include <fmt/format.h>

#include <algorithm>

#include "gossip/methods/saved_state.h"
#include "src/compress/hook/hook_impl.h"

namespace gossamer {

// Body: iteration, whether the order was learned, parameters, and for each, in the order of
// buckets, the key's length, the key, and the digest of key, shape and type.
std::vector<std::byte> GradientHook::Impl::save() const {
  StateWriter out(MethodKind::kGradientHook, 24 + 64 * parameters_.size());
  out.number(iteration());
  out.number(learned_ ? 1 : 0);
  out.number(parameters_.size());
  for (const uint32_t i : order_) {
    const std::string& key = parameters_.key(i);
    out.number(key.size());
    out.bytes(std::as_bytes(std::span(key)));
    out.number(parameters_.digest(i));
  }
  return out.finish();
}

Status GradientHook::Impl::load(std::span<const std::byte> saved) {
  Result<StateReader> in = StateReader::open(MethodKind::kGradientHook, saved);
  if (!in) return in.status();
  const uint64_t iteration = in->number();
  const uint64_t learned = in->number();
  in->expect(parameters_.size(), "this many parameters:");
  std::vector<uint32_t> order;
  std::vector<bool> seen(parameters_.size(), false);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const std::span<const std::byte> key = in->bytes(in->number());
    const std::string_view text(reinterpret_cast<const char*>(key.data()), key.size());
    const uint64_t digest = in->number();
    const size_t found = parameters_.find_or_end(text);
    if (found == parameters_.size() || seen[found]) {
      in->refuse(
          fmt::format("the state is of a parameter '{}', which this hook does not have", text));
      break;
    }
    if (digest != parameters_.digest(found)) {
      in->refuse(fmt::format("the state of '{}' is of another shape or type than {}", text,
                             parameters_.describe(found)));
    }
    seen[found] = true;
    order.push_back(static_cast<uint32_t>(found));
  }
  if (Status sound = in->finish(); !sound) return sound;
  const Lock lock(mutex_);
  if (now_.unready < slots_.size()) {
    return Status::error(Code::kInvalidArgument,
                         "an iteration is under way; wait() ends it, then load()");
  }
  iteration_ = iteration;
  learned_ = learned != 0;
  if (order == order_) return Status::ok();
  order_ = std::move(order);
  Status built = build();
  if (!built) broken_ = built;
  begin_iteration();
  return built;
}

}  // namespace gossamer
