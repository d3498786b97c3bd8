// The gradient hook with encode() and decode() of the user's: a chain of them comes back as it was,
// what it fails by fails everywhere, and what is kept stays.

#include <atomic>
#include <cstring>

#include "gossamer/gradient_hook.h"
#include "tests/hook_layers.h"

namespace gossamer {
namespace {

using BucketView = GradientHook::BucketView;
using Callbacks = GradientHook::Callbacks;
using Exchange = GradientHook::Exchange;
using Options = GradientHook::Options;
using Bytes = std::span<const std::byte>;
using Room = std::span<std::byte>;

// What a rank's callbacks are to do, and have done.
struct Plan {
  std::atomic<int> fail_encode = 0, fail_decode = 0;
  std::atomic<int> encoded = 0, decoded = 0;
};

// Every byte changed by a key that the bucket gives, and a sum of all behind them.
uint64_t with_sum(uint64_t bytes, void* /*context*/) {
  return bytes + sizeof(uint64_t);
}
uint64_t sum_of(Bytes bytes) {
  uint64_t sum = 0;
  for (const std::byte b : bytes) sum = sum * 31 + static_cast<uint64_t>(b);
  return sum;
}
Status seal(const BucketView& bucket, Bytes from, Room into, uint64_t* bytes, void* context) {
  auto* const plan = static_cast<Plan*>(context);
  ++plan->encoded;
  if (plan->fail_encode > 0 && --plan->fail_encode == 0) {
    return Status::error(Code::kSystem, "the seal is lost");
  }
  const auto key = static_cast<std::byte>(bucket.iteration * 7 + bucket.index + 1);
  for (size_t i = 0; i < from.size(); ++i) into[i] = from[i] ^ key;
  const uint64_t sum = sum_of(from);
  std::memcpy(&into[from.size()], &sum, sizeof sum);
  *bytes = from.size() + sizeof sum;
  return Status::ok();
}
Status unseal(const BucketView& bucket, Rank rank, Bytes from, Room into, uint64_t* bytes,
              void* context) {
  auto* const plan = static_cast<Plan*>(context);
  ++plan->decoded;
  if (plan->fail_decode > 0 && --plan->fail_decode == 0) {
    return Status::error(Code::kSystem, "the seal of rank " + std::to_string(rank) + " is broken");
  }
  uint64_t sum = 0;
  if (from.size() < sizeof sum || from.size() - sizeof sum > into.size()) {
    return Status::error(Code::kMismatch, "of another length");
  }
  *bytes = from.size() - sizeof sum;
  const auto key = static_cast<std::byte>(bucket.iteration * 7 + bucket.index + 1);
  for (size_t i = 0; i < *bytes; ++i) into[i] = from[i] ^ key;
  std::memcpy(&sum, &from[*bytes], sizeof sum);
  return sum == sum_of(into.first(*bytes)) ? Status::ok()
                                           : Status::error(Code::kMismatch, "changed on its way");
}

// Runs of zero bytes as one and their number.
uint64_t with_runs(uint64_t bytes, void* /*context*/) {
  return 2 * bytes;
}
Status pack_zeros(const BucketView& /*bucket*/, Bytes from, Room into, uint64_t* bytes,
                  void* /*context*/) {
  size_t at = 0;
  for (size_t i = 0; i < from.size();) {
    into[at++] = from[i];
    if (from[i++] != std::byte{0}) continue;
    uint8_t more = 0;
    while (more < 255 && i < from.size() && from[i] == std::byte{0}) ++more, ++i;
    into[at++] = static_cast<std::byte>(more);
  }
  *bytes = at;
  return Status::ok();
}
Status unpack_zeros(const BucketView& /*bucket*/, Rank /*rank*/, Bytes from, Room into,
                    uint64_t* bytes, void* /*context*/) {
  const Status bad = Status::error(Code::kMismatch, "no packed zeros");
  size_t at = 0;
  for (size_t i = 0; i < from.size(); ++i) {
    if (at == into.size()) return bad;
    into[at++] = from[i];
    if (from[i] != std::byte{0}) continue;
    if (++i == from.size()) return bad;
    const auto more = static_cast<size_t>(from[i]);
    if (more > into.size() - at) return bad;
    std::fill_n(into.begin() + static_cast<ptrdiff_t>(at), more, std::byte{0});
    at += more;
  }
  *bytes = at;
  return Status::ok();
}

// fp32 with the lower half of each value gone.
uint64_t half(uint64_t bytes, void* /*context*/) {
  return bytes / 2;
}
Status halve(const BucketView& /*bucket*/, Bytes from, Room into, uint64_t* bytes,
             void* /*context*/) {
  for (size_t i = 0; i + 3 < from.size(); i += 4) std::memcpy(&into[i / 2], &from[i + 2], 2);
  *bytes = from.size() / 2;
  return Status::ok();
}
Status widen_again(const BucketView& /*bucket*/, Rank /*rank*/, Bytes from, Room into,
                   uint64_t* bytes, void* /*context*/) {
  *bytes = 2 * from.size();
  if (*bytes > into.size()) return Status::error(Code::kMismatch, "too long");
  std::fill(into.begin(), into.end(), std::byte{0});
  for (size_t i = 0; i < from.size(); i += 2) std::memcpy(&into[2 * i + 2], &from[i], 2);
  return Status::ok();
}

Callbacks chain_link(uint64_t (*bytes_max)(uint64_t, void*), decltype(Callbacks::encode) encode,
                     decltype(Callbacks::decode) decode, void* context = nullptr) {
  Callbacks made;
  made.context = context;
  made.bytes_max = bytes_max;
  made.encode = encode;
  made.decode = decode;
  return made;
}
std::vector<Callbacks> sealed(Plan* plan) {
  return {chain_link(with_runs, pack_zeros, unpack_zeros),
          chain_link(with_sum, seal, unseal, plan)};
}

TEST(HookEncode, ChainsComeBackAsTheyWereOfAllTypes) {
  const Model model =
      some_model(12, 1500, 7,
                 {DataType::kFloat32, DataType::kBfloat16, DataType::kFloat64, DataType::kFloat16});
  for (const auto exchange : {Exchange::kAllReduce, Exchange::kReduceScatter}) {
    RankGroup group(4);
    group.each([&](Communicator& comm) {
      Plan plan;
      Options options = hook_options();
      options.exchange = exchange;
      options.callbacks = sealed(&plan);
      auto hook = hook_of(comm, model, options);
      ASSERT_NE(hook, nullptr);
      for (uint64_t t = 0; t < 4; ++t) {
        std::vector<Values> gradients = gradients_of(model, comm.rank(), t);
        for (size_t p = 0; p < model.size(); ++p) {
          const bool skips = p % 4 == 1 && comm.rank() == 2;
          ASSERT_TRUE(skips ? hook->skip_at(p, gradients[p].data())
                            : hook->ready_at(p, gradients[p].data()));
        }
        const auto step = hook->wait();
        ASSERT_TRUE(step) << step.status().to_string();
        for (size_t p = 0; p < model.size(); ++p) {
          GradientHook::Shard shard{0, gradients[p].count()};
          if (exchange == Exchange::kReduceScatter) shard = *hook->shard(model[p].key);
          const auto contributes = [&](Rank r) { return p % 4 != 1 || r != 2; };
          for (uint64_t i = shard.first; i < shard.first + shard.count; ++i) {
            ASSERT_EQ(gradients[p].get(i), average_value(4, p, t, i, contributes));
          }
        }
      }
      EXPECT_EQ(plan.decoded.load(), 4 * plan.encoded.load());
    });
  }
}

// With and without a chain, bit for bit: averages, and what is kept.
TEST(HookEncode, CodesAndResidualsAreWhatTheyAreWithout) {
  const Model model = some_layers();
  for (const char* codec : {"topk:ratio=0.1,index=rice", "sign", "int8:block=256"}) {
    RankGroup group(kRanks);
    group.each([&](Communicator& comm) {
      Plan plan;
      const Options plain = with_rule({.codec = codec, .feedback = "ef14:sides=1"});
      Options chained = plain;
      chained.callbacks = sealed(&plan);
      auto one = hook_of(comm, model, plain), other = hook_of(comm, model, chained);
      for (uint64_t t = 0; t < 4; ++t) {
        Vectors gradients = random_gradients(model, comm.rank(), t), same = gradients;
        const size_t skipped = comm.rank() == 1 ? t : SIZE_MAX;
        ASSERT_TRUE(iterate(*one, &gradients, comm.rank(), t, skipped));
        ASSERT_TRUE(iterate(*other, &same, comm.rank(), t, skipped));
        for (const size_t p : {2, 4, 5}) ASSERT_EQ(gradients[p], same[p]) << codec;
        EXPECT_EQ(residuals_of(*one, model), residuals_of(*other, model)) << codec;
      }
    });
  }
}

TEST(HookEncode, MayLoseSomethingAndGivesAllRanksTheSame) {
  const Model model = some_layers();
  std::vector<Vectors> all(kRanks);
  std::vector<uint64_t> bytes(kRanks);
  RankGroup group(kRanks);
  group.each([&](Communicator& comm) {
    const auto rank = static_cast<size_t>(comm.rank());
    Options options = hook_options();
    options.callbacks = {chain_link(half, halve, widen_again)};
    auto hook = hook_of(comm, model, options);
    Vectors& gradients = all[rank];
    for (uint64_t t = 0; t < 2; ++t) {
      gradients = random_gradients(model, comm.rank(), t);
      const uint64_t before = comm.counters().bytes_sent;
      ASSERT_TRUE(iterate(*hook, &gradients, comm.rank(), t));
      bytes[rank] = comm.counters().bytes_sent - before;
    }
  });
  EXPECT_EQ(all[1], all[0]);
  EXPECT_EQ(all[2], all[0]);
  uint64_t elements = 0;
  std::vector<Vectors> sent;
  for (Rank r = 0; r < kRanks; ++r) sent.push_back(random_gradients(model, r, 1));
  for (size_t p = 0; p < model.size(); ++p) {
    elements += count_of(model[p]);
    for (size_t i = 0; i < all[0][p].size(); ++i) {
      double exact = 0, magnitude = 0;
      for (const Vectors& one : sent) {
        exact += static_cast<double>(one[p][i]) / kRanks;
        magnitude += std::abs(static_cast<double>(one[p][i])) / kRanks;
      }
      ASSERT_NEAR(all[0][p][i], exact, magnitude / 128);
    }
  }
  EXPECT_LT(bytes[0], 2 * 2.2 * static_cast<double>(elements)) << "two messages of half the size";
}

// --- failures ------------------------------------------------------------------------------------

TEST(HookEncode, FailuresFailTheIterationOnAllRanksAndKeepResiduals) {
  const Model model = some_layers();
  for (const bool in_encode : {true, false}) {
    RankGroup group(kRanks);
    group.each([&](Communicator& comm) {
      Plan plan;
      Options options = with_rule({.codec = "topk:ratio=0.1", .feedback = "ef14"});
      options.callbacks = sealed(&plan);
      auto hook = hook_of(comm, model, options);
      for (uint64_t t = 0; t < 6; ++t) {
        const std::vector<std::byte> before = hook->save().value();
        const bool fails = t == 2 || t == 4;
        if (fails && comm.rank() == 1) (in_encode ? plan.fail_encode : plan.fail_decode) = 2;
        Vectors gradients = random_gradients(model, comm.rank(), t);
        const auto step = iterate(*hook, &gradients, comm.rank(), t);
        ASSERT_EQ(step.is_ok(), !fails) << t << ": " << step.status().to_string();
        if (!fails) continue;
        if (comm.rank() == 1) {
          expect_status(step.status(), Code::kSystem, "the seal");
        } else {
          expect_status(step.status(), Code::kAborted, "rank 1");
        }
        EXPECT_EQ(hook->save().value(), before);
      }
    });
  }
}

TEST(HookEncode, MustNotLoseAnythingBesideFeedback) {
  const Model model = some_layers();
  RankGroup group(kRanks);
  group.each([&](Communicator& comm) {
    Options options = with_rule({.codec = "int8:block=256", .feedback = "ef14"});
    options.callbacks = {chain_link(half, halve, widen_again)};
    auto hook = hook_of(comm, model, options);
    const std::vector<std::byte> before = hook->save().value();
    Vectors gradients = random_gradients(model, comm.rank(), 0);
    const auto step = iterate(*hook, &gradients, comm.rank(), 0);
    EXPECT_FALSE(step);
    EXPECT_NE(step.status().message().find("what encode() was given"), std::string::npos)
        << step.status().to_string();
    EXPECT_EQ(hook->save().value(), before);
  });
}

TEST(HookEncode, AreRefusedWhereTheyCannotWork) {
  RankGroup group(2);
  const auto graph = graph_of("complete", 2);
  group.each([&](Communicator& comm) {
    Plan plan;
    Options options = hook_options();
    options.callbacks = sealed(&plan);
    options.callbacks[1].decode = nullptr;
    const auto refused = [&](const std::string& part) {
      expect_status(GradientHook::create(comm, some_layers(), options).status(),
                    Code::kInvalidArgument, part);
    };
    refused("go together");
    options.callbacks = sealed(&plan);
    options.rules = {{.codec = "powersgd:rank=2"}};
    refused("powersgd");
    options.rules = {};
    options.exchange = Exchange::kGossip;
    options.graph = graph.get();
    refused("codec of your own");
    options.exchange = Exchange::kAllReduce;
    if (comm.rank() == 1) options.callbacks.pop_back();
    expect_status(GradientHook::create(comm, some_layers(), options).status(), Code::kMismatch,
                  "options");
  });
}

}  // namespace
}  // namespace gossamer
