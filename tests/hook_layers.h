// Models, random gradients and iterations for tests of the gradient hook with codecs; and whether
// what ranks sent and kept is what they had.
//
// Threads    Pure, or one rank's.

#pragma once

#include <atomic>
#include <cmath>
#include <string>
#include <vector>

#include "tests/hook_model.h"
#include "tests/methods.h"
#include "tests/rank_group.h"

namespace gossamer {

using Vectors = std::vector<std::vector<float>>;

inline constexpr Rank kRanks = 3;

// A vector, which stays dense, a small matrix, and matrices of awkward sizes.
inline Model some_layers() {
  return {{"norm.weight", {700}}, {"small.weight", {10, 20}}, {"fc1.weight", {37, 61}},
          {"fc1.bias", {61}},     {"fc2.weight", {64, 100}},  {"conv.weight", {8, 3, 5, 7, 3}}};
}

inline bool compressed(const GradientHook::Parameter& p) {
  return p.shape.size() >= 2 && count_of(p) >= 1024;
}

inline GradientHook::Options with_rule(GradientHook::Rule rule) {
  GradientHook::Options options;
  options.bucket_bytes_max = 30'000;
  options.first_bucket_bytes_max = 3000;
  options.rules = {std::move(rule)};
  return options;
}

// A callback that fails an iteration when all but the last of its buckets are through.
inline GradientHook::Callbacks fails_after_the_last_when(std::atomic<bool>* fail) {
  return {nullptr,
          [](const GradientHook::BucketView& bucket, void* context) {
            const bool now = static_cast<std::atomic<bool>*>(context)->load() &&
                             bucket.index + 1 == bucket.bucket_count;
            return now ? Status::error(Code::kSystem, "enough") : Status::ok();
          },
          fail};
}

inline Vectors random_gradients(const Model& model, Rank rank, uint64_t t) {
  Vectors all;
  for (size_t p = 0; p < model.size(); ++p) {
    const auto row =
        gaussian_rows(1, count_of(model[p]), 1 + t * 1000 + p * 10 + static_cast<uint64_t>(rank));
    all.emplace_back(row.begin(), row.end());
  }
  return all;
}

inline Result<GradientHook::Step> iterate(GradientHook& hook, Vectors* gradients, Rank rank,
                                          uint64_t t, size_t skipped = SIZE_MAX) {
  for (const size_t p : shuffled(gradients->size(), t * 31 + static_cast<uint64_t>(rank))) {
    void* const gradient = (*gradients)[p].data();
    const Status done = p == skipped ? hook.skip_at(p, gradient) : hook.ready_at(p, gradient);
    if (!done) break;  // it has failed, and wait() says why
  }
  return hook.wait();
}

inline Vectors residuals_of(GradientHook& hook, const Model& model) {
  Vectors all;
  for (const auto& p : model) {
    const auto residual = hook.residual(p.key);
    EXPECT_TRUE(residual) << residual.status().to_string();
    all.emplace_back(residual->begin(), residual->end());
  }
  return all;
}

// What this rank keeps of sums that it owns; zeros elsewhere.
inline Vectors owned_of(GradientHook& hook, const Model& model) {
  Vectors all;
  for (const auto& p : model) {
    std::vector<float>& values = all.emplace_back(count_of(p), 0.0F);
    const auto kept = hook.owner_residual(p.key);
    EXPECT_TRUE(kept) << kept.status().to_string();
    EXPECT_LE(kept->first + kept->values.size(), values.size());
    std::copy(kept->values.begin(), kept->values.end(),
              values.begin() + static_cast<ptrdiff_t>(kept->first));
  }
  return all;
}

// A rank's iteration: what goes in, what comes out, and what is kept before and after.
struct Seen {
  Vectors gradients, residual_before, residual_after, result;
  Vectors owned_before = {}, owned_after = {};  // empty: nothing is owned

  void before(GradientHook& hook, const Model& model, Vectors own) {
    gradients = std::move(own);
    result = gradients;
    residual_before = residuals_of(hook, model);
    owned_before = owned_of(hook, model);
  }
  void after(GradientHook& hook, const Model& model) {
    residual_after = residuals_of(hook, model);
    owned_after = owned_of(hook, model);
  }
};

// Sum over ranks of what was decoded and what is kept now, is that of gradients and what was kept.
// `contributors` brought gradients, one fewer of the parameter `skipped`.
inline void expect_conserved(const Model& model, const std::vector<Seen>& ranks, int contributors,
                             size_t skipped = SIZE_MAX) {
  for (size_t p = 0; p < model.size(); ++p) {
    for (uint64_t i = 0; i < count_of(model[p]); ++i) {
      const int from = p == skipped ? contributors - 1 : contributors;
      double in = 0, out = from * static_cast<double>(ranks[0].result[p][i]), scale = 0;
      for (const Seen& rank : ranks) {
        ASSERT_EQ(rank.result[p][i], ranks[0].result[p][i]) << "ranks have different bits";
        const bool keeps = !rank.residual_before[p].empty();
        in += rank.gradients[p][i] + (keeps ? rank.residual_before[p][i] : 0);
        out += keeps ? rank.residual_after[p][i] : 0;
        scale += keeps ? std::abs(rank.residual_after[p][i]) : 0;  // estimates may be far off
        in += rank.owned_before.empty() ? 0 : rank.owned_before[p][i];
        scale += rank.owned_before.empty() ? 0 : std::abs(rank.owned_before[p][i]);
        out += rank.owned_after.empty() ? 0 : rank.owned_after[p][i];
        scale +=
            std::abs(rank.gradients[p][i]) + (keeps ? std::abs(rank.residual_before[p][i]) : 0);
      }
      ASSERT_NEAR(in, out, 1e-6 * (scale + 1)) << model[p].key << " at " << i;
    }
  }
}

}  // namespace gossamer
