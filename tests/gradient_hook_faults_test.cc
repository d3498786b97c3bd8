// The gradient hook when something goes wrong: parameters that stay away, aborts, ranks that die;
// and what it keeps: saved, loaded, taken to another group.

#include <barrier>
#include <chrono>
#include <numeric>

#include "gossamer/gradient_hook.h"
#include "tests/hook_model.h"
#include "tests/methods.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

using Options = GradientHook::Options;
using Step = GradientHook::Step;
using std::chrono::milliseconds;

// As what expect_damage_noticed() takes.
struct Keeper {
  std::vector<std::byte> save() const { return hook.save().value(); }
  Status load(std::span<const std::byte> saved) { return hook.load(saved); }
  GradientHook& hook;
};

// --- parameters that stay away -------------------------------------------------------------------

TEST(HookFaults, NameTheParameterThatARankForgets) {
  const Model model = some_model(12, 300, 3);
  RankGroup group(3);
  group.each([&](Communicator& comm) {
    auto hook = hook_of(comm, model, hook_options(milliseconds(100)));
    ASSERT_NE(hook, nullptr);
    std::vector<Values> gradients;
    for (uint64_t t = 0; t < 2; ++t) {
      ASSERT_TRUE(iterate_model(*hook, model, comm.rank(), t, &gradients));
    }
    gradients = gradients_of(model, comm.rank(), 2);
    for (size_t p = 0; p < model.size(); ++p) {
      if (comm.rank() == 1 && (p == 4 || p == 9)) continue;
      (void)hook->ready_at(p, gradients[p].data());
    }
    const Status failed = hook->wait().status();
    expect_status(failed, Code::kTimeout, "'layer4', 'layer9'");
    EXPECT_EQ(failed.rank(), 1);
    if (comm.rank() != 1) expect_status(failed, Code::kTimeout, "rank 1");
    // The communicator is whole, and so is the next iteration; it has the same number.
    EXPECT_TRUE(comm.status());
    EXPECT_EQ(hook->iteration(), 2U);
    const Result<Step> step = iterate_model(*hook, model, comm.rank(), 3, &gradients);
    ASSERT_TRUE(step) << step.status().to_string();
    EXPECT_EQ(step->iteration, 2U);
    expect_averages(model, gradients, 3, 3);
  });
}

TEST(HookFaults, RefuseBadCallsAndGoOn) {
  const Model model = {{"a", {3}}, {"b", {2}}};
  RankGroup group(2);
  group.each([&](Communicator& comm) {
    auto hook = hook_of(comm, model, {});
    std::vector<float> a(3, 1), b(2, 2);
    const auto saved = hook->save().value();
    expect_status(hook->ready("c", a.data()), Code::kInvalidArgument, "'c'");
    expect_status(hook->ready("a", nullptr), Code::kInvalidArgument, "skip()");
    expect_status(hook->ready_at(2, a.data()), Code::kInvalidArgument, "no parameter 2");
    expect_status(hook->skip_at(7), Code::kInvalidArgument, "no parameter 7");
    expect_status(hook->shard("c").status(), Code::kInvalidArgument, "'c'");
    std::vector<void*> pointers = {a.data(), b.data()};
    expect_status(hook->gather(pointers), Code::kInvalidArgument, "kReduceScatter");
    ASSERT_TRUE(hook->ready("a", a.data()));
    expect_status(hook->ready("a", a.data()), Code::kInvalidArgument, "ready or skipped before");
    expect_status(hook->skip("a"), Code::kInvalidArgument, "ready or skipped before");
    expect_status(hook->load(saved), Code::kInvalidArgument, "under way");
    expect_status(hook->save().status(), Code::kInvalidArgument, "under way");
    ASSERT_TRUE(hook->ready("b", b.data()));
    EXPECT_TRUE(hook->wait());
  });
}

TEST(HookFaults, RefuseOptionsThatMakeNoSense) {
  RankGroup group(1);
  const auto refused = [&](const Model& model, const Options& options, const std::string& part) {
    expect_status(GradientHook::create(group[0], model, options).status(), Code::kInvalidArgument,
                  part);
  };
  const Model model = {{"a", {3}}};
  const auto graph = graph_of("ring", 3);
  refused({}, {}, "no parameters");
  refused(model, {.bucket_bytes_max = 0}, "0 bytes");
  refused(model, {.first_bucket_bytes_max = 0}, "0 bytes");
  refused(model, {.ready_timeout = milliseconds(0)}, "ready_timeout");
  refused(model, {.exchange = static_cast<GradientHook::Exchange>(9)}, "no such exchange");
  refused(model, {.exchange = GradientHook::Exchange::kGossip}, "make_graph()");
  refused(model, {.exchange = GradientHook::Exchange::kGossip, .graph = graph.get()}, "3 ranks");
}

TEST(HookFaults, NameWhereListsDiffer) {
  RankGroup group(3);
  group.each([&](Communicator& comm) {
    Model model = some_model(6, 50, 1);
    if (comm.rank() == 2) model[4].shape[0] += 1;
    const Status differs = GradientHook::create(comm, model, {}).status();
    expect_status(differs, Code::kMismatch, "'layer4'");
    EXPECT_EQ(differs.rank(), 2);
    if (comm.rank() == 2) model[4].shape[0] -= 1;
    if (comm.rank() == 1) model.pop_back();
    expect_status(GradientHook::create(comm, model, {}).status(), Code::kMismatch, "place 5");
    if (comm.rank() == 1) model = some_model(6, 50, 1);
    Options options;
    options.bucket_bytes_max += static_cast<uint64_t>(comm.rank() / 2);
    expect_status(GradientHook::create(comm, model, options).status(), Code::kMismatch, "options");
    EXPECT_NE(hook_of(comm, model, {}), nullptr);
  });
}

// --- aborted and killed --------------------------------------------------------------------------

TEST(HookFaults, EndWithTheCommunicatorAndGoOnInAnother) {
  const Model model = some_model(12, 300, 3);
  RankGroup group(3), other(3);
  std::barrier all_have_ended(3);
  group.each([&](Communicator& comm) {
    auto hook = hook_of(comm, model, hook_options());
    ASSERT_NE(hook, nullptr);
    std::vector<Values> gradients;
    ASSERT_TRUE(iterate_model(*hook, model, comm.rank(), 0, &gradients));
    all_have_ended.arrive_and_wait();
    const auto buckets = hook->buckets();
    gradients = gradients_of(model, comm.rank(), 1);
    for (size_t p = 0; p < model.size(); ++p) {
      if (comm.rank() == 2 && p == 5) comm.abort();
      (void)hook->ready_at(p, gradients[p].data());
    }
    expect_status(hook->wait().status(), Code::kAborted, "");
    expect_status(hook->ready_at(0, gradients[0].data()), Code::kAborted, "");
    expect_status(hook->wait().status(), Code::kAborted, "");
    const Status bound = hook->rebind(other[comm.rank()]);
    ASSERT_TRUE(bound) << bound.to_string();
    EXPECT_EQ(hook->iteration(), 1U);
    EXPECT_EQ(hook->buckets(), buckets);
    for (uint64_t t = 1; t < 3; ++t) {
      const Result<Step> step = iterate_model(*hook, model, comm.rank(), t, &gradients);
      ASSERT_TRUE(step) << step.status().to_string();
      EXPECT_EQ(step->iteration, t);
      expect_averages(model, gradients, 3, t);
    }
  });
}

// Some ranks have ended an iteration when it fails on others: all go back to it, with one order.
TEST(HookFaults, TakeBackAnIterationThatNotAllRanksEnded) {
  const Model model = some_model(12, 300, 3);
  for (const bool at_0_too : {false, true}) {
    RankGroup group(3), other(3);
    std::vector<std::vector<std::vector<uint32_t>>> buckets(3);
    group.each([&](Communicator& comm) {
      auto hook = hook_of(comm, model, hook_options());
      ASSERT_NE(hook, nullptr);
      std::vector<Values> gradients;
      // As if it had failed on the others: they have never begun it.
      const bool ahead = comm.rank() == 2 || (at_0_too && comm.rank() == 0);
      if (ahead) {
        RankGroup alone(1);
        ASSERT_TRUE(hook->rebind(alone[0]));
        ASSERT_TRUE(iterate_model(*hook, model, 0, 0, &gradients));
        EXPECT_EQ(hook->iteration(), 1U);
        ASSERT_TRUE(hook->rebind(other[comm.rank()]));
      } else {
        ASSERT_TRUE(hook->rebind(other[comm.rank()]));
      }
      EXPECT_EQ(hook->iteration(), 0U);
      buckets[static_cast<size_t>(comm.rank())] = hook->buckets();
      for (uint64_t t = 0; t < 3; ++t) {
        ASSERT_TRUE(iterate_model(*hook, model, comm.rank(), t, &gradients));
        expect_averages(model, gradients, 3, t);
      }
    });
    EXPECT_EQ(buckets[0], buckets[1]);
    EXPECT_EQ(buckets[0], buckets[2]);
  }
}

// A rank that does not come is named, within the communicator's deadline.
TEST(HookFaults, NameARankThatDoesNotCome) {
  const Model model = some_model(5, 100, 3);
  RankGroup group(3, "loopback", "", milliseconds(2'000));  // also to join
  group.each([&](Communicator& comm) {
    auto hook = hook_of(comm, model, hook_options(milliseconds(100)));
    ASSERT_NE(hook, nullptr);
    if (comm.rank() == 1) return;
    std::vector<Values> gradients;
    const Status failed = iterate_model(*hook, model, comm.rank(), 0, &gradients).status();
    EXPECT_FALSE(failed);
    EXPECT_FALSE(comm.status());
  });
}

// --- saved and loaded ----------------------------------------------------------------------------

TEST(HookState, IsTakenByKey) {
  const Model model = some_model(14, 200, 3);
  Model backwards = model;
  std::reverse(backwards.begin(), backwards.end());
  RankGroup group(2);
  group.each([&](Communicator& comm) {
    std::vector<std::byte> saved;
    std::vector<std::vector<uint32_t>> buckets;
    std::vector<Values> gradients;
    {
      auto hook = hook_of(comm, model, hook_options());
      for (uint64_t t = 0; t < 3; ++t) {
        ASSERT_TRUE(iterate_model(*hook, model, comm.rank(), t, &gradients));
      }
      saved = hook->save().value();
      buckets = hook->buckets();
    }
    auto same = hook_of(comm, model, hook_options());
    Keeper keeper{*same};
    expect_damage_noticed(keeper, saved);
    EXPECT_EQ(same->iteration(), 3U);
    EXPECT_EQ(same->buckets(), buckets);
    auto other = hook_of(comm, backwards, hook_options());
    ASSERT_TRUE(other->load(saved));
    for (auto& bucket : buckets) {
      for (uint32_t& p : bucket) p = static_cast<uint32_t>(model.size()) - 1 - p;
    }
    EXPECT_EQ(other->buckets(), buckets);
    const Result<Step> step = iterate_model(*other, backwards, comm.rank(), 3, &gradients);
    ASSERT_TRUE(step) << step.status().to_string();
    EXPECT_EQ(step->iteration, 3U);
    expect_averages(backwards, gradients, 2, 3);
  });
}

TEST(HookState, IsRefusedWhereParametersDiffer) {
  RankGroup group(1);
  const auto saved = hook_of(group[0], {{"a", {4}}, {"b", {2, 3}}}, {})->save().value();
  const auto refused = [&](const Model& model, const std::string& part) {
    expect_status(hook_of(group[0], model, {})->load(saved), Code::kInvalidArgument, part);
  };
  refused({{"a", {4}}}, "parameters");
  refused({{"a", {4}}, {"c", {2, 3}}}, "'b'");
  refused({{"a", {4}}, {"b", {3, 2}}}, "'b' (3x2 float32)");
}

TEST(HookState, OfDifferentIterationsIsNoticed) {
  const Model model = some_model(6, 100, 3);
  RankGroup group(2);
  group.each([&](Communicator& comm) {
    std::vector<Values> gradients;
    auto hook = hook_of(comm, model, hook_options());
    ASSERT_TRUE(iterate_model(*hook, model, comm.rank(), 0, &gradients));
    const auto saved = hook->save().value();
    ASSERT_TRUE(iterate_model(*hook, model, comm.rank(), 1, &gradients));
    if (comm.rank() == 1) {
      ASSERT_TRUE(hook->load(saved));
    }
    expect_status(iterate_model(*hook, model, comm.rank(), 2, &gradients).status(), Code::kMismatch,
                  "load()");
    if (comm.rank() == 0) {
      ASSERT_TRUE(hook->load(saved));
    }
    EXPECT_TRUE(iterate_model(*hook, model, comm.rank(), 1, &gradients));
  });
}

}  // namespace
}  // namespace gossamer
