// Error feedback: that it converges where codecs alone do not, and that nothing is lost when
// buckets change, operations fail, states are saved and ranks leave.

#include "gossamer/feedback.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "tests/methods.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

using Floats = std::vector<float>;

std::vector<uint32_t> bits_of(std::span<const float> values) {
  std::vector<uint32_t> bits(values.size());
  if (!values.empty()) std::memcpy(bits.data(), values.data(), values.size_bytes());
  return bits;
}

Floats gaussian(size_t count, uint64_t seed) {
  const std::vector<double> wide = gaussian_rows(1, count, seed);
  return {wide.begin(), wide.end()};
}

std::unique_ptr<Feedback> feedback(const std::string& text, StateStore& store,
                                   Role role = Role::kSender) {
  auto made = make_feedback(text, store, role);
  EXPECT_TRUE(made.is_ok()) << made.status().to_string();
  return std::move(made).value();
}

// One rank's seat: a codec behind a kind of feedback, over one bucket of one parameter.
class Seat {
 public:
  Seat(const std::string& codec, const std::string& kind, size_t count)
      : codec_(make_codec(codec).value()),
        feedback_(feedback(kind, store_)),
        values_(count),
        decoded_(count),
        code_(codec_->bytes_max(count)),
        workspace_(codec_->workspace_bytes(count)) {
    EXPECT_TRUE(feedback_->arrange(std::vector<StateBucket>{{{1, 0, count}}}));
  }
  const Floats& send(const Floats& gradient, uint64_t step) {
    feedback_->compensate(0, gradient, values_);
    const Draws draws{.own = step * 64 + 7, .shared = step};
    const Encoded made = codec_->encode(values_, draws, code_, workspace_);
    codec_->decode(std::span(code_).first(made.bytes), decoded_);
    feedback_->settle(0, values_, decoded_);
    return decoded_;
  }
  Floats take(const Floats& mean) {
    Floats output(mean.size());
    feedback_->apply(0, mean, output);
    return output;
  }
  StateStore& store() { return store_; }
  Feedback& rule() { return *feedback_; }
  const Floats& values() const { return values_; }
  Codec& codec() { return *codec_; }

 private:
  std::unique_ptr<Codec> codec_;
  StateStore store_;
  std::unique_ptr<Feedback> feedback_;
  Floats values_;
  Floats decoded_;
  std::vector<std::byte> code_;
  std::vector<std::byte> workspace_;
};

// E8: three workers, f_i = <a_i, x>^2 + |x|^2 / 4, top-1 of three elements, from (1, 1, 1).
// Without feedback every step multiplies x by 1 + 11 g / 6.
class ThreeWorkers {
 public:
  explicit ThreeWorkers(const std::string& kind) {
    for (int i = 0; i < 3 && !kind.empty(); ++i) {
      seats_.push_back(std::make_unique<Seat>("topk:ratio=0.3", kind, 3));
    }
  }
  double f() const {
    double sum = 0;
    for (int i = 0; i < 3; ++i) sum += along(i) * along(i) / 3;
    for (const double x : x_) sum += x * x / 4;
    return sum;
  }
  double norm() const { return std::hypot(x_[0], x_[1], x_[2]); }
  void step(uint64_t t) {
    Floats mean(3, 0);
    const auto codec = make_codec("topk:ratio=0.3").value();
    for (int i = 0; i < 3; ++i) {
      Floats gradient(3);
      for (int k = 0; k < 3; ++k) {
        gradient[k] = static_cast<float>(2 * along(i) * direction(i, k) + x_[k] / 2);
      }
      Floats sent(3);
      if (seats_.empty()) {
        std::vector<std::byte> code(codec->bytes_max(3));
        std::vector<std::byte> workspace(codec->workspace_bytes(3));
        codec->encode(gradient, {}, code, workspace);
        codec->decode(code, sent);
      } else {
        sent = seats_[i]->send(gradient, t);
      }
      for (int k = 0; k < 3; ++k) mean[k] += sent[k] / 3;
    }
    Floats change = mean;
    for (const auto& seat : seats_) {
      change = seat->take(mean);
      seat->store().commit();
    }
    for (int k = 0; k < 3; ++k) x_[k] -= kRate * static_cast<double>(change[k]);
  }
  // What Feedback::regroup() does over a communicator.
  void regroup() {
    Floats mean(3, 0);
    for (const auto& seat : seats_) {
      for (int k = 0; k < 3; ++k) mean[k] += seat->store().committed(Role::kEstimate, 0)[k] / 3;
    }
    for (const auto& seat : seats_) {
      std::copy(mean.begin(), mean.end(), seat->store().stage(Role::kMean, 0).begin());
      seat->store().commit();
    }
  }
  static constexpr double kRate = 0.01;

 private:
  static double direction(int worker, int k) { return worker == k ? -3 : 2; }
  double along(int worker) const {
    double sum = 0;
    for (int k = 0; k < 3; ++k) sum += direction(worker, k) * x_[k];
    return sum;
  }
  double x_[3] = {1, 1, 1};
  std::vector<std::unique_ptr<Seat>> seats_;
};

TEST(Feedback, E8TopOneAloneGrowsAsProved) {
  ThreeWorkers workers("");
  for (uint64_t t = 0; t < 200; ++t) {
    const double before = workers.norm();
    workers.step(t);
    ASSERT_NEAR(workers.norm() / before, 1 + 11 * ThreeWorkers::kRate / 6, 1e-6) << t;
  }
}

TEST(Feedback, E8TopOneWithFeedbackConverges) {
  for (const std::string kind : {"ef14", "ef21", "ef21_sgdm:eta=1"}) {
    ThreeWorkers workers(kind);
    for (uint64_t t = 0; t < 3000; ++t) {
      workers.step(t);
      // The last bits of the first steps' means stay in EF21's sum, until it is taken anew.
      if (kind != "ef14" && t % 500 == 499) workers.regroup();
    }
    EXPECT_LT(workers.f(), 1e-20) << kind;
  }
}

// E16: what is sent and what stays is what was to be sent, for every codec there is.
TEST(Feedback, E16SentAndKeptIsWhatWasCompensated) {
  for (const CodecInfo& info : codecs()) {
    for (const size_t count : {1, 7, 1000, 4099}) {
      Seat seat(std::string(info.name), "ef14", count);
      Floats total(count, 0);
      Floats given(count, 0);
      for (uint64_t t = 0; t < 5; ++t) {
        const Floats gradient = gaussian(count, 100 + t);
        const Floats sent = seat.send(gradient, t);
        seat.store().commit();
        const auto kept = seat.store().committed(Role::kSender, 0);
        for (size_t i = 0; i < count; ++i) {
          const float whole = seat.values()[i];
          ASSERT_NEAR(sent[i] + kept[i], whole, 1e-6F * (std::abs(whole) + std::abs(sent[i])))
              << info.name << " " << i;
          total[i] += sent[i];
          given[i] += gradient[i];
        }
      }
      const auto kept = seat.store().committed(Role::kSender, 0);
      for (size_t i = 0; i < count; ++i) {
        const float scale = 1 + std::abs(total[i]) + std::abs(given[i]);
        EXPECT_NEAR(total[i] + kept[i], given[i], 1e-5F * scale) << info.name << " " << i;
      }
    }
  }
}

TEST(Feedback, E16AfterAnAbortedIterationEveryBitIsAsBefore) {
  for (const char* kind : {"ef14:decay=0.9", "ef21", "ef21_sgdm:eta=0.2", "dgc:clip=1"}) {
    Seat seat("topk:ratio=0.1", kind, 1000);
    Seat twin("topk:ratio=0.1", kind, 1000);
    for (uint64_t t = 0; t < 6; ++t) {
      const Floats gradient = gaussian(1000, t);
      const std::vector<std::byte> before = seat.store().save();
      // An iteration that fails after it has begun, on other gradients; half of the time twice.
      for (uint64_t failed = 0; failed < 1 + t % 2; ++failed) {
        seat.take(seat.send(gaussian(1000, 50 + t + failed), t));
        seat.store().rollback();
        ASSERT_EQ(seat.store().save(), before) << kind;
      }
      seat.take(seat.send(gradient, t));
      seat.store().commit();
      twin.take(twin.send(gradient, t));
      twin.store().commit();
      ASSERT_EQ(seat.store().save(), twin.store().save()) << kind << t;
      ASSERT_EQ(seat.store().version(), t + 1);
    }
  }
}

TEST(Feedback, Ef14DecaysAndFollowsTheRate) {
  Seat seat("topk:ratio=0.5", "ef14:decay=0.5", 2);
  EXPECT_EQ(seat.send({4, 3}, 0), (Floats{4, 0}));
  seat.store().commit();
  EXPECT_EQ(seat.send({0, 1}, 1), (Floats{0, 2.5F}));
  seat.store().rollback();
  // A rate of a quarter: what was dropped at the rate before counts four times.
  EXPECT_TRUE(seat.rule().change_rate(0.1, 0.025));
  EXPECT_NEAR(seat.store().committed(Role::kSender, 0)[1], 12, 1e-5);
  expect_refused(seat.rule().change_rate(0, 1), "positive");
  seat.send({0, 1}, 2);
  expect_refused(seat.rule().change_rate(1, 2), "staged");
}

TEST(Feedback, DgcIsItsRule) {
  for (const bool nesterov : {false, true}) {
    for (const bool masking : {false, true}) {
      const size_t count = 50;
      Seat seat("topk:ratio=0.1",
                std::string("dgc:momentum=0.75,clip=2,masking=") + (masking ? "on" : "off") +
                    ",nesterov=" + (nesterov ? "on" : "off"),
                count);
      std::vector<double> u(count, 0);
      std::vector<double> v(count, 0);
      for (uint64_t t = 0; t < 8; ++t) {
        const Floats g = gaussian(count, t);
        double norm = 0;
        for (const float one : g) norm += static_cast<double>(one) * static_cast<double>(one);
        const double factor = std::min(1.0, 2 / std::sqrt(norm));
        for (size_t i = 0; i < count; ++i) {
          const double clipped = factor * static_cast<double>(g[i]);
          u[i] = nesterov ? 0.75 * (u[i] + clipped) : 0.75 * u[i] + clipped;
          v[i] += nesterov ? u[i] + clipped : u[i];
        }
        const Floats sent = seat.send(g, t);
        seat.store().commit();
        size_t kept = 0;
        for (size_t i = 0; i < count; ++i) {
          if (sent[i] == 0) continue;
          ++kept;
          EXPECT_NEAR(sent[i], v[i], 1e-5);
          v[i] = 0;
          if (masking) u[i] = 0;
        }
        EXPECT_EQ(kept, 5U);
        for (size_t i = 0; i < count; ++i) {
          EXPECT_NEAR(seat.store().committed(Role::kSender, 0)[i], v[i], 1e-5);
          EXPECT_NEAR(seat.store().committed(Role::kMomentum, 0)[i], u[i], 1e-5);
        }
      }
    }
  }
}

TEST(Feedback, WarmUpIsThePapers) {
  const double expected[] = {0.25, 0.0625, 0.015625, 0.00390625, 0.001, 0.001};
  for (uint64_t stage = 0; stage < 6; ++stage)
    EXPECT_EQ(warm_up_ratio(0.001, stage), expected[stage]);
  EXPECT_EQ(warm_up_ratio(0.5, 0), 0.5);
}

// Two roles of one store: each rank's own residual, and the owner's of its part of the sum.
TEST(Feedback, TwoSidedKeepsWhatEitherDrops) {
  const size_t ranks = 4;
  const size_t count = 64;
  const size_t part = count / ranks;
  const auto codec = make_codec("topk:ratio=0.125").value();
  std::vector<std::byte> code(codec->bytes_max(count));
  std::vector<std::byte> workspace(codec->workspace_bytes(count));
  const auto through = [&](std::span<const float> values) {
    Floats out(values.size());
    codec->encode(values, {}, code, workspace);
    codec->decode(std::span(code).first(codec->bytes_max(values.size())), out);
    return out;
  };
  std::vector<StateStore> stores(ranks);
  std::vector<std::unique_ptr<Feedback>> senders;
  std::vector<std::unique_ptr<Feedback>> owners;
  for (size_t r = 0; r < ranks; ++r) {
    senders.push_back(feedback("ef14", stores[r]));
    owners.push_back(feedback("ef14", stores[r], Role::kOwner));
    ASSERT_TRUE(senders[r]->arrange(std::vector<StateBucket>{{{1, 0, 40}, {2, 0, 24}}}));
    // Parts cut parameters: the third rank's has the end of one and the beginning of the other.
    const StateBucket own = r < 2    ? StateBucket{{1, r * part, part}}
                            : r == 2 ? StateBucket{{1, 32, 8}, {2, 0, 8}}
                                     : StateBucket{{2, 8, 16}};
    ASSERT_TRUE(owners[r]->arrange(std::vector<StateBucket>{own}));
  }
  Floats given(count, 0);
  Floats received(count, 0);
  for (uint64_t t = 0; t < 20; ++t) {
    Floats sum(count, 0);
    for (size_t r = 0; r < ranks; ++r) {
      const Floats g = gaussian(count, t * ranks + r);
      Floats values(count);
      senders[r]->compensate(0, g, values);
      const Floats sent = through(values);
      senders[r]->settle(0, values, sent);
      for (size_t i = 0; i < count; ++i) sum[i] += sent[i];
      for (size_t i = 0; i < count; ++i) given[i] += g[i];
    }
    for (size_t r = 0; r < ranks; ++r) {
      Floats values(part);
      owners[r]->compensate(0, std::span<const float>(sum).subspan(r * part, part), values);
      const Floats sent = through(values);
      owners[r]->settle(0, values, sent);
      for (size_t i = 0; i < part; ++i) received[r * part + i] += sent[i];
      stores[r].commit();
    }
  }
  for (size_t i = 0; i < count; ++i) {
    float kept = stores[i / part].committed(Role::kOwner, 0)[i % part];
    for (const StateStore& store : stores) kept += store.committed(Role::kSender, 0)[i];
    EXPECT_NEAR(received[i] + kept, given[i], 1e-4) << i;
  }
}

TEST(StateStore, ValuesFollowTheirKeysWhateverTheBuckets) {
  StateStore store;
  const auto fill = [&](size_t bucket, float from) {
    for (float& value : store.stage(Role::kSender, bucket)) value = from++;
  };
  ASSERT_TRUE(
      store.arrange(Role::kSender, std::vector<StateBucket>{{{7, 0, 3}, {8, 0, 2}}, {{9, 0, 2}}}));
  fill(0, 10);
  fill(1, 20);
  EXPECT_TRUE(store.has_staged());
  store.commit();
  const auto expect_of = [&](ParameterKey key, const Floats& expected) {
    const auto values = store.of(Role::kSender, key);
    EXPECT_EQ(Floats(values.begin(), values.end()), expected) << key;
  };
  expect_of(7, {10, 11, 12});
  expect_of(8, {13, 14});
  ASSERT_TRUE(
      store.arrange(Role::kSender, std::vector<StateBucket>{{{9, 0, 2}, {7, 0, 3}}, {{5, 0, 1}}}));
  expect_of(9, {20, 21});
  expect_of(7, {10, 11, 12});
  expect_of(5, {0});
  expect_of(8, {});
  // What had no place comes back, and what is cut meets again.
  ASSERT_TRUE(store.arrange(Role::kSender, std::vector<StateBucket>{{{8, 1, 1}, {7, 1, 1}}}));
  const auto now = store.committed(Role::kSender, 0);
  EXPECT_EQ(Floats(now.begin(), now.end()), (Floats{14, 11}));
  ASSERT_TRUE(
      store.arrange(Role::kSender, std::vector<StateBucket>{{{7, 0, 3}}, {{8, 0, 2}, {9, 0, 2}}}));
  expect_of(7, {10, 11, 12});
  expect_of(8, {13, 14});
  expect_of(9, {20, 21});
  EXPECT_EQ(store.of(Role::kOwner, 7).size(), 0U);
}

TEST(StateStore, BadArrangementsAreRefused) {
  StateStore store;
  const auto arranged = [&](const std::vector<StateBucket>& buckets) {
    return store.arrange(Role::kSender, buckets);
  };
  expect_refused(arranged({{{1, 0, 4}}, {{1, 3, 2}}}), "two pieces");
  expect_refused(arranged({{{1, UINT64_MAX, 2}}}), "begins at");
  EXPECT_TRUE(arranged({{{1, 0, 4}}, {{1, 4, 2}}, {}}));
  store.stage(Role::kSender, 0);
  expect_refused(arranged({{{1, 0, 4}}}), "staged");
  expect_refused(store.scale(Role::kSender, 2), "staged");
  expect_refused(store.give(StateStore::Give::kAll).status(), "staged");
  expect_refused(store.load({}), "staged");
  store.rollback();
  expect_refused(store.scale(Role::kSender, std::nanf("")), "finite");
}

TEST(StateStore, SavedStateGoesOnInOtherBuckets) {
  StateStore one;
  ASSERT_TRUE(one.arrange(Role::kSender, std::vector<StateBucket>{{{1, 0, 30}, {2, 0, 5}}}));
  ASSERT_TRUE(one.arrange(Role::kFactor, std::vector<StateBucket>{{{1, 0, 8}}}));
  const Floats values = gaussian(35, 1);
  std::copy(values.begin(), values.end(), one.stage(Role::kSender, 0).begin());
  const Floats factor = gaussian(8, 2);
  std::copy(factor.begin(), factor.end(), one.stage(Role::kFactor, 0).begin());
  one.commit();
  const std::vector<std::byte> saved = one.save();
  StateStore other;
  ASSERT_TRUE(other.arrange(Role::kSender, std::vector<StateBucket>{{{2, 0, 5}}, {{1, 0, 30}}}));
  ASSERT_TRUE(other.load(saved));
  EXPECT_EQ(other.version(), 1U);
  EXPECT_EQ(bits_of(other.committed(Role::kSender, 1)), bits_of(std::span(values).first(30)));
  ASSERT_TRUE(other.arrange(Role::kFactor, std::vector<StateBucket>{{{1, 0, 8}}}));
  EXPECT_EQ(bits_of(other.committed(Role::kFactor, 0)), bits_of(factor));
  StateStore same;
  ASSERT_TRUE(same.arrange(Role::kSender, std::vector<StateBucket>{{{1, 0, 30}, {2, 0, 5}}}));
  ASSERT_TRUE(same.arrange(Role::kFactor, std::vector<StateBucket>{{{1, 0, 8}}}));
  expect_damage_noticed(same, saved);
  expect_refused(same.accept(saved), "give()");
}

float total_of(const StateStore& store) {
  float sum = 0;
  for (const float value : store.committed(Role::kSender, 0)) sum += value;
  return sum;
}

TEST(Membership, WhatALeavingRankHadIsHandedOver) {
  RankGroup group(3);
  std::vector<StateStore> stores(3);
  group.each([&](Communicator& comm) {
    StateStore& store = stores[static_cast<size_t>(comm.rank())];
    // Ranks may be on their way to other buckets.
    const std::vector<StateBucket> buckets =
        comm.rank() == 0 ? std::vector<StateBucket>{{{1, 0, 10}, {2, 0, 6}}}
                         : std::vector<StateBucket>{{{2, 0, 6}, {1, 0, 10}}};
    ASSERT_TRUE(store.arrange(Role::kSender, buckets));
    for (float& value : store.stage(Role::kSender, 0)) value = static_cast<float>(comm.rank() + 1);
    store.commit();
    const Status done = store.hand_over(comm, 2, 0);
    EXPECT_TRUE(done.is_ok()) << done.to_string();
    expect_refused(store.hand_over(comm, 1, 1), "cannot hand over");
  });
  EXPECT_EQ(total_of(stores[0]), 16 * 4);
  EXPECT_EQ(total_of(stores[1]), 16 * 2);
  EXPECT_EQ(total_of(stores[2]), 0);
}

// An owner's part moves when the group shrinks: parked here, given there.
TEST(Membership, PartsThatChangeOwnersKeepTheirResidual) {
  StateStore before;
  StateStore after;
  ASSERT_TRUE(before.arrange(Role::kOwner, std::vector<StateBucket>{{{1, 0, 4}}}));
  ASSERT_TRUE(after.arrange(Role::kOwner, std::vector<StateBucket>{{{1, 4, 4}}}));
  float value = 1;
  for (float& one : before.stage(Role::kOwner, 0)) one = value++;
  for (float& one : after.stage(Role::kOwner, 0)) one = value++;
  before.commit();
  after.commit();
  ASSERT_TRUE(before.arrange(Role::kOwner, std::vector<StateBucket>{{{1, 0, 2}}}));
  ASSERT_TRUE(after.arrange(Role::kOwner, std::vector<StateBucket>{{{1, 2, 6}}}));
  const auto given = before.give(StateStore::Give::kParked);
  ASSERT_TRUE(given.is_ok());
  ASSERT_TRUE(after.accept(*given));
  const auto whole = after.committed(Role::kOwner, 0);
  EXPECT_EQ(Floats(whole.begin(), whole.end()), (Floats{3, 4, 5, 6, 7, 8}));
  const auto part = before.committed(Role::kOwner, 0);
  EXPECT_EQ(Floats(part.begin(), part.end()), (Floats{1, 2}));
}

TEST(Membership, Ef21TakesTheMeanOfTheSurvivors) {
  RankGroup group(3);
  group.each([&](Communicator& comm) {
    StateStore store;
    const auto ef21 = feedback("ef21", store);
    ASSERT_TRUE(ef21->arrange(std::vector<StateBucket>{{{1, 0, 4}}, {}}));
    for (float& h : store.stage(Role::kEstimate, 0)) h = static_cast<float>(comm.rank());
    for (float& all : store.stage(Role::kMean, 0)) all = 9;  // of a group with another rank
    store.commit();
    const Status done = ef21->regroup(comm);
    EXPECT_TRUE(done.is_ok()) << done.to_string();
    for (const float all : store.committed(Role::kMean, 0)) EXPECT_EQ(all, 1);
    for (const float h : store.committed(Role::kEstimate, 0)) EXPECT_EQ(h, comm.rank());
  });
}

TEST(Feedback, NamesAndRefusals) {
  StateStore store;
  EXPECT_EQ(feedback("dgc:clip=1", store)->name(),
            "dgc:momentum=0.9,clip=1,masking=on,nesterov=off");
  EXPECT_EQ(feedback("ef21", store)->name(), "ef21");
  EXPECT_EQ(feedbacks().size(), 4U);
  expect_refused(make_feedback("ef22", store).status(), "ef21");
  expect_refused(make_feedback("ef14:decay=2", store).status(), "decay");
  expect_refused(make_feedback("ef21:decay=1", store).status(), "no parameter");
  expect_refused(make_feedback("dgc", store, Role::kOwner).status(), "ef14");
  EXPECT_NE(parameter_key("layer1.weight"), parameter_key("layer1.bias"));
}

}  // namespace
}  // namespace gossamer
