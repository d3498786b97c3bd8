// Calls: what a user says, checked and made into a key that plans are found by.

#include <fmt/format.h>

#include "gossamer/gossip.h"
#include "src/call_buffers.h"
#include "src/communicator_impl.h"
#include "src/group.h"

namespace gossamer {
namespace {

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

bool overlap(const std::byte* a, uint64_t a_bytes, const std::byte* b, uint64_t b_bytes) {
  return a < b + b_bytes && b < a + a_bytes;
}

CollectiveCall copying(Collective collective, const void* input, void* output, uint64_t count,
                       DataType type, Rank root = 0) {
  return {collective, input, output, count, type, ReduceOp::kSum, root};
}

CollectiveCall reducing(Collective collective, const void* input, void* output, uint64_t count,
                        DataType type, Reduction reduction, Rank root = 0) {
  return {collective, input, output, count, type, reduction, root};
}

}  // namespace

// --- checking ------------------------------------------------------------------------------------

// What can be said of a call before its buffers and its function are known.
Status Communicator::Impl::check_shape(const Call& call) const {
  const uint64_t element = size_of(call.type);
  if (element == 0) return invalid("the element type is none of gossamer::DataType");
  if (static_cast<int>(call.collective) >= kCollectiveCount && !has_graph(call.collective)) {
    return invalid("the collective is none of gossamer::Collective");
  }
  if (static_cast<int>(call.op) >= kReduceOpCount) {
    return invalid("the operation is none of gossamer::ReduceOp");
  }
  if (has_root(call.collective) && (call.root < 0 || call.root >= size)) {
    return invalid(fmt::format("the root of this {} is {}; this communicator has ranks 0 to {}",
                               name_of(call.collective), call.root, size - 1));
  }
  uint64_t bytes = 0;  // not by division, which every call would pay for
  if (__builtin_mul_overflow(call.count, element * shares_of(call.collective, size), &bytes) ||
      bytes > INT64_MAX) {
    return invalid(
        fmt::format("count {} of {} overflows; counts are elements, not bytes, and never "
                    "negative",
                    call.count, name_of(call.type)));
  }
  return Status::ok();
}

// A call's shape. Whether it is in place is not known yet; what means nothing to its collective is
// left out, so that it tells no plans apart.
Call Communicator::Impl::call_of(const CollectiveCall& asked) const {
  Call call;
  call.collective = asked.collective;
  call.count = asked.count;
  call.type = asked.type;
  call.op = reduces(asked.collective) ? asked.reduction.op : ReduceOp::kSum;
  call.root = has_root(asked.collective) ? asked.root : 0;
  return call;
}

// kPreMulSum scales the input first: into the output, where there is room for it, so that from
// there on the call is in place; else into memory of the communicator's own.
void Communicator::Impl::place(bool in_place, Call* call) const {
  call->in_place = true;
  call->in_place = call->op == ReduceOp::kPreMulSum
                       ? call->collective == Collective::kAllReduce
                       : in_place && buffers_of(*call, rank, size).in_place;
}

// Of a collective that has a graph: which round's matrix.
Status Communicator::Impl::find_round(const CollectiveCall& asked, PlanKey* key) const {
  if (!has_graph(asked.collective)) return Status::ok();
  if (asked.graph == nullptr || asked.graph->identity() == 0) {
    return invalid(
        fmt::format("{} needs a graph; make_graph() makes one", name_of(asked.collective)));
  }
  const Graph& graph = *asked.graph;
  if (graph.size() != size) {
    return invalid(fmt::format("graph {} has {} ranks and this communicator {}; make it for {}",
                               graph.name(), graph.size(), size, size));
  }
  const bool is_float = asked.type == DataType::kFloat32 || asked.type == DataType::kFloat64 ||
                        is_narrow_float(asked.type);
  if (asked.collective == Collective::kNeighborAverage && !is_float) {
    return invalid(
        fmt::format("weights are fractions, so {} averages no {}; convert to a float "
                    "type first",
                    name_of(asked.collective), name_of(asked.type)));
  }
  key->call.graph = graph.identity();
  key->call.round = graph.position(asked.round);
  key->mixing = graph.mixing(key->call.round);
  key->call.mixing = key->mixing.get();
  return Status::ok();
}

Status Communicator::Impl::check(const CollectiveCall& asked, PlanKey* key) const {
  if (revoked()) return invalid(kRevoked);
  Call& call = key->call;
  call = call_of(asked);
  Status sound = check_shape(call);
  if (sound) sound = find_round(asked, key);
  if (sound) sound = find_codec(asked, key);
  if (!sound) return sound;
  if (call.op == ReduceOp::kUser && asked.reduction.function == nullptr) {
    return invalid("ReduceOp::kUser needs a function; use Reduction::user(function, context)");
  }
  return check_buffers(asked, &call);
}

Status Communicator::Impl::check_buffers(const CollectiveCall& asked, Call* call) const {
  call->in_place = true;
  const CallBuffers placed = buffers_of(*call, rank, size);
  const bool reads = placed.input_count > 0;
  const bool writes = placed.output_count > 0;
  if ((reads && asked.input == nullptr) || (writes && asked.output == nullptr)) {
    return invalid(fmt::format("the {} buffer is null but count is {}",
                               reads && asked.input == nullptr ? "input" : "output", call->count));
  }
  const uint64_t element = size_of(call->type);
  const auto* const in = static_cast<const std::byte*>(asked.input);
  const auto* const out = static_cast<const std::byte*>(asked.output);
  const bool in_place =
      placed.in_place && in - placed.input_first * element == out - placed.output_first * element;
  place(in_place, call);
  if (!in_place && reads && writes &&
      overlap(in, placed.input_count * element, out, placed.output_count * element)) {
    return invalid(fmt::format("input and output overlap; {}", in_place_rule(call->collective)));
  }
  return Status::ok();
}

// One byte of the communicator's own: everybody has to have come before anybody has the sum.
CollectiveCall Communicator::Impl::barrier_call() {
  return reducing(Collective::kAllReduce, &barrier_, &barrier_, 1, DataType::kUint8,
                  ReduceOp::kMax);
}

// --- any collective ------------------------------------------------------------------------------

Status Communicator::run(const CollectiveCall& call) {
  return impl_->run(call);
}

Work Communicator::start(const CollectiveCall& call) {
  PlanKey key;
  const Status status = impl_->check(call, &key);
  if (!status) return Work(Operation::failed(status));
  return Work(impl_->start(key, call.input, call.output, call.reduction));
}

Result<PersistentCollective> Communicator::plan(const CollectiveCall& call) {
  PlanKey key;
  const Status status = impl_->check(call, &key);
  if (!status) return status;
  Result<Operation*> made = impl_->make_persistent(key, call.input, call.output, call.reduction);
  if (!made) return made.status();
  (*made)->compression = call.compression;
  return PersistentCollective(*made);
}

Result<Communicator::Choice> Communicator::explain(Collective collective, uint64_t count,
                                                   DataType type, Reduction reduction,
                                                   bool in_place, Rank root) {
  return explain({collective, nullptr, nullptr, count, type, reduction, root}, in_place);
}

Result<Communicator::Choice> Communicator::explain(const CollectiveCall& call, bool in_place) {
  Result<PlanKey> key = impl_->key_of(call, in_place);
  if (!key) return key.status();
  return impl_->explain(*key);
}

// Of a call whose buffers do not matter.
Result<PlanKey> Communicator::Impl::key_of(const CollectiveCall& call, bool in_place) const {
  PlanKey key;
  key.call = call_of(call);
  Status sound = check_shape(key.call);
  if (sound) sound = find_round(call, &key);
  if (sound) sound = find_codec(call, &key);
  if (!sound) return sound;
  place(in_place, &key.call);
  return key;
}

// --- by name -------------------------------------------------------------------------------------

Status Communicator::all_reduce(const void* input, void* output, uint64_t count, DataType type,
                                Reduction reduction) {
  return run(reducing(Collective::kAllReduce, input, output, count, type, reduction));
}

Work Communicator::start_all_reduce(const void* input, void* output, uint64_t count, DataType type,
                                    Reduction reduction) {
  return start(reducing(Collective::kAllReduce, input, output, count, type, reduction));
}

Result<PersistentCollective> Communicator::plan_all_reduce(const void* input, void* output,
                                                           uint64_t count, DataType type,
                                                           Reduction reduction) {
  return plan(reducing(Collective::kAllReduce, input, output, count, type, reduction));
}

Status Communicator::all_gather(const void* input, void* output, uint64_t count, DataType type) {
  return run(copying(Collective::kAllGather, input, output, count, type));
}

Work Communicator::start_all_gather(const void* input, void* output, uint64_t count,
                                    DataType type) {
  return start(copying(Collective::kAllGather, input, output, count, type));
}

Result<PersistentCollective> Communicator::plan_all_gather(const void* input, void* output,
                                                           uint64_t count, DataType type) {
  return plan(copying(Collective::kAllGather, input, output, count, type));
}

Status Communicator::broadcast(const void* input, void* output, uint64_t count, DataType type,
                               Rank root) {
  return run(copying(Collective::kBroadcast, input, output, count, type, root));
}

Work Communicator::start_broadcast(const void* input, void* output, uint64_t count, DataType type,
                                   Rank root) {
  return start(copying(Collective::kBroadcast, input, output, count, type, root));
}

Result<PersistentCollective> Communicator::plan_broadcast(const void* input, void* output,
                                                          uint64_t count, DataType type,
                                                          Rank root) {
  return plan(copying(Collective::kBroadcast, input, output, count, type, root));
}

Status Communicator::reduce(const void* input, void* output, uint64_t count, DataType type,
                            Reduction reduction, Rank root) {
  return run(reducing(Collective::kReduce, input, output, count, type, reduction, root));
}

Work Communicator::start_reduce(const void* input, void* output, uint64_t count, DataType type,
                                Reduction reduction, Rank root) {
  return start(reducing(Collective::kReduce, input, output, count, type, reduction, root));
}

Result<PersistentCollective> Communicator::plan_reduce(const void* input, void* output,
                                                       uint64_t count, DataType type,
                                                       Reduction reduction, Rank root) {
  return plan(reducing(Collective::kReduce, input, output, count, type, reduction, root));
}

Status Communicator::reduce_scatter(const void* input, void* output, uint64_t count, DataType type,
                                    Reduction reduction) {
  return run(reducing(Collective::kReduceScatter, input, output, count, type, reduction));
}

Work Communicator::start_reduce_scatter(const void* input, void* output, uint64_t count,
                                        DataType type, Reduction reduction) {
  return start(reducing(Collective::kReduceScatter, input, output, count, type, reduction));
}

Result<PersistentCollective> Communicator::plan_reduce_scatter(const void* input, void* output,
                                                               uint64_t count, DataType type,
                                                               Reduction reduction) {
  return plan(reducing(Collective::kReduceScatter, input, output, count, type, reduction));
}

Status Communicator::all_to_all(const void* input, void* output, uint64_t count, DataType type) {
  return run(copying(Collective::kAllToAll, input, output, count, type));
}

Work Communicator::start_all_to_all(const void* input, void* output, uint64_t count,
                                    DataType type) {
  return start(copying(Collective::kAllToAll, input, output, count, type));
}

Result<PersistentCollective> Communicator::plan_all_to_all(const void* input, void* output,
                                                           uint64_t count, DataType type) {
  return plan(copying(Collective::kAllToAll, input, output, count, type));
}

Status Communicator::gather(const void* input, void* output, uint64_t count, DataType type,
                            Rank root) {
  return run(copying(Collective::kGather, input, output, count, type, root));
}

Work Communicator::start_gather(const void* input, void* output, uint64_t count, DataType type,
                                Rank root) {
  return start(copying(Collective::kGather, input, output, count, type, root));
}

Result<PersistentCollective> Communicator::plan_gather(const void* input, void* output,
                                                       uint64_t count, DataType type, Rank root) {
  return plan(copying(Collective::kGather, input, output, count, type, root));
}

Status Communicator::scatter(const void* input, void* output, uint64_t count, DataType type,
                             Rank root) {
  return run(copying(Collective::kScatter, input, output, count, type, root));
}

Work Communicator::start_scatter(const void* input, void* output, uint64_t count, DataType type,
                                 Rank root) {
  return start(copying(Collective::kScatter, input, output, count, type, root));
}

Result<PersistentCollective> Communicator::plan_scatter(const void* input, void* output,
                                                        uint64_t count, DataType type, Rank root) {
  return plan(copying(Collective::kScatter, input, output, count, type, root));
}
Status Communicator::barrier() {
  return run(impl_->barrier_call());
}

Work Communicator::start_barrier() {
  return start(impl_->barrier_call());
}

}  // namespace gossamer
