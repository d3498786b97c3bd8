#include "src/engine.h"

#include <cstring>
#include <string>

#include "src/check.h"
#include "src/fingerprint.h"

namespace gossamer {
namespace {

constexpr uint32_t kFinished = UINT32_MAX;  // in pending_
constexpr uint64_t kLongCoding = 1 << 14;   // elements, some microseconds

// --- sinks: how arriving runs enter the target -------------------------------------------------

// What a sink's context points to.
const Kernels& kernels_of(const Sink& sink) {
  return *static_cast<const Kernels*>(sink.context);
}

void fold_same(const Sink& sink, uint64_t offset, const std::byte* arrived, uint64_t bytes) {
  const Kernels& k = kernels_of(sink);
  k.fold(sink.target + offset, sink.operand + offset, arrived, bytes / k.element_bytes);
}

void fold_into_wide(const Sink& sink, uint64_t offset, const std::byte* arrived, uint64_t bytes) {
  const Kernels& k = kernels_of(sink);
  const uint64_t at = offset / k.element_bytes * sizeof(float);
  k.fold_wide(sink.target + at, sink.operand + at, arrived, bytes / k.element_bytes);
}

// The operand is still in the data type: widen it into the target, then fold.
void widen_then_fold(const Sink& sink, uint64_t offset, const std::byte* arrived, uint64_t bytes) {
  const Kernels& k = kernels_of(sink);
  const uint64_t count = bytes / k.element_bytes;
  std::byte* target = sink.target + offset / k.element_bytes * sizeof(float);
  k.widen(target, sink.operand + offset, count, 1.0);
  k.fold_wide(target, target, arrived, count);
}

void widen_arrived(const Sink& sink, uint64_t offset, const std::byte* arrived, uint64_t bytes) {
  const Kernels& k = kernels_of(sink);
  k.widen(sink.target + offset / k.element_bytes * sizeof(float), arrived, bytes / k.element_bytes,
          1.0);
}

void fold_weighted(const Sink& sink, uint64_t offset, const std::byte* arrived, uint64_t bytes) {
  const auto& w = *static_cast<const Weighted*>(sink.context);
  const uint64_t first = offset / w.wire_bytes;
  w.mix(sink.target + first * w.into_bytes, sink.operand + first * w.from_bytes, arrived,
        bytes / w.wire_bytes, w.factors.from, w.factors.wire);
}

// A user function's sink: its context is the reduction itself.
void fold_user(const Sink& sink, uint64_t offset, const std::byte* arrived, uint64_t bytes) {
  const auto& reduction = *static_cast<const Reduction*>(sink.context);
  if (sink.target != sink.operand) std::memcpy(sink.target + offset, sink.operand + offset, bytes);
  reduction.function(sink.target + offset, arrived, bytes / sink.granule, reduction.context);
}

}  // namespace

Engine::Engine(Rank self, std::vector<Transport*> transport_of, std::vector<Transport*> all)
    : self_(self),
      transport_of_(std::move(transport_of)),
      all_(std::move(all)),
      letters_(self, transport_of_) {}

// Polls the transports and takes note of what is complete.
inline Code Engine::look() noexcept {
  for (Transport* transport : all_) {
    const Code code = transport->poll(&done_, &fault_);
    if (code != Code::kOk) return code;
  }
  if (!done_.empty()) {
    progressed_ = true;
    for (Token token : done_) {
      if (token < PointToPoint::kTokenMin) {
        finish(token);
      } else {
        letters_.finish(token);
      }
    }
    done_.clear();
  }
  if (letters_.waiting()) {
    const Code code = letters_.advance(&fault_);
    if (code != Code::kOk) return code;
    if (letters_.moved()) progressed_ = true;
  }
  return Code::kOk;
}

Code Engine::open(const Program& program) noexcept {
  opening_ = -1;
  for (Rank peer : program.peers) {
    const Code code = transport_of_[static_cast<size_t>(peer)]->open(peer, &fault_);
    if (code == Code::kAgain) {
      if (opening_ < 0) opening_ = peer;
    } else if (code != Code::kOk) {
      return fail(code);
    }
  }
  if (opening_ < 0) return Code::kOk;
  const Code code = look();
  return code == Code::kOk ? Code::kAgain : fail(code);
}

Code Engine::find_strays(Fingerprint mine) noexcept {
  for (size_t r = 0; r < transport_of_.size(); ++r) {
    Transport* const transport = transport_of_[r];
    if (transport == nullptr) continue;
    const auto peer = static_cast<Rank>(r);
    for (Lane lane = 0; lane < transport->limits().lanes; ++lane) {
      Fingerprint arrived = 0;
      if (transport->peek(peer, lane, &arrived) != Code::kOk) continue;
      // A peer may be ahead, but what is left of this call or an earlier one belongs to none.
      if (is_letter(arrived) ? !is_before(arrived, mine)
                             : arrived == mine || is_later(arrived, mine)) {
        continue;
      }
      fault_.set(Code::kMismatch, peer, "rank %d sent what nothing here receives", peer);
      fault_.expected = mine;
      fault_.arrived = arrived;
      return fail(Code::kMismatch);
    }
  }
  return Code::kOk;
}

void Engine::start(const Program& program, const Bindings& bindings) {
  GOSSAMER_CHECK(unfinished_ == 0);
  program_ = &program;
  base_[static_cast<size_t>(Buffer::kInput)] = const_cast<std::byte*>(bindings.input);
  base_[static_cast<size_t>(Buffer::kOutput)] = bindings.output;
  base_[static_cast<size_t>(Buffer::kScratch)] = bindings.scratch;
  base_[static_cast<size_t>(Buffer::kWide)] = bindings.wide;
  base_[static_cast<size_t>(Buffer::kCode)] = bindings.code;
  coding_ = bindings.coding;
  fingerprint_ = bindings.fingerprint;
  reduction_ = bindings.reduction;
  pending_.assign(program.waits.begin(), program.waits.end());
  heads_.assign(program.queue_heads.begin(), program.queue_heads.end());
  // A queue may block again while it still stands in the list, and when its turn comes after a code
  // that was to go ahead.
  const size_t blocked_max = 3 * program.queue_heads.size();
  if (ready_.capacity() < program.ops.size() || blocked_.capacity() < blocked_max) {
    ready_.reserve(program.ops.size());
    done_.reserve(program.ops.size());
    blocked_.reserve(blocked_max);
  }
  ready_.assign(program.ready.begin(), program.ready.end());
  ready_head_ = 0;
  blocked_.clear();
  done_.clear();
  unfinished_ = static_cast<uint32_t>(program.ops.size());
}

Code Engine::progress() noexcept {
  progressed_ = false;
  if (ready_head_ < ready_.size()) {
    const Code code = run_ready();
    if (code != Code::kOk) return fail(code);
    if (unfinished_ == 0) return Code::kOk;
  }
  const Code looked = look();
  if (looked != Code::kOk) return fail(looked);
  if (!blocked_.empty()) {
    // Windows may have reopened. issue_queue() appends the ones that are still full.
    const size_t blocked = blocked_.size();
    for (size_t i = 0; i < blocked; ++i) {
      const uint32_t head = blocked_[i];
      if (heads_[program_->ops[head].queue] != head) continue;  // issued meanwhile
      const Code code = issue_queue(head);
      if (code != Code::kOk) return fail(code);
    }
    blocked_.erase(blocked_.begin(), blocked_.begin() + static_cast<ptrdiff_t>(blocked));
  }
  if (ready_head_ < ready_.size()) {
    const Code code = run_ready();
    if (code != Code::kOk) return fail(code);
  }
  return unfinished_ == 0 ? Code::kOk : Code::kPending;
}

// Runs local steps and issues messages, in the order in which they became ready.
Code Engine::run_ready() noexcept {
  progressed_ = true;
  while (ready_head_ < ready_.size()) {
    const uint32_t index = ready_[ready_head_++];
    const Op& op = program_->ops[index];
    if (op.verb <= Verb::kRecvReduce) {
      // Messages of a queue are issued in program order: a later one waits for its turn.
      if (heads_[op.queue] != index) continue;
      const Code code = issue_queue(index);
      if (code != Code::kOk) return code;
    } else if (op.coding != kNoStep) {
      const Code code = run_coded(index);
      if (code != Code::kOk) return code;
    } else {
      run_local(op);
      finish(index);
    }
  }
  return Code::kOk;
}

// A code goes on its way before the next one is made, and long ones do not keep the transports
// waiting.
Code Engine::run_coded(uint32_t index) noexcept {
  const Op& op = program_->ops[index];
  const Coding& coding = program_->codings[op.coding];
  const Code ran = run_coding(
      coding, program_->kernels, base_[static_cast<size_t>(op.from_buffer)] + op.from_offset,
      base_[static_cast<size_t>(op.into_buffer)] + op.into_offset, coding_, &fault_);
  if (ran != Code::kOk) return ran;
  const size_t ready = ready_.size();
  finish(index);
  const Code issued = issue_since(ready);
  if (issued != Code::kOk || coding.count < kLongCoding || unfinished_ == 0) return issued;
  return look();
}

// Issues the messages among those that have become ready; they are skipped when their turn comes.
Code Engine::issue_since(size_t first) noexcept {
  for (size_t i = first; i < ready_.size(); ++i) {
    const Op& op = program_->ops[ready_[i]];
    if (op.verb > Verb::kRecvReduce || heads_[op.queue] != ready_[i]) continue;
    const Code code = issue_queue(ready_[i]);
    if (code != Code::kOk) return code;
  }
  return Code::kOk;
}

// Issues `head`, the next op of its queue, and those after it that are ready too.
Code Engine::issue_queue(uint32_t head) noexcept {
  while (head != kNoStep && pending_[head] == 0) {
    const Op& op = program_->ops[head];
    const Code code = issue(head);
    if (code == Code::kAgain) {
      blocked_.push_back(head);
      return Code::kOk;
    }
    heads_[op.queue] = op.next_in_queue;
    head = op.next_in_queue;
    if (code == Code::kOk) {
      finish(static_cast<uint32_t>(&op - program_->ops.data()));
    } else if (code != Code::kPending) {
      return code;
    }
  }
  return Code::kOk;
}

Code Engine::issue(uint32_t index) noexcept {
  const Op& op = program_->ops[index];
  Transport* transport = transport_of_[static_cast<size_t>(op.peer)];
  if (op.verb == Verb::kSend) {
    Message message{base_[static_cast<size_t>(op.from_buffer)] + op.from_offset,
                    op.wire_bytes,
                    fingerprint_,
                    op.share,
                    op.from_buffer == Buffer::kCode ? program_->code_bytes : program_->whole_bytes,
                    nullptr};
    if (op.answer != kNoStep) {
      const Op& answer = program_->ops[op.answer];
      message.answer = base_[static_cast<size_t>(answer.into_buffer)] + answer.into_offset;
    }
    return transport->send(op.peer, op.lane, message, index, &fault_);
  }
  return transport->recv(op.peer, op.lane, make_sink(op), index, &fault_);
}

Sink Engine::make_sink(const Op& op) const noexcept {
  const Kernels& k = program_->kernels;
  Sink sink;
  sink.target = base_[static_cast<size_t>(op.into_buffer)] + op.into_offset;
  sink.bytes = op.wire_bytes;
  sink.fingerprint = fingerprint_;
  sink.granule = k.element_bytes;
  sink.context = &k;
  sink.whole_bytes = program_->whole_bytes;
  if (op.into_buffer == Buffer::kCode) {
    sink.granule = 1;
    sink.whole_bytes = program_->code_bytes;
    return sink;
  }
  // Only if nothing that comes before the answer on its lane is still to be issued.
  sink.may_answer = op.answer != kNoStep && heads_[program_->ops[op.answer].queue] == op.answer;
  const bool wide = op.into_buffer == Buffer::kWide;
  if (op.verb == Verb::kRecv) {
    if (wide) sink.combine = widen_arrived;
    return sink;
  }
  sink.operand = base_[static_cast<size_t>(op.from_buffer)] + op.from_offset;
  if (op.weighted != kNoStep) {
    sink.combine = fold_weighted;
    sink.context = &program_->weighted[op.weighted];
  } else if (reduction_.op == ReduceOp::kUser) {
    sink.combine = fold_user;
    sink.context = &reduction_;
  } else if (!wide) {
    sink.combine = fold_same;
  } else {
    sink.combine = op.from_buffer == Buffer::kWide ? fold_into_wide : widen_then_fold;
  }
  return sink;
}

void Engine::run_local(const Op& op) noexcept {
  const Kernels& k = program_->kernels;
  std::byte* into = base_[static_cast<size_t>(op.into_buffer)] + op.into_offset;
  const std::byte* from = base_[static_cast<size_t>(op.from_buffer)] + op.from_offset;
  const bool into_wide = op.into_buffer == Buffer::kWide;
  const bool from_wide = op.from_buffer == Buffer::kWide;
  if (op.weighted != kNoStep) {
    const Weighted& w = program_->weighted[op.weighted];
    if (into_wide) k.widen(into, from, op.count, 1.0);
    w.scale(into, into_wide ? into : from, op.count, w.factors.from);
    return;
  }
  if (op.verb == Verb::kReduce) {
    if (reduction_.op == ReduceOp::kUser) {
      reduction_.function(into, from, op.count, reduction_.context);
    } else if (!into_wide) {
      k.fold(into, into, from, op.count);
    } else {
      (from_wide ? fold_kernel(DataType::kFloat32, reduction_.op) : k.fold_wide)(into, into, from,
                                                                                 op.count);
    }
    return;
  }
  const bool final_step = op.verb == Verb::kSettle && k.finishes;
  if (into_wide == from_wide) {
    if (final_step) {
      (into_wide ? k.divide_wide : k.divide)(into, from, op.count, k.divisor);
    } else if (into != from) {
      stream_copy(into, from, op.count * (into_wide ? sizeof(float) : k.element_bytes),
                  program_->whole_bytes);
    }
  } else if (into_wide) {
    k.widen(into, from, op.count, 1.0);
  } else if (final_step) {
    k.narrow_divide(into, from, op.count, k.divisor);
  } else {
    k.narrow(into, from, op.count, 1.0);
  }
}

void Engine::finish(uint32_t index) noexcept {
  const Op& op = program_->ops[index];
  progressed_ = true;
  pending_[index] = kFinished;
  --unfinished_;
  for (uint32_t i = op.dependents_begin; i < op.dependents_end; ++i) {
    const uint32_t next = program_->dependents[i];
    GOSSAMER_CHECK(pending_[next] > 0);
    if (--pending_[next] == 0) ready_.push_back(next);
  }
}

Code Engine::fail(Code code) noexcept {
  if (fault_.code == Code::kOk) fault_.set(code, -1, "operation failed");
  explain_mismatch(self_, &fault_);
  end_with(fault_);
  return fault_.code;
}

void Engine::end_with(const Fault& fault) noexcept {
  fault_ = fault;
  for (Transport* transport : all_) transport->notify(fault_);
  cancel();
}

void Engine::cancel() noexcept {
  for (Transport* transport : all_) transport->abandon();
  unfinished_ = 0;
  done_.clear();
  blocked_.clear();
  ready_.clear();
  ready_head_ = 0;
}

void Engine::drop_letters() noexcept {
  if (letters_.idle()) return;
  for (Transport* transport : all_) transport->abandon();
  letters_.drop();
}

Rank Engine::awaited() const {
  if (program_ == nullptr || unfinished_ == 0) return opening_ >= 0 ? opening_ : letters_.awaited();
  Rank lowest = -1;
  for (uint32_t i = 0; i < program_->ops.size(); ++i) {
    const Op& op = program_->ops[i];
    if (op.peer < 0 || pending_[i] != 0) continue;  // local, waiting for another step, or finished
    if (lowest < 0 || op.peer < lowest) lowest = op.peer;
  }
  return lowest;
}

std::string Engine::position() const {
  if (opening_ >= 0) return "its link is not open yet";
  if (unfinished_ == 0 && !letters_.idle()) return letters_.position();
  if (program_ == nullptr) return "before its first step";
  const size_t total = program_->ops.size();
  return std::to_string(total - unfinished_) + " of " + std::to_string(total) + " steps done";
}

}  // namespace gossamer
