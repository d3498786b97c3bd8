// Ranks of a gradient hook as processes, one of which is killed in the middle of an iteration: the
// others hear which, go on without it, and have the same bits.

#include "gossamer/gradient_hook.h"
#include "tests/hook_model.h"
#include "tests/process_ranks.h"

namespace gossamer {
namespace {

constexpr Rank kVictim = 2;

// Of all values, one after another.
uint64_t hash_of(std::vector<Values>& all) {
  uint64_t hash = 0xCBF29CE484222325;
  for (Values& values : all) {
    for (uint64_t i = 0; i < values.count(); ++i) {
      const double value = values.get(i);
      uint64_t bits = 0;
      std::memcpy(&bits, &value, sizeof bits);
      hash = (hash ^ bits) * 0x100000001B3;
    }
  }
  return hash;
}

// Until it is killed, or another one is; then on among those that are left.
void train(Rank rank, Report& report, const std::string& place, const char* transport,
           const Model& model, const GradientHook::Options& options) {
  auto comm = Communicator::create(options_of(rank, 4, place, transport));
  if (!comm) return report.keep(comm.status());
  auto hook = hook_of(**comm, model, options);
  std::vector<Values> gradients;
  Result<GradientHook::Step> step = iterate_model(*hook, model, rank, 0, &gradients);
  report.stage = 1;
  for (uint64_t t = 1; step; ++t) {
    report.steps = static_cast<int64_t>(t);
    step = iterate_model(*hook, model, rank, t, &gradients);
  }
  report.values[0] = step.status().rank();
  const std::vector<Rank> excluded = {step.status().rank()};
  auto smaller = (*comm)->shrink(excluded, {.abort = true});
  report.keep(smaller.status());
  if (!smaller) return;
  report.keep(hook->rebind(**smaller));
  comm.value().reset();
  const uint64_t before = hook->iteration();
  report.values[1] = static_cast<int64_t>(before);
  for (uint64_t t = before; t < before + 3; ++t) {
    step = iterate_model(*hook, model, (*smaller)->rank(), t, &gradients);
    if (!step) report.keep(step.status());
    if (step && options.rules.empty()) expect_averages(model, gradients, 3, t);
  }
  report.values[2] = static_cast<int64_t>(hook->iteration() - before);
  report.values[3] = static_cast<int64_t>(hash_of(gradients));
  report.stage = 2;
  while (report.stage.load() < 3) std::this_thread::sleep_for(milliseconds(1));
}

class HookKilled : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Codecs, HookKilled,
                         testing::Values("", "topk:ratio=0.01", "sign:block=0", "powersgd"),
                         [](const auto& param) {
                           const std::string text = param.param;
                           return text.empty() ? "dense" : text.substr(0, text.find(':'));
                         });

TEST_P(HookKilled, GoesOnAmongTheOthers) {
  const Model model = some_model(16, 3000, 5);
  GradientHook::Options options = hook_options();
  const std::string codec = GetParam();
  if (!codec.empty()) {
    const char* const feedback = codec == "powersgd"         ? ""
                                 : codec.starts_with("sign") ? "ef14:sides=2"
                                                             : "ef14";
    options.rules = {{.codec = codec, .feedback = feedback}};
  }
  for (const char* transport : {"shm", "tcp"}) {
    const TemporaryFolder folder;
    ProcessRanks ranks(4, [&](Rank rank, Report& report) {
      train(rank, report, folder.place("id"), transport, model, options);
    });
    ASSERT_TRUE(ranks.wait_stage(1, milliseconds(20'000)));
    std::this_thread::sleep_for(milliseconds(30));
    ranks.kill(kVictim);
    ASSERT_TRUE(ranks.wait_stage(2, milliseconds(30'000), kVictim));
    for (const Rank r : {0, 1, 3}) {
      Report& report = ranks.report(r);
      EXPECT_EQ(report.code, Code::kOk) << report.sentence();
      EXPECT_EQ(report.values[0], kVictim);
      EXPECT_EQ(report.values[1], ranks.report(0).values[1]);
      EXPECT_EQ(report.values[2], 3);
      EXPECT_EQ(report.values[3], ranks.report(0).values[3]);
      report.stage = 3;
    }
    EXPECT_TRUE(ranks.wait_end(milliseconds(20'000), kVictim));
  }
}

}  // namespace
}  // namespace gossamer
