// The gradient hook: averages whatever the order, buckets, skips, shards, gossip, callbacks.

#include "gossamer/gradient_hook.h"

#include <atomic>
#include <cmath>
#include <limits>
#include <thread>

#include "tests/hook_model.h"
#include "tests/methods.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

using Options = GradientHook::Options;
using Step = GradientHook::Step;

Options small_buckets(bool overlap = true) {
  Options options;
  options.bucket_bytes_max = 4000;
  options.first_bucket_bytes_max = 600;
  options.overlap = overlap;
  return options;
}

const std::vector<DataType> kTypes = {DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16,
                                      DataType::kFloat64};

// --- averages ------------------------------------------------------------------------------------

class HookOver : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Transports, HookOver, testing::Values("loopback", "shm", "tcp"),
                         [](const auto& param) { return std::string(param.param); });

// Every rank, in every iteration, has an order of its own.
TEST_P(HookOver, AveragesWhateverTheOrderOnEachRank) {
  for (const Rank size : {1, 2, 3, 4}) {
    const Model model = some_model(23, 900, 7U + static_cast<uint64_t>(size), kTypes);
    RankGroup group(size, GetParam());
    group.each([&](Communicator& comm) {
      auto hook = hook_of(comm, model, small_buckets(comm.rank() % 2 == 0));
      ASSERT_NE(hook, nullptr);
      for (uint64_t t = 0; t < 5; ++t) {
        std::vector<Values> gradients = gradients_of(model, comm.rank(), t);
        for (const size_t p :
             shuffled(model.size(), 100 * t + static_cast<uint64_t>(comm.rank()))) {
          ASSERT_TRUE(hook->ready(model[p].key, gradients[p].data()));
        }
        const Result<Step> step = hook->wait();
        ASSERT_TRUE(step) << step.status().to_string();
        EXPECT_EQ(step->iteration, t);
        EXPECT_TRUE(step->finite);
        expect_averages(model, gradients, size, t);
      }
      EXPECT_EQ(hook->iteration(), 5U);
    });
  }
}

TEST(Hook, TakesGradientsFromSeveralThreads) {
  const Model model = some_model(40, 500, 3);
  RankGroup group(2, "shm");
  group.each([&](Communicator& comm) {
    auto hook = hook_of(comm, model, small_buckets());
    ASSERT_NE(hook, nullptr);
    for (uint64_t t = 0; t < 10; ++t) {
      std::vector<Values> gradients = gradients_of(model, comm.rank(), t);
      std::vector<std::thread> threads;
      for (size_t k = 0; k < 4; ++k) {
        threads.emplace_back([&, k] {
          for (size_t p = k; p < model.size(); p += 4) {
            EXPECT_TRUE(hook->ready_at(p, gradients[p].data()));
          }
        });
      }
      const Result<Step> step = hook->wait();  // while they are at it
      EXPECT_TRUE(step) << step.status().to_string();
      for (std::thread& thread : threads) thread.join();
      expect_averages(model, gradients, 2, t);
    }
  });
}

// Overflow of a sum is none of the average; contributions of some ranks only.
TEST(Hook, AveragesOverTheRanksThatContribute) {
  const Model model = some_model(12, 300, 5, kTypes);
  const auto contributes = [](Rank r, size_t p) {
    return p % 4 == 3 ? false : (static_cast<size_t>(r) + p) % 4 != 0;
  };
  RankGroup group(4);
  group.each([&](Communicator& comm) {
    auto hook = hook_of(comm, model, small_buckets());
    ASSERT_NE(hook, nullptr);
    for (uint64_t t = 0; t < 3; ++t) {
      std::vector<Values> gradients = gradients_of(model, comm.rank(), t);
      const std::vector<Values> before = gradients;
      for (size_t p = 0; p < model.size(); ++p) {
        void* const into = p % 5 == 0 ? nullptr : gradients[p].data();
        ASSERT_TRUE(contributes(comm.rank(), p) ? hook->ready_at(p, gradients[p].data())
                                                : hook->skip_at(p, into));
      }
      ASSERT_TRUE(hook->wait());
      for (size_t p = 0; p < model.size(); ++p) {
        const bool kept = p % 4 == 3 || (!contributes(comm.rank(), p) && p % 5 == 0);
        if (kept) {
          EXPECT_EQ(gradients[p], before[p]);
          continue;
        }
        for (uint64_t i = 0; i < gradients[p].count(); ++i) {
          ASSERT_EQ(gradients[p].get(i),
                    average_value(4, p, t, i, [&](Rank r) { return contributes(r, p); }));
        }
      }
    }
  });
}

TEST(Hook, DividesBeforeNarrowSumsOverflow) {
  const Model model = {{"w", {100}, DataType::kFloat16}};
  RankGroup group(4);
  group.each([&](Communicator& comm) {
    auto hook = hook_of(comm, model, {});
    Values values(DataType::kFloat16, 100);
    for (uint64_t i = 0; i < 100; ++i) values.set(i, 60'000);
    ASSERT_TRUE(hook->ready("w", values.data()));
    const Result<Step> step = hook->wait();
    ASSERT_TRUE(step);
    EXPECT_TRUE(step->finite);
    for (uint64_t i = 0; i < 100; ++i) EXPECT_EQ(values.get(i), 60'000);
  });
}

TEST(Hook, WaitsForOneParameter) {
  const Model model = some_model(10, 400, 9);
  RankGroup group(3, "shm");
  group.each([&](Communicator& comm) {
    auto hook = hook_of(comm, model, small_buckets());
    ASSERT_NE(hook, nullptr);
    for (uint64_t t = 0; t < 3; ++t) {
      std::vector<Values> gradients = gradients_of(model, comm.rank(), t);
      expect_status(hook->wait("layer3"), Code::kInvalidArgument, "layer3");
      for (size_t p = model.size(); p-- > 0;) {
        ASSERT_TRUE(hook->ready_at(p, gradients[p].data()));
      }
      for (size_t p = 0; p < model.size(); ++p) {  // as the next forward pass would
        ASSERT_TRUE(hook->wait(model[p].key));
        ASSERT_EQ(gradients[p].get(0), average_value(3, p, t, 0));
      }
      ASSERT_TRUE(hook->wait());
    }
  });
}

// Gradients that are computed in the hook's memory, among others that are not.
TEST_P(HookOver, AveragesInItsOwnMemory) {
  const Model model = some_model(11, 500, 5, kTypes);
  for (const auto exchange :
       {GradientHook::Exchange::kAllReduce, GradientHook::Exchange::kReduceScatter}) {
    RankGroup group(3, GetParam());
    group.each([&](Communicator& comm) {
      Options options = small_buckets();
      options.exchange = exchange;
      auto hook = hook_of(comm, model, options);
      for (uint64_t t = 0; t < 4; ++t) {
        std::vector<Values> gradients = gradients_of(model, comm.rank(), t);
        for (const size_t p : shuffled(model.size(), t + static_cast<uint64_t>(comm.rank()))) {
          void* const memory = hook->memory(model[p].key).value();
          const bool inside = (p + t) % 3 != 0;
          const size_t bytes = gradients[p].count() * size_of(model[p].type);
          if (inside) std::memcpy(memory, gradients[p].data(), bytes);
          ASSERT_TRUE(hook->ready_at(p, inside ? memory : gradients[p].data()));
        }
        std::vector<const void*> places;
        for (const auto& p : model) places.push_back(hook->memory(p.key).value());
        for (const auto& p : model) ASSERT_TRUE(hook->wait(p.key));
        for (size_t p = 0; p < model.size(); ++p) {
          const size_t bytes = gradients[p].count() * size_of(model[p].type);
          if ((p + t) % 3 != 0) std::memcpy(gradients[p].data(), places[p], bytes);
          GradientHook::Shard shard{0, gradients[p].count()};
          if (exchange == GradientHook::Exchange::kReduceScatter)
            shard = *hook->shard(model[p].key);
          for (uint64_t i = shard.first; i < shard.first + shard.count; ++i) {
            ASSERT_EQ(gradients[p].get(i), average_value(3, p, t, i));
          }
        }
        ASSERT_TRUE(hook->wait());
      }
      expect_status(hook->memory("none").status(), Code::kInvalidArgument, "'none'");
    });
  }
}

// --- buckets -------------------------------------------------------------------------------------

TEST(Hook, LearnsTheOrderOfTheFirstIterationFromRank0) {
  const Model model = some_model(30, 200, 4);
  const std::vector<size_t> order = shuffled(model.size(), 77);
  RankGroup group(3);
  std::vector<std::vector<std::vector<uint32_t>>> seen(3);
  group.each([&](Communicator& comm) {
    auto hook = hook_of(comm, model, small_buckets());
    ASSERT_NE(hook, nullptr);
    EXPECT_EQ(hook->buckets()[0][0], model.size() - 1);
    std::vector<Values> gradients = gradients_of(model, comm.rank(), 0);
    const auto own = comm.rank() == 0 ? order : shuffled(model.size(), 5);
    for (const size_t p : own) ASSERT_TRUE(hook->ready_at(p, gradients[p].data()));
    ASSERT_TRUE(hook->wait());
    seen[static_cast<size_t>(comm.rank())] = hook->buckets();
  });
  EXPECT_EQ(seen[0], seen[1]);
  EXPECT_EQ(seen[0], seen[2]);
  std::vector<size_t> all;
  for (const auto& bucket : seen[0]) all.insert(all.end(), bucket.begin(), bucket.end());
  EXPECT_EQ(all, order);
  EXPECT_GT(seen[0].size(), 3U);
}

// --- values that are not finite ------------------------------------------------------------------

TEST(Hook, TellsAllRanksWhoseGradientIsNotFinite) {
  const Model model = some_model(8, 300, 6, kTypes);
  RankGroup group(3);
  group.each([&](Communicator& comm) {
    auto hook = hook_of(comm, model, small_buckets());
    for (const double bad : {std::numeric_limits<double>::infinity(), std::nan("")}) {
      for (size_t spoiled = 0; spoiled < 4; ++spoiled) {
        std::vector<Values> gradients = gradients_of(model, comm.rank(), 1);
        if (comm.rank() == 1) gradients[spoiled].set(gradients[spoiled].count() - 1, bad);
        for (size_t p = 0; p < model.size(); ++p) {
          ASSERT_TRUE(hook->ready_at(p, gradients[p].data()));
        }
        const Result<Step> step = hook->wait();
        ASSERT_TRUE(step) << step.status().to_string();
        EXPECT_FALSE(step->finite);
        EXPECT_EQ(step->rank, 1);
        EXPECT_EQ(step->key, model[spoiled].key);
      }
    }
    std::vector<Values> gradients = gradients_of(model, comm.rank(), 2);
    for (size_t p = 0; p < model.size(); ++p) {
      ASSERT_TRUE(hook->ready_at(p, gradients[p].data()));
    }
    const Result<Step> step = hook->wait();
    ASSERT_TRUE(step);
    EXPECT_TRUE(step->finite);
  });
}

TEST(Hook, TellsOfFiniteGradientsWithASumThatIsNot) {
  for (const auto exchange :
       {GradientHook::Exchange::kAllReduce, GradientHook::Exchange::kReduceScatter}) {
    RankGroup group(3);
    group.each([&](Communicator& comm) {
      auto hook = hook_of(comm, {{"a", {7}}, {"b", {1000}}}, {.exchange = exchange});
      std::vector<float> a(7, 1.0F), b(1000, 1.0F);
      b[600] = 3e38F;
      ASSERT_TRUE(hook->ready("a", a.data()));
      ASSERT_TRUE(hook->ready("b", b.data()));
      const Result<Step> step = hook->wait();
      ASSERT_TRUE(step) << step.status().to_string();
      EXPECT_FALSE(step->finite);
      EXPECT_EQ(step->rank, -1);
      EXPECT_EQ(step->key, "b");
    });
  }
}

// --- sharded -------------------------------------------------------------------------------------

// An optimizer that adds the average to its shard, and gathers the rest.
TEST_P(HookOver, GivesEachRankItsShardsAndGathersThem) {
  for (const Rank size : {1, 2, 3}) {
    const Model model = some_model(17, 700, 8, kTypes);
    RankGroup group(size, GetParam());
    std::vector<std::atomic<uint64_t>> owned(model.size());
    group.each([&](Communicator& comm) {
      Options options = small_buckets();
      options.exchange = GradientHook::Exchange::kReduceScatter;
      auto hook = hook_of(comm, model, options);
      ASSERT_NE(hook, nullptr);
      std::vector<Values> weights;
      std::vector<void*> pointers;
      for (const auto& p : model) weights.emplace_back(p.type, count_of(p));
      for (Values& w : weights) pointers.push_back(w.data());
      std::vector<double> expected(model.size(), 0);
      for (uint64_t t = 0; t < 3; ++t) {
        std::vector<Values> gradients = gradients_of(model, comm.rank(), t);
        for (const size_t p : shuffled(model.size(), t + static_cast<uint64_t>(comm.rank()))) {
          ASSERT_TRUE(hook->ready_at(p, gradients[p].data()));
        }
        expect_status(hook->gather(pointers), Code::kInvalidArgument, "under way");
        ASSERT_TRUE(hook->wait());
        for (size_t p = 0; p < model.size(); ++p) {
          const auto shard = hook->shard(model[p].key);
          ASSERT_TRUE(shard);
          if (t == 0) owned[p] += shard->count;
          for (uint64_t i = shard->first; i < shard->first + shard->count; ++i) {
            ASSERT_EQ(gradients[p].get(i), average_value(size, p, t, i));
            weights[p].set(i, weights[p].get(i) + gradients[p].get(i));
          }
        }
        const Status gathered = hook->gather(pointers);
        ASSERT_TRUE(gathered) << gathered.to_string();
        for (size_t p = 0; p < model.size(); ++p) {
          for (uint64_t i = 0; i < weights[p].count(); ++i) {
            double sum = 0;
            for (uint64_t s = 0; s <= t; ++s) sum += average_value(size, p, s, i);
            ASSERT_EQ(weights[p].get(i), sum);
          }
        }
      }
      expect_status(hook->gather({}), Code::kInvalidArgument, "one pointer per parameter");
      pointers[2] = nullptr;
      expect_status(hook->gather(pointers), Code::kInvalidArgument, "layer2");
    });
    for (size_t p = 0; p < model.size(); ++p) EXPECT_EQ(owned[p].load(), count_of(model[p]));
  }
}

// --- gossip --------------------------------------------------------------------------------------

TEST(Hook, AveragesWithNeighborsAlone) {
  const Model model = some_model(9, 300, 12);
  const auto graph = graph_of("ring", 4);
  RankGroup group(4);
  group.each([&](Communicator& comm) {
    Options options = small_buckets();
    options.exchange = GradientHook::Exchange::kGossip;
    options.graph = graph.get();
    options.ready_timeout = std::chrono::milliseconds(50);
    auto hook = hook_of(comm, model, options);
    ASSERT_NE(hook, nullptr);
    const Rank own = comm.rank();
    for (uint64_t t = 0; t < 4; ++t) {
      std::vector<Values> gradients = gradients_of(model, own, t);
      // Rank 1 skips one parameter, spoils another, and forgets a third.
      if (own == 1) gradients[4].set(0, std::nan(""));
      for (const size_t p : shuffled(model.size(), t * 9 + static_cast<uint64_t>(own))) {
        if (own == 1 && p == 3) {
          ASSERT_TRUE(hook->skip_at(p, gradients[p].data()));
        } else if (own != 1 || p != 5) {
          ASSERT_TRUE(hook->ready_at(p, gradients[p].data()));
        }
      }
      const Result<Step> step = hook->wait();
      ASSERT_TRUE(step) << step.status().to_string();
      EXPECT_EQ(step->finite, own != 1);
      EXPECT_EQ(step->late, own == 1 ? 1U : 0U);
      const auto mixing = graph->mixing(t);
      for (size_t p = 0; p < model.size(); ++p) {
        if (own == 1 && p == 5) continue;
        for (uint64_t i = 0; i < gradients[p].count(); ++i) {
          double sum = 0, weight = 0;
          for (Rank r = 0; r < 4; ++r) {
            if (r == 1 && p >= 3 && p <= 5) continue;
            weight += mixing->weight(own, r);
            sum += mixing->weight(own, r) * gradient_value(r, p, t, i);
          }
          ASSERT_NEAR(gradients[p].get(i), sum / weight, 1e-4) << "parameter " << p;
        }
      }
    }
  });
}

// --- callbacks -----------------------------------------------------------------------------------

struct Trail {
  std::string text;
  bool fail = false;
  char name = 0;
};

Status scale_before(const GradientHook::BucketView& bucket, void* context) {
  auto* const trail = static_cast<Trail*>(context);
  trail->text += trail->name;
  auto* const values = static_cast<float*>(bucket.data);
  for (const GradientHook::Part& part : bucket.parts) {
    EXPECT_FALSE(part.key.empty());
    for (uint64_t i = 0; i < part.count; ++i) values[part.first + i] *= 2;
  }
  if (trail->fail) return Status::error(Code::kSystem, "the callback has had enough");
  return Status::ok();
}

Status scale_after(const GradientHook::BucketView& bucket, void* context) {
  auto* const trail = static_cast<Trail*>(context);
  trail->text += static_cast<char>(trail->name - 'a' + 'A');
  auto* const values = static_cast<float*>(bucket.data);
  for (uint64_t i = 0; i < bucket.valid_count; ++i) values[bucket.first_valid + i] *= 3;
  return Status::ok();
}

TEST(Hook, CallsBackInAChain) {
  const Model model = {{"x", {100}}, {"y", {50}}};
  RankGroup group(2);
  group.each([&](Communicator& comm) {
    Trail first{{}, false, 'a'}, second{{}, false, 'b'};
    std::string all;
    Options options;
    options.callbacks = {{scale_before, scale_after, &first}, {scale_before, scale_after, &second}};
    auto hook = hook_of(comm, model, options);
    for (uint64_t t = 0; t < 3; ++t) {
      std::vector<Values> gradients = gradients_of(model, comm.rank(), t);
      for (size_t p = 0; p < 2; ++p) ASSERT_TRUE(hook->ready_at(p, gradients[p].data()));
      ASSERT_TRUE(hook->wait());
      for (size_t p = 0; p < 2; ++p) {
        for (uint64_t i = 0; i < gradients[p].count(); ++i) {
          ASSERT_EQ(gradients[p].get(i), 36 * average_value(2, p, t, i));
        }
      }
    }
    EXPECT_EQ(first.text, "aAaAaA");
    EXPECT_EQ(second.text, "bBbBbB");
  });
}

TEST(Hook, FailsOnAllRanksWhenACallbackDoes) {
  const Model model = some_model(9, 300, 13);
  RankGroup group(3);
  group.each([&](Communicator& comm) {
    Trail trail{{}, false, 'a'};
    Options options = small_buckets();
    options.callbacks = {{scale_before, nullptr, &trail}};
    auto hook = hook_of(comm, model, options);
    for (int round = 0; round < 3; ++round) {
      trail.fail = round == 1 && comm.rank() == 2;
      std::vector<Values> gradients = gradients_of(model, comm.rank(), 0);
      Status first_failure;
      for (size_t p = 0; p < model.size(); ++p) {
        const Status ready = hook->ready_at(p, gradients[p].data());
        if (!ready) first_failure = ready;  // it failed meanwhile
      }
      const Result<Step> step = hook->wait();
      if (round != 1) {
        EXPECT_TRUE(step) << step.status().to_string();
        EXPECT_TRUE(first_failure);
      } else if (comm.rank() == 2) {
        expect_status(step.status(), Code::kSystem, "has had enough");
      } else {
        expect_status(step.status(), Code::kAborted, "rank 2");
      }
    }
    EXPECT_EQ(hook->iteration(), 2U);  // the failed one was none
  });
}

}  // namespace
}  // namespace gossamer
