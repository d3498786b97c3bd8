// CHOCO against its rule for all ranks at once, at its measured rates, and on the wire.

#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "tests/count_allocations.h"
#include "tests/methods.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

constexpr size_t kWidth = 2000;

std::string top(double ratio) {
  return "topk:ratio=" + std::to_string(ratio);
}
const std::string kInt8 = "int8";

std::unique_ptr<ChocoSgd> choco(size_t width, double rate, const std::string& codec,
                                DataType type = DataType::kFloat64) {
  auto made = ChocoSgd::create({.count = width, .type = type, .consensus_rate = rate},
                               make_codec(codec).value());
  EXPECT_TRUE(made.is_ok()) << made.status().to_string();
  return std::move(made).value();
}

// CHOCO-Gossip from Gaussian values, over a group.
class Gossip {
 public:
  Gossip(const std::string& graph, Rank n, double rate, const std::string& codec)
      : group_(n), graph_(graph_of(graph, n)), x_(gaussian_rows(n, kWidth, 1)) {
    mean_ = mean_of(x_, kWidth);
    first_ = distance(x_, mean_);
    for (Rank r = 0; r < n; ++r) methods_.push_back(choco(kWidth, rate, codec));
  }
  // Distance from the mean relative to the first, after so many more steps.
  double after(int steps) {
    group_.each([&](Communicator& comm) {
      const auto r = static_cast<size_t>(comm.rank());
      for (int t = 0; t < steps; ++t) {
        const Status done = methods_[r]->step(comm, *graph_, x_.data() + r * kWidth, nullptr, 0);
        ASSERT_TRUE(done.is_ok()) << done.to_string();
      }
    });
    return distance(x_, mean_) / first_;
  }
  double drift() const {
    const std::vector<double> now = mean_of(x_, kWidth);
    double most = 0;
    for (size_t k = 0; k < kWidth; ++k) most = std::max(most, std::abs(now[k] - mean_[k]));
    return most;
  }

 private:
  RankGroup group_;
  std::unique_ptr<Graph> graph_;
  std::vector<double> x_;
  std::vector<double> mean_;
  double first_ = 0;
  std::vector<std::unique_ptr<ChocoSgd>> methods_;
};

// Rounds to a millionth are as many as measured before, to 5 %.
void expect_rounds(Gossip gossip, int rounds) {
  const int early = rounds * 95 / 100;
  EXPECT_GT(gossip.after(early), 1e-6) << "faster than " << early;
  EXPECT_LT(gossip.after(rounds * 105 / 100 - early), 1e-6) << "slower than " << rounds;
  EXPECT_LT(gossip.drift(), 1e-10);
}

TEST(Choco, E10Ring8TopOnePerCent) {
  expect_rounds({"ring", 8, 0.02, top(0.01)}, 3083);
}
TEST(Choco, E10Ring8TopTenPerCent) {
  expect_rounds({"ring", 8, 0.2, top(0.1)}, 307);
}
TEST(Choco, E10Hypercube16TopOnePerCent) {
  expect_rounds({"hypercube", 16, 0.02, top(0.01)}, 1384);
}
// Bytes cost nothing in rounds: uncompressed gossip needs 595 too.
TEST(Choco, E10Ring25Int8IsAsFastAsUncompressed) {
  expect_rounds({"ring", 25, 1, kInt8}, 595);
}
TEST(Choco, E10Ring25QsgdIsAsFastAsUncompressed) {
  expect_rounds({"ring", 25, 1, "qsgd:levels=127,block=512"}, 595);
}
TEST(Choco, E10AboveTheLimitItDiverges) {
  Gossip gossip("ring", 8, 0.6, top(0.1));
  gossip.after(300);
  EXPECT_GT(gossip.after(300), 10);
}

// The control: compressing values instead of differences.
TEST(Choco, E11NaiveCompressionStalls) {
  const Rank n = 25;
  const auto graph = graph_of("ring", n);
  const auto codec = make_codec(top(0.01)).value();
  std::vector<std::byte> code(codec->bytes_max(kWidth));
  std::vector<std::byte> workspace(codec->workspace_bytes(kWidth));
  std::vector<float> decoded(kWidth);
  std::vector<double> x = gaussian_rows(n, kWidth, 1);
  const std::vector<double> mean = mean_of(x, kWidth);
  const double first = distance(x, mean);
  const auto mixing = graph->mixing(0);
  std::vector<double> sent(x.size());
  for (int t = 0; t < 1000; ++t) {
    std::fill(sent.begin(), sent.end(), 0.0);
    for (Rank r = 0; r < n; ++r) {
      const size_t at = static_cast<size_t>(r) * kWidth;
      const std::vector<float> narrow(x.begin() + static_cast<ptrdiff_t>(at),
                                      x.begin() + static_cast<ptrdiff_t>(at + kWidth));
      codec->encode(narrow, {}, code, workspace);
      codec->decode(code, decoded);
      std::copy(decoded.begin(), decoded.end(), sent.begin() + static_cast<ptrdiff_t>(at));
    }
    std::vector<double> mixed(x.size());
    mixing->apply(sent, mixed, kWidth);
    // x + W C(x) - C(x): the form that keeps the mean.
    for (size_t i = 0; i < x.size(); ++i) x[i] += mixed[i] - sent[i];
  }
  EXPECT_GT(distance(x, mean) / first, 0.1);
}

// The rule with every rank's copy in one place, with gradients.
TEST(Choco, StepsAreThoseOfTheRule) {
  const Rank n = 5;
  const size_t width = 300;
  const double c = 0.3;
  const std::vector<double> targets = gaussian_rows(n, width, 3);
  const auto graph = graph_of("star", n);
  const auto mixing = graph->mixing(0);
  for (const std::string& text : {top(0.1), kInt8, std::string("topk:ratio=0.1,index=rice")}) {
    std::vector<double> expected = gaussian_rows(n, width, 2);
    std::vector<double> copies(expected.size(), 0);
    const auto codec = make_codec(text).value();
    std::vector<std::byte> code(codec->bytes_max(width));
    std::vector<std::byte> workspace(codec->workspace_bytes(width));
    std::vector<float> decoded(width);
    for (int t = 0; t < 25; ++t) {
      for (size_t i = 0; i < expected.size(); ++i) {
        expected[i] -= 0.1 * (expected[i] - targets[i]);
      }
      for (size_t at = 0; at < expected.size(); at += width) {
        std::vector<float> difference(width);
        for (size_t k = 0; k < width; ++k) {
          difference[k] = static_cast<float>(expected[at + k] - copies[at + k]);
        }
        const uint64_t bytes = codec->encode(difference, {}, code, workspace).bytes;
        codec->decode(std::span(code).first(bytes), decoded);
        for (size_t k = 0; k < width; ++k) copies[at + k] += static_cast<double>(decoded[k]);
      }
      std::vector<double> mixed(expected.size());
      mixing->apply(copies, mixed, width);
      for (size_t i = 0; i < expected.size(); ++i) expected[i] += c * (mixed[i] - copies[i]);
    }
    for (const char* transport : {"loopback", "shm"}) {
      RankGroup group(n, transport);
      group.each([&](Communicator& comm) {
        const auto method = choco(width, c, text);
        std::vector<double> x = row_of(gaussian_rows(n, width, 2), comm.rank(), width);
        const std::vector<double> target = row_of(targets, comm.rank(), width);
        std::vector<double> g(width);
        for (int t = 0; t < 25; ++t) {
          for (size_t k = 0; k < width; ++k) g[k] = x[k] - target[k];
          const Status done = method->step(comm, *graph, x.data(), g.data(), 0.1);
          ASSERT_TRUE(done.is_ok()) << done.to_string();
        }
        const std::vector<double> all = row_of(expected, comm.rank(), width);
        for (size_t k = 0; k < width; ++k) ASSERT_NEAR(x[k], all[k], 1e-9) << k;
      });
    }
  }
}

// Sums in 32 bits would be off by a last bit for ever, and move the mean in every step.
TEST(Choco, FloatsReachTheMeanAndStayThere) {
  const Rank n = 4;
  const std::vector<double> start = gaussian_rows(n, 600, 5);
  const std::vector<double> mean = mean_of(start, 600);
  RankGroup group(n);
  const auto graph = graph_of("ring", n);
  group.each([&](Communicator& comm) {
    const auto method = choco(600, 0.9, kInt8, DataType::kFloat32);
    const std::vector<double> wide = row_of(start, comm.rank(), 600);
    std::vector<float> x(wide.begin(), wide.end());
    for (int t = 0; t < 5000; ++t) ASSERT_TRUE(method->step(comm, *graph, x.data(), nullptr, 0));
    double worst = 0;
    for (size_t k = 0; k < x.size(); ++k) {
      worst = std::max(worst, std::abs(static_cast<double>(x[k]) - mean[k]));
    }
    EXPECT_LT(worst, 2e-6);
  });
}

TEST(Choco, OnlyCodesTravelAndNothingIsAllocated) {
  const size_t width = 10'000;
  for (const auto& [text, bytes] :
       {std::pair{top(0.01), uint64_t{800}}, {kInt8, uint64_t{10'000 + 4 * 40}}}) {
    RankGroup group(4);
    const auto graph = graph_of("ring", 4);
    group.each([&, text = text, bytes = bytes](Communicator& comm) {
      const auto method = choco(width, 0.02, text, DataType::kFloat32);
      const std::vector<double> start = gaussian_rows(1, width, 7);
      std::vector<float> x(start.begin(), start.end());
      const auto steps = [&](int n) {
        for (int t = 0; t < n; ++t) ASSERT_TRUE(method->step(comm, *graph, x.data(), nullptr, 0));
      };
      steps(2);
      const auto before = comm.counters();
      const uint64_t allocated = allocations;
      steps(10);
      if (GOSSAMER_TEST_COUNTS_ALLOCATIONS) {
        EXPECT_EQ(allocations - allocated, 0U);
      }
      EXPECT_EQ(comm.counters().bytes_sent - before.bytes_sent, 10 * 2 * bytes);
      EXPECT_EQ(method->codec().bytes_max(width), bytes);
    });
  }
}

// Lengths, then codes: what a Rice code's length is.
TEST(Choco, CodesOfManyLengthsTravelAsLongAsTheyAre) {
  const size_t width = 10'000;
  // 100 values and about 8.1 bits for each place; nothing, as what is as large has been sent
  // before.
  for (const auto& [text, least, most] :
       {std::tuple{"topk:ratio=0.01,index=rice", 490, 515}, {"threshold:least=2.5", 4, 4}}) {
    RankGroup group(4);
    const auto graph = graph_of("ring", 4);
    group.each([&, text = text, least = least, most = most](Communicator& comm) {
      const auto method = choco(width, 0.02, text, DataType::kFloat32);
      const std::vector<double> start =
          gaussian_rows(1, width, 7 + static_cast<uint64_t>(comm.rank()));
      std::vector<float> x(start.begin(), start.end());
      ASSERT_TRUE(method->step(comm, *graph, x.data(), nullptr, 0));
      const auto before = comm.counters();
      ASSERT_TRUE(method->step(comm, *graph, x.data(), nullptr, 0));
      const uint64_t sent = comm.counters().bytes_sent - before.bytes_sent;
      EXPECT_GE(sent, 2 * (8 + static_cast<uint64_t>(least)));
      EXPECT_LE(sent, 2 * (8 + static_cast<uint64_t>(most)));
    });
  }
}

// One value that is no number does no harm to other ranks, nor to others of its own.
TEST(Choco, WhatIsNotFiniteStaysWhereItIs) {
  RankGroup group(3);
  const auto graph = graph_of("ring", 3);
  group.each([&](Communicator& comm) {
    const auto method = choco(50, 0.5, kInt8);
    std::vector<double> x(50, comm.rank());
    if (comm.rank() == 1) x[7] = std::nan("");
    for (int t = 0; t < 100; ++t) ASSERT_TRUE(method->step(comm, *graph, x.data(), nullptr, 0));
    for (size_t k = 0; k < x.size(); ++k) {
      if (k != 7) {
        EXPECT_NEAR(x[k], 1, 1e-6);
      } else {
        EXPECT_EQ(std::isfinite(x[k]), comm.rank() != 1);
      }
    }
  });
}

TEST(Choco, UnbiasedCodecsBecomeContractions) {
  EXPECT_NEAR(contraction(*make_codec("topk:ratio=0.1").value(), 1000), 0.1, 1e-12);
  EXPECT_NEAR(contraction(*make_codec("randomk:ratio=0.1,scale=unbiased").value(), 1000), 0.1,
              1e-12);
  EXPECT_EQ(contraction(*make_codec("threshold").value(), 1000), 0);
  // Without the division it would diverge at any such rate.
  Gossip gossip("ring", 8, 0.05, "randomk:ratio=0.1,scale=unbiased");
  EXPECT_LT(gossip.after(1500), 1e-4);
}

TEST(Choco, TheProvedRateConverges) {
  // Ring of 8: eigenvalues (1 + 2 cos(2 pi k / 8)) / 3, so p = .195262 and b = 4 / 3.
  const auto ring = graph_of("ring", 8);
  const double p = 1 - (1 + std::sqrt(2.0)) / 3;
  const double b = 4.0 / 3;
  const double d = 0.1;
  const double expected = p * p * d / (16 * p + p * p + 4 * b * b + 2 * p * b * b - 8 * p * d);
  const double rate = choco_rate(*ring, d).value();
  EXPECT_NEAR(rate, expected, 1e-12);
  Gossip gossip("ring", 8, rate, top(0.1));
  EXPECT_LT(gossip.after(3000), std::pow(1 - p * p * d / 82, 1500));
  expect_refused(choco_rate(*ring, 0).status(), "delta");
  expect_refused(choco_rate(*graph_of("one_peer_exponential", 8), 0.5).status(), "differ");
  expect_refused(choco_rate(*graph_of("static_exponential", 8), 0.5).status(), "symmetric");
  EXPECT_NEAR(choco_rate(*graph_of("ring", 1), 1).value(), 1.0 / 9, 1e-12);
}

TEST(Choco, SavedCopiesGoOn) {
  RankGroup group(3);
  const auto graph = graph_of("ring", 3);
  group.each([&](Communicator& comm) {
    const auto one = choco(40, 0.3, top(0.1));
    std::vector<double> x = row_of(gaussian_rows(3, 40, 2), comm.rank(), 40);
    for (int t = 0; t < 5; ++t) ASSERT_TRUE(one->step(comm, *graph, x.data(), nullptr, 0));
    const auto other = choco(40, 0.3, top(0.1));
    expect_damage_noticed(*other, one->save());
    std::vector<double> again = x;
    for (int t = 0; t < 5; ++t) {
      ASSERT_TRUE(one->step(comm, *graph, x.data(), nullptr, 0));
      ASSERT_TRUE(other->step(comm, *graph, again.data(), nullptr, 0));
    }
    EXPECT_EQ(x, again);
    expect_refused(choco(40, 0.3, top(0.2))->load(one->save()), "another codec");
    expect_refused(choco(40, 0.2, top(0.1))->load(one->save()), "consensus rate");
    const auto complete =
        make_graph(3, std::vector<double>{0.5, 0.25, 0.25, 0.25, 0.5, 0.25, 0.25, 0.25, 0.5});
    expect_refused(other->step(comm, **complete, x.data(), nullptr, 0), "another graph");
  });
}

TEST(Choco, RanksThatCompressDifferentlyAreTold) {
  RankGroup group(2);
  const auto graph = graph_of("ring", 2);
  group.each([&](Communicator& comm) {
    // Codes of the same length.
    const auto method = comm.rank() == 0 ? choco(8, 0.3, top(0.125)) : choco(8, 0.3, top(0.12));
    std::vector<double> x(8, 1.0);
    const Status status = method->step(comm, *graph, x.data(), nullptr, 0);
    EXPECT_EQ(status.code(), Code::kMismatch) << status.to_string();
    EXPECT_EQ(status.rank(), 1 - comm.rank());
    EXPECT_EQ(x, std::vector<double>(8, 1.0));
  });
}

TEST(Choco, BadInputIsRefusedBeforeAnythingIsSent) {
  const auto made = [](double rate, std::unique_ptr<Codec> codec, uint64_t count = 10) {
    return ChocoSgd::create({.count = count, .consensus_rate = rate}, std::move(codec)).status();
  };
  expect_refused(made(0, make_codec(kInt8).value()), "(0, 1]");
  expect_refused(made(1.5, make_codec(kInt8).value()), "(0, 1]");
  expect_refused(made(std::nan(""), make_codec(kInt8).value()), "(0, 1]");
  expect_refused(made(0.5, nullptr), "no codec");
  expect_refused(made(0.5, make_codec(kInt8).value(), uint64_t{1} << 32), "32 bits");
  RankGroup group(4);
  group.each([&](Communicator& comm) {
    const auto method = choco(10, 0.5, kInt8, DataType::kFloat32);
    std::vector<float> x(10, 1.0F);
    const std::vector<float> g(10, 1.0F);
    const uint64_t sent = comm.counters().messages_sent;
    const auto step = [&](const std::string& graph, Rank size, void* values, double rate) {
      return method->step(comm, *graph_of(graph, size), values, g.data(), rate);
    };
    expect_refused(step("static_exponential", 4, x.data(), 0.1), "symmetric");
    expect_refused(step("random_matching", 4, x.data(), 0.1), "rounds that differ");
    expect_refused(step("ring", 5, x.data(), 0.1), "5 ranks");
    expect_refused(step("ring", 4, nullptr, 0.1), "null");
    expect_refused(step("ring", 4, x.data(), std::numeric_limits<double>::infinity()), "finite");
    EXPECT_EQ(comm.counters().messages_sent, sent);
    EXPECT_EQ(x, std::vector<float>(10, 1.0F));
    EXPECT_TRUE(step("ring", 4, x.data(), 0.1));
  });
}

}  // namespace
}  // namespace gossamer
