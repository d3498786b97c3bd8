// pair_gossip() with a codec: the mean of what both codes decode to, on both ranks.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "gossamer/communicator.h"
#include "gossamer/gossip_compressed.h"
#include "tests/coded_calls.h"
#include "tests/rank_group.h"

namespace gossamer {
namespace {

class CodedPairOver : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Transports, CodedPairOver, testing::Values("loopback", "shm", "tcp"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(CodedPairOver, GivesBothTheMeanOfWhatTheirCodesDecodeTo) {
  const auto codec = codec_named("int8:block=64");
  RankGroup group(3, GetParam());
  for (const DataType type : {DataType::kFloat32, DataType::kFloat64, DataType::kFloat16,
                              DataType::kBfloat16, DataType::kFloat8E4M3, DataType::kFloat8E5M2}) {
    for (const uint64_t count : {0, 1, 77, 5000}) {
      Floats expected(count);
      std::vector<std::vector<std::byte>> inputs(3), outputs(3);
      for (const size_t r : {0, 2}) {
        inputs[r] = elements_of(type, normal(r + 1, count));
        const Floats sent = decoded(*codec, floats_of(type, inputs[r]));
        for (size_t i = 0; i < count; ++i) expected[i] += sent[i];
      }
      for (float& value : expected) value /= 2;
      group.each([&](Communicator& comm) {
        if (comm.rank() == 1) return;  // has no part in it
        const auto rank = static_cast<size_t>(comm.rank());
        const Compression compression{.codec = codec.get()};
        std::vector<std::byte> in_place = inputs[rank];
        outputs[rank].resize(in_place.size());
        const Rank peer = 2 - comm.rank();
        EXPECT_TRUE(pair_gossip(comm, inputs[rank].data(), outputs[rank].data(), count, type, peer,
                                compression));
        EXPECT_TRUE(
            pair_gossip(comm, in_place.data(), in_place.data(), count, type, peer, compression));
        EXPECT_EQ(in_place, outputs[rank]);
      });
      EXPECT_EQ(outputs[0], outputs[2]);
      EXPECT_EQ(outputs[0], elements_of(type, expected)) << name_of(type) << " " << count;
    }
  }
}

// Over runs of one input, what both get and what both keep add up to what both put in.
TEST(CodedPair, KeepsInTheResidualWhatItsCodeLoses) {
  const auto codec = codec_named("sign");
  const uint64_t count = 300;
  RankGroup group(2);
  std::vector<Floats> got(2, Floats(count)), kept(2, Floats(count));
  group.each([&](Communicator& comm) {
    const auto rank = static_cast<size_t>(comm.rank());
    const Floats x = normal(rank + 5, count);
    Floats next(count), mean(count);
    for (uint64_t run = 0; run < 4; ++run) {
      const Compression compression{.codec = codec.get(),
                                    .residual = run == 0 ? nullptr : kept[rank].data(),
                                    .next_residual = next.data(),
                                    .draws = {.own = run}};
      ASSERT_TRUE(pair_gossip(comm, x.data(), mean.data(), count, DataType::kFloat32,
                              1 - comm.rank(), compression));
      kept[rank].swap(next);
      for (size_t i = 0; i < count; ++i) got[rank][i] += mean[i];
    }
  });
  EXPECT_EQ(got[0], got[1]);
  const Floats mine = normal(5, count);
  const Floats theirs = normal(6, count);
  for (size_t i = 0; i < count; ++i) {
    EXPECT_NEAR(got[0][i] + got[1][i] + kept[0][i] + kept[1][i], 4 * (mine[i] + theirs[i]), 1e-4);
  }
}

// Of every codec, also where the ranks draw other signs and places: codes say what was drawn.
TEST_P(CodedPairOver, EveryCodecGivesBothWhatTheirResidualsLack) {
  RankGroup group(2, GetParam());
  std::vector<std::string> texts = {"int8_shared:block=33,levels=7", "thc:bits=2,block=64",
                                    "dct:chunk=5,keep=25,mean=senders",
                                    "count_sketch:rows=9,ratio=0.5,keep=1", "topk:index=bitpack"};
  for (const CodecInfo& info : codecs()) texts.emplace_back(info.name);
  for (const std::string& text : texts) {
    const auto codec = codec_named(text);
    if (!codec->traits().fixed_size || codec->traits().votes) continue;
    for (const uint64_t count : {1, 300, 5000}) {
      std::vector<Floats> got(2, Floats(count)), sent(2, Floats(count));
      group.each([&](Communicator& comm) {
        const auto rank = static_cast<size_t>(comm.rank());
        const Floats x = normal(rank + 5, count);
        Floats& left = sent[rank];
        const Compression compression{.codec = codec.get(),
                                      .next_residual = left.data(),
                                      .draws = {.own = 7, .shared = 3 + rank}};
        const Status done = pair_gossip(comm, x.data(), got[rank].data(), count, DataType::kFloat32,
                                        1 - comm.rank(), compression);
        EXPECT_TRUE(done) << text << ": " << done.to_string();
        for (size_t i = 0; i < count; ++i) left[i] = x[i] - left[i];
      });
      EXPECT_EQ(got[0], got[1]) << text;
      for (size_t i = 0; i < count; ++i) {
        const float mean = (sent[0][i] + sent[1][i]) / 2;
        const float most = std::max(std::abs(sent[0][i]), std::abs(sent[1][i]));
        EXPECT_NEAR(got[0][i], mean, 1e-6 * (most + 5)) << text << " " << i;
      }
    }
  }
}

// The sentences of both ranks, which give these codecs.
void expect_mismatch(const char* transport, const std::string& a, const std::string& b) {
  RankGroup group(2, transport);
  const std::unique_ptr<Codec> codecs[] = {codec_named(a), codec_named(b)};
  group.each([&](Communicator& comm) {
    const Codec& own = *codecs[comm.rank()];
    const Compression compression{.codec = &own};
    Floats x(1000, 1.0F);
    const Status status = pair_gossip(comm, x.data(), x.data(), x.size(), DataType::kFloat32,
                                      1 - comm.rank(), compression);
    EXPECT_EQ(status.code(), Code::kMismatch) << status.to_string();
    EXPECT_NE(status.message().find(own.name()), std::string::npos) << status.message();
    EXPECT_NE(status.message().find("same count, type and codec"), std::string::npos)
        << status.message();
    EXPECT_EQ(x, Floats(1000, 1.0F));
  });
}

TEST_P(CodedPairOver, TellsBothRanksOfDifferentCodecs) {
  expect_mismatch(GetParam(), "int8:block=64", "fp16");
  // Of one length.
  expect_mismatch(GetParam(), "int8:block=64", "int8:block=64,rounding=stochastic");
}

TEST(CodedPair, RefusesWhatMakesNoSense) {
  RankGroup group(1);
  Floats x(8), r(8);
  Compression compression;
  const auto says = [&](DataType type, Rank peer, const std::string& part) {
    const Status status = pair_gossip(group[0], x.data(), x.data(), 8, type, peer, compression);
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
  };
  says(DataType::kFloat32, 1, "make_codec()");
  const auto codec = codec_named("int8");
  compression.codec = codec.get();
  says(DataType::kInt32, 1, "float type");
  says(DataType::kFloat32, 0, "itself");
  says(DataType::kFloat32, 1, "rank 1");
  compression.residual = compression.next_residual = r.data();
  says(DataType::kFloat32, 1, "same memory");
  const auto votes = codec_named("majority");
  compression = {.codec = votes.get()};
  says(DataType::kFloat32, 1, "votes");
}

}  // namespace
}  // namespace gossamer
