// The public face.

#include "gossamer/gradient_hook.h"

#include <fmt/format.h>

#include "src/compress/hook/hook_impl.h"

namespace gossamer {
namespace {

Status no_gradient(const std::string& key) {
  return Status::error(
      Code::kInvalidArgument,
      fmt::format("the gradient of '{}' is null; skip() a parameter that has none", key));
}

Status no_place(size_t parameter, size_t size) {
  return Status::error(
      Code::kInvalidArgument,
      fmt::format("there is no parameter {}; the hook was made with {}", parameter, size));
}

}  // namespace

GradientHook::GradientHook(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GradientHook::~GradientHook() = default;

Result<std::unique_ptr<GradientHook>> GradientHook::create(Communicator& comm,
                                                           std::vector<Parameter> parameters,
                                                           const Options& options) {
  Result<std::unique_ptr<Impl>> made = Impl::make(comm, std::move(parameters), options);
  if (!made) return made.status();
  return std::unique_ptr<GradientHook>(new GradientHook(std::move(made).value()));
}

Status GradientHook::ready_at(size_t parameter, void* gradient) {
  if (parameter >= size()) return no_place(parameter, size());
  if (gradient == nullptr) return no_gradient(impl_->parameters().key(parameter));
  return impl_->take(parameter, gradient, true);
}

Status GradientHook::skip_at(size_t parameter, void* into) {
  if (parameter >= size()) return no_place(parameter, size());
  return impl_->take(parameter, into, false);
}

Status GradientHook::ready(std::string_view key, void* gradient) {
  const size_t found = impl_->parameters().find_or_end(key);
  return found < size() ? ready_at(found, gradient) : find(key).status();
}

Status GradientHook::skip(std::string_view key, void* into) {
  const size_t found = impl_->parameters().find_or_end(key);
  return found < size() ? skip_at(found, into) : find(key).status();
}

Result<void*> GradientHook::memory(std::string_view key) {
  const Result<size_t> found = find(key);
  if (!found) return found.status();
  return impl_->memory(*found);
}

Result<GradientHook::Step> GradientHook::wait() {
  return impl_->wait();
}

Status GradientHook::wait(std::string_view key) {
  const Result<size_t> found = find(key);
  return found ? impl_->wait(*found) : found.status();
}

Result<GradientHook::Shard> GradientHook::shard(std::string_view key) const {
  const Result<size_t> found = find(key);
  if (!found) return found.status();
  return impl_->shard(*found);
}

Status GradientHook::gather(std::span<void* const> values) {
  return impl_->gather(values);
}

Status GradientHook::rebind(Communicator& comm, const Graph* graph) {
  return impl_->rebind(comm, graph);
}

Status GradientHook::hand_over(Rank from, Rank to) {
  return impl_->hand_over(from, to);
}

uint64_t GradientHook::iteration() const {
  return impl_->iteration();
}

size_t GradientHook::size() const {
  return impl_->parameters().size();
}

Result<size_t> GradientHook::find(std::string_view key) const {
  return impl_->parameters().find(key);
}

std::vector<std::vector<uint32_t>> GradientHook::buckets() const {
  return impl_->buckets();
}

Result<std::span<const float>> GradientHook::residual(std::string_view key) {
  const Result<size_t> found = find(key);
  if (!found) return found.status();
  return impl_->residual(*found);
}

Result<GradientHook::OwnerResidual> GradientHook::owner_residual(std::string_view key) {
  const Result<size_t> found = find(key);
  if (!found) return found.status();
  return impl_->owner_residual(*found);
}

Result<std::vector<std::byte>> GradientHook::save() {
  return impl_->save();
}

Status GradientHook::load(std::span<const std::byte> saved) {
  return impl_->load(saved);
}

}  // namespace gossamer
