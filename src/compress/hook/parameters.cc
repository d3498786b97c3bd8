#include "src/compress/hook/parameters.h"

#include <fmt/format.h>

#include "src/reduce.h"

namespace gossamer {
namespace {

constexpr uint64_t kBytesMax = uint64_t{1} << 48;  // of all together
constexpr size_t kParametersMax = size_t{1} << 24;

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

std::string text_of(const std::vector<uint64_t>& shape) {
  if (shape.empty()) return "one";
  return fmt::format("{}", fmt::join(shape, "x"));
}

}  // namespace

Result<ParameterList> ParameterList::make(std::vector<GradientHook::Parameter> list) {
  if (list.empty()) return invalid("a hook of no parameters; list each with its key and shape");
  if (list.size() > kParametersMax) {
    return invalid(fmt::format("{} parameters; {} is the limit: give whole tensors, not elements",
                               list.size(), kParametersMax));
  }
  ParameterList made;
  made.list_ = std::move(list);
  uint64_t bytes = 0;
  for (size_t i = 0; i < made.list_.size(); ++i) {
    const GradientHook::Parameter& p = made.list_[i];
    if (mix_kernel(p.type) == nullptr) {
      return invalid(fmt::format("parameter '{}' is of {}; gradients are of a float type", p.key,
                                 size_of(p.type) == 0 ? "no known type" : name_of(p.type)));
    }
    uint64_t count = 1;
    for (const uint64_t extent : p.shape) {
      if (__builtin_mul_overflow(count, extent, &count)) count = kBytesMax;
    }
    if (count == 0) return invalid(fmt::format("parameter '{}' has no elements", p.key));
    if (count >= kBytesMax || (bytes += count * size_of(p.type)) >= kBytesMax) {
      return invalid(
          fmt::format("with parameter '{}' of {} elements the gradients are larger than "
                      "any memory; shapes are in elements",
                      p.key, text_of(p.shape)));
    }
    made.counts_.push_back(count);
    const auto [other, added] = made.index_.emplace(p.key, static_cast<uint32_t>(i));
    if (!added) {
      return invalid(
          fmt::format("parameters {} and {} have the same key '{}'; what is kept of a "
                      "parameter is kept by its key",
                      other->second, i, p.key));
    }
  }
  return made;
}

uint64_t ParameterList::digest(size_t i) const {
  Digest digest;
  digest.add(key(i));
  digest.add(static_cast<uint64_t>(type(i)));
  for (const uint64_t extent : shape(i)) digest.add(extent);
  return digest.value();
}

std::string ParameterList::describe(size_t i) const {
  return fmt::format("'{}' ({} {})", key(i), text_of(shape(i)), name_of(type(i)));
}

size_t ParameterList::find_or_end(std::string_view key) const {
  const auto found = index_.find(key);
  return found == index_.end() ? size() : found->second;
}

Result<size_t> ParameterList::find(std::string_view key) const {
  const size_t found = find_or_end(key);
  if (found < size()) return found;
  return invalid(
      fmt::format("no parameter has the key '{}'; the hook was made with {} of them, "
                  "the first is '{}'",
                  key, size(), this->key(0)));
}

}  // namespace gossamer
