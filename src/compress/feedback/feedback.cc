// The table of kinds of error feedback, how one is found by its text, and leaving a group.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "gossamer/communicator.h"
#include "src/check.h"
#include "src/compress/feedback/list.h"

namespace gossamer {
namespace {

Status invalid(std::string message) {
  return Status::error(Code::kInvalidArgument, std::move(message));
}

std::span<const FeedbackFactory* const> factories() {
#define GOSSAMER_ADDRESS(name) &name##_feedback,
  static const FeedbackFactory* const kAll[] = {GOSSAMER_FEEDBACKS(GOSSAMER_ADDRESS)};
#undef GOSSAMER_ADDRESS
  return kAll;
}

// In messages of so many bytes: who receives makes room for what has come, and for no more than
// that on a peer's word.
constexpr uint64_t kMessageBytes = uint64_t{64} << 20;

// Its length first, as only the sender knows it.
Status send_state(Communicator& comm, const std::vector<std::byte>& state, Rank to) {
  const uint64_t bytes = state.size();
  Status done = comm.send(&bytes, 1, DataType::kUint64, to);
  for (uint64_t at = 0; at < bytes && done; at += kMessageBytes) {
    done = comm.send(state.data() + at, std::min(kMessageBytes, bytes - at), DataType::kUint8, to);
  }
  return done;
}

Status recv_state(Communicator& comm, std::vector<std::byte>* state, Rank from) {
  constexpr uint64_t kBytesMax = uint64_t{1} << 40;
  uint64_t bytes = 0;
  Status done = comm.recv(&bytes, 1, DataType::kUint64, from);
  if (!done) return done;
  if (bytes == 0 || bytes > kBytesMax) {
    return Status::error(
        Code::kMismatch,
        fmt::format("rank {} hands over {} bytes, which are no state", from, bytes), from);
  }
  for (uint64_t at = 0; at < bytes && done; at += kMessageBytes) {
    const uint64_t length = std::min(kMessageBytes, bytes - at);
    state->resize(at + length);
    done = comm.recv(state->data() + at, length, DataType::kUint8, from);
  }
  return done;
}

}  // namespace

void pass_on(std::span<const float> mean, std::span<float> output) {
  GOSSAMER_CHECK(mean.size() == output.size());
  if (output.data() != mean.data()) std::copy(mean.begin(), mean.end(), output.begin());
}

Result<float> factor_of_rates(double before, double after) {
  if (!(before > 0 && after > 0) || !std::isfinite(before / after)) {
    return invalid(
        fmt::format("the rate changes from {} to {}; both must be positive", before, after));
  }
  return static_cast<float>(before / after);
}

std::vector<CodecInfo> feedbacks() {
  std::vector<CodecInfo> all;
  for (const FeedbackFactory* factory : factories()) {
    all.push_back({factory->name, factory->parameters, factory->what});
  }
  return all;
}

Result<std::unique_ptr<Feedback>> make_feedback(const std::string& text, StateStore& store,
                                                Role role) {
  const auto [name, rest] = split_name(text);
  const auto all = factories();
  const auto found =
      std::find_if(all.begin(), all.end(),
                   [asked = name](const FeedbackFactory* one) { return asked == one->name; });
  if (found == all.end()) {
    std::string names;
    for (const FeedbackFactory* one : all)
      names += fmt::format("{}{}", names.empty() ? "" : ", ", one->name);
    return invalid(fmt::format("no error feedback is called '{}'; there are {}", name, names));
  }
  const FeedbackFactory& factory = **found;
  if (role != Role::kSender && !factory.any_role) {
    return invalid(fmt::format("{} is for what a rank sends of its own; owners and hops take ef14",
                               factory.name));
  }
  const std::string owner = fmt::format("feedback {}", factory.name);
  GivenParameters given;
  if (Status s = read_parameters(rest, owner, factory.parameters, &given); !s) return s;
  Parameters parameters(owner, factory.parameters, given);
  Result<std::unique_ptr<Feedback>> made = factory.create(parameters, store, role);
  if (!made) return made;
  const std::string named = parameters.text();
  FeedbackMaker::introduce(
      made->get(), named.empty() ? factory.name : fmt::format("{}:{}", factory.name, named));
  return made;
}

Encoded Feedback::encode(size_t bucket, std::span<const float> gradient, const Codec& codec,
                         const Draws& draws, std::span<std::byte> code, std::span<float> scratch,
                         std::span<std::byte> workspace) {
  const std::span<float> values = scratch.first(gradient.size());
  const std::span<float> decoded = scratch.subspan(gradient.size(), gradient.size());
  compensate(bucket, gradient, values);
  const Encoded made = codec.encode(values, draws, code, workspace);
  codec.decode(code.first(made.bytes), decoded);
  settle(bucket, values, decoded);
  return made;
}

Status StateStore::hand_over(Communicator& comm, Rank from, Rank to, Give what) {
  if (from < 0 || from >= comm.size() || to < 0 || to >= comm.size() || from == to) {
    return invalid(
        fmt::format("rank {} cannot hand over to rank {} in a group of {}", from, to, comm.size()));
  }
  if (Status idle = check_idle("hand_over()"); !idle) return idle;
  if (comm.rank() == from) {
    if (Status sent = send_state(comm, gift(what), to); !sent) return sent;
    clear_residuals(what);
  } else if (comm.rank() == to) {
    std::vector<std::byte> given;
    if (Status arrived = recv_state(comm, &given, from); !arrived) return arrived;
    if (Status sound = accept(given); !sound) {
      return Status::error(Code::kMismatch, sound.message(), from);
    }
  }
  return Status::ok();
}

}  // namespace gossamer
