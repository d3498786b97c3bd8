// Calls whose messages are codes: checked, and made part of a plan's key.

#include <fmt/format.h>

#include "src/codec_names.h"
#include "src/communicator_impl.h"

namespace gossamer {
namespace {

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

// Those whose codes have one length.
std::string fixed_size_names() {
  std::string names;
  for (const CodecInfo& info : codecs()) {
    const auto codec = make_codec(std::string(info.name));
    if (!codec || !(*codec)->traits().fixed_size) continue;
    names += (names.empty() ? "" : ", ") + std::string(info.name);
  }
  return names;
}

Status check_compression(const Compression& compression) {
  if (compression.codec == nullptr) {
    return invalid("the compression has no codec; make_codec() makes one");
  }
  if (!compression.codec->traits().fixed_size) {
    return invalid(
        fmt::format("codes of {} differ in length, and the messages of a collective do not; codecs "
                    "whose codes have one length are {}",
                    compression.codec->name(), fixed_size_names()));
  }
  if (compression.codec->identity() == 0) {
    return invalid(
        "this codec has no name, by which ranks and plans tell codecs apart; have it give one to "
        "Codec's constructor");
  }
  if (compression.residual != nullptr && compression.residual == compression.next_residual) {
    return invalid(
        "residual and next_residual are the same memory; keep two, so that the old one is there if "
        "the call fails, and swap them when it has succeeded");
  }
  return Status::ok();
}

}  // namespace

Status Communicator::Impl::find_codec(const CollectiveCall& asked, PlanKey* key) const {
  if (asked.compression == nullptr) return Status::ok();
  const Call& call = key->call;
  const bool is_float = call.type == DataType::kFloat32 || call.type == DataType::kFloat64 ||
                        is_narrow_float(call.type);
  if (!is_float) {
    return invalid(fmt::format("codecs compress floats, and not {}; convert to a float type first",
                               name_of(call.type)));
  }
  if (reduces(call.collective) && call.op != ReduceOp::kSum && call.op != ReduceOp::kAvg) {
    return invalid(
        fmt::format("codes are summed or averaged (ReduceOp::kSum, ReduceOp::kAvg), and this call "
                    "asks for {}",
                    name_of(call.op)));
  }
  Status sound = check_compression(*asked.compression);
  if (!sound) return sound;
  if (call.count > asked.compression->codec->count_max()) {
    return invalid(fmt::format(
        "{} encodes up to {} elements, and this call has {}; make several calls of it",
        asked.compression->codec->name(), asked.compression->codec->count_max(), call.count));
  }
  if (call.collective == Collective::kNeighborAverage && asked.compression->codec->traits().votes) {
    return invalid(fmt::format(
        "votes of {} are counted and have no weights; use all_reduce(), or a codec that keeps "
        "magnitudes, like sign",
        asked.compression->codec->name()));
  }
  key->compression = *asked.compression;
  key->call.codec = asked.compression->codec;
  key->call.codec_identity = asked.compression->codec->identity();
  return Status::ok();
}

// A persistent collective's, read anew.
Status Communicator::Impl::renew_compression(Operation* operation) const {
  const Compression& now = *operation->compression;
  Status sound = check_compression(now);
  if (!sound) return sound;
  if (now.codec->identity() != operation->key.call.codec_identity) {
    return invalid(fmt::format(
        "this persistent collective was planned with {} and its compression has {} now; plan anew",
        describe_codec(codec_tag(operation->key.call.codec_identity)), now.codec->name()));
  }
  operation->key.compression = now;
  return Status::ok();
}

// Where a run of this plan works, and on what.
CodingBindings Communicator::Impl::bind_coding(const Plan& plan, const Compression& compression) {
  const Program& program = plan.program;
  if (code_.size() < program.code_bytes) code_.resize(program.code_bytes);
  if (staging_.size() < program.staging_count) staging_.resize(program.staging_count);
  if (numbers_.size() < program.numbers_count) numbers_.resize(program.numbers_count);
  if (workspace_.size() < program.workspace_bytes) workspace_.resize(program.workspace_bytes);
  CodingBindings coding;
  coding.codec = compression.codec;
  coding.residual = compression.residual;
  coding.next_residual = compression.next_residual;
  coding.not_finite = compression.not_finite;
  coding.draws = compression.draws;
  coding.rank = rank;
  coding.staging = staging_.data();
  coding.numbers = numbers_.data();
  coding.workspace = workspace_;
  return coding;
}

// Of a rank that encodes nothing in this round of its graph: all is left for the next.
void Communicator::Impl::carry_residual(const Plan& plan, const Compression& compression) {
  if (plan.carried_count == 0 || compression.next_residual == nullptr) return;
  for (uint64_t i = 0; i < plan.carried_count; ++i) {
    compression.next_residual[i] = compression.residual == nullptr ? 0 : compression.residual[i];
  }
}

Result<uint64_t> Communicator::Impl::residual_count(const PlanKey& key) {
  take_driver();
  Result<std::shared_ptr<Plan>> plan = plan_for(key);
  Result<uint64_t> count =
      plan ? Result<uint64_t>((*plan)->program.residual_count + (*plan)->carried_count)
           : Result<uint64_t>(plan.status());
  last_plan_ = nullptr;
  release_driver();
  return count;
}

Result<uint64_t> Communicator::residual_count(const CollectiveCall& call, bool in_place) {
  Result<PlanKey> key = impl_->key_of(call, in_place);
  if (!key) return key.status();
  if (call.compression == nullptr) return uint64_t{0};
  return impl_->residual_count(*key);
}

}  // namespace gossamer
