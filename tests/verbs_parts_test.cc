// What of transport verbs needs no device: settings, names, and what two ends exchange.

#include <gtest/gtest.h>

#include <cstdlib>

#include "transports/verbs/layout.h"
#include "transports/verbs/request_id.h"
#include "transports/verbs/selection.h"
#include "transports/verbs/settings.h"

namespace gossamer::verbs {

namespace {

bool takes(const std::string& setting, const std::string& device, int port) {
  const Result<Selection> selection = Selection::parse(setting);
  EXPECT_TRUE(selection.is_ok()) << setting;
  return selection.is_ok() && selection->takes(device, port);
}

TEST(VerbsSettings, RefuseWhatIsOutOfRange) {
  const std::pair<const char*, const char*> bad[] = {{"GOSSAMER_IB_TIMEOUT", "0"},
                                                     {"GOSSAMER_IB_TIMEOUT", "32"},
                                                     {"GOSSAMER_IB_RETRY_CNT", "8"},
                                                     {"GOSSAMER_IB_SL", "16"},
                                                     {"GOSSAMER_IB_TC", "256"},
                                                     {"GOSSAMER_IB_TC", "high"},
                                                     {"GOSSAMER_IB_PCI_RELAXED_ORDERING", "3"},
                                                     {"GOSSAMER_IB_READ", "2"}};
  for (const auto& [name, value] : bad) {
    ::setenv(name, value, 1);
    const Result<Settings> read = Settings::read();
    ::unsetenv(name);
    ASSERT_FALSE(read.is_ok()) << name << "=" << value;
    EXPECT_EQ(read.status().code(), Code::kInvalidArgument);
    EXPECT_NE(read.status().message().find(name), std::string::npos) << read.status().message();
  }
  ::setenv("GOSSAMER_IB_TC", "104", 1);
  const Result<Settings> read = Settings::read();
  ::unsetenv("GOSSAMER_IB_TC");
  ASSERT_TRUE(read.is_ok());
  EXPECT_EQ(read->traffic_class, 104);
  EXPECT_EQ(read->timeout, 16);
}

TEST(VerbsLayout, AMoveSurvivesTheWireAndAShorterOneDoesNot) {
  Move move;
  move.lane = 3;
  move.ready = true;
  move.attempt = 7;
  move.taken = uint64_t{1} << 40;
  move.consumed = 12345;
  move.setup.notes.number = 42;
  const std::vector<std::byte> bytes = encode_move(move);
  Move got;
  ASSERT_TRUE(decode_move(bytes, &got));
  EXPECT_EQ(got.lane, move.lane);
  EXPECT_TRUE(got.ready);
  EXPECT_EQ(got.attempt, move.attempt);
  EXPECT_EQ(got.taken, move.taken);
  EXPECT_EQ(got.consumed, move.consumed);
  EXPECT_EQ(got.setup.notes.number, 42u);
  EXPECT_FALSE(decode_move(std::span(bytes).first(bytes.size() - 1), &got));
}

TEST(VerbsRequestId, SurvivesACompletion) {
  const RequestId id{0xFFFF, 63, true, false, RequestId::kNumberMask};
  const RequestId got = RequestId::unpack(id.pack());
  EXPECT_EQ(got.pair, id.pair);
  EXPECT_EQ(got.attempt, id.attempt);
  EXPECT_TRUE(got.notes);
  EXPECT_FALSE(got.received);
  EXPECT_EQ(got.number, id.number);
}

TEST(VerbsSelection, ReadsNamesAsNcclDoes) {
  EXPECT_TRUE(takes("", "mlx5_0", 1));
  EXPECT_TRUE(takes("mlx5", "mlx5_3", 2));
  EXPECT_FALSE(takes("mlx5", "rxe0", 1));
  EXPECT_TRUE(takes("mlx5_1", "mlx5_10", 1)) << "a prefix";
  EXPECT_FALSE(takes("=mlx5_1", "mlx5_10", 1));
  EXPECT_TRUE(takes("=mlx5_1", "mlx5_1", 1));
  EXPECT_TRUE(takes("mlx5_0:2,rxe", "mlx5_0", 2));
  EXPECT_FALSE(takes("mlx5_0:2,rxe", "mlx5_0", 1));
  EXPECT_TRUE(takes("mlx5_0:2,rxe", "rxe1", 1));
  EXPECT_FALSE(takes("^mlx5_0", "mlx5_0", 1));
  EXPECT_TRUE(takes("^mlx5_0", "mlx5_1", 1));
  EXPECT_TRUE(takes("^=mlx5_1:1", "mlx5_10", 1));
  EXPECT_FALSE(takes("^=mlx5_1:1", "mlx5_1", 1));
  EXPECT_TRUE(takes("^=mlx5_1:1", "mlx5_1", 2));
}

TEST(VerbsSelection, RefusesWhatIsNoList) {
  for (const char* setting : {"^", "=", "a,,b", "a:", "a:0", "a:x", ":1", "a:256", "a,"}) {
    const Result<Selection> selection = Selection::parse(setting);
    ASSERT_FALSE(selection.is_ok()) << setting;
    EXPECT_EQ(selection.status().code(), Code::kInvalidArgument);
    EXPECT_NE(selection.status().message().find("GOSSAMER_IB_HCA"), std::string::npos);
  }
}

TEST(VerbsLayout, ASetupSurvivesTheWireAndNothingElseDoes) {
  PairSetup pair;
  pair.data.number = 0x123456;
  pair.data.first_packet = 0xABCDEF;
  pair.notes = {0x654321, 0xFEDCBA};
  pair.lid = 77;
  pair.mtu = 5;
  pair.reads = 7;
  pair.ethernet = true;
  pair.gid_type = 2;
  pair.gid[15] = std::byte{9};
  pair.ring_address = 0x0123456789ABCDEF;
  pair.ring_key = 0xFEDCBA98;
  const std::vector<PairSetup> sent{pair, PairSetup{}};
  const std::vector<std::byte> bytes = encode_setup(1 << 19, sent);
  ASSERT_EQ(bytes.size(), setup_bytes(2));
  std::vector<PairSetup> got;
  ASSERT_TRUE(decode_setup(bytes, 1 << 19, &got).is_ok());
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[0].data.number, pair.data.number);
  EXPECT_EQ(got[0].data.first_packet, pair.data.first_packet);
  EXPECT_EQ(got[0].notes.number, pair.notes.number);
  EXPECT_EQ(got[0].notes.first_packet, pair.notes.first_packet);
  EXPECT_EQ(got[0].lid, pair.lid);
  EXPECT_EQ(got[0].mtu, pair.mtu);
  EXPECT_EQ(got[0].reads, pair.reads);
  EXPECT_TRUE(got[0].ethernet);
  EXPECT_EQ(got[0].gid_type, pair.gid_type);
  EXPECT_EQ(got[0].gid, pair.gid);
  EXPECT_EQ(got[0].ring_address, pair.ring_address);
  EXPECT_EQ(got[0].ring_key, pair.ring_key);
  EXPECT_FALSE(decode_setup(bytes, 1 << 18, &got).is_ok()) << "another ring";
  EXPECT_FALSE(decode_setup(std::span(bytes).first(bytes.size() - 1), 1 << 19, &got).is_ok());
  for (const size_t at : {size_t{0}, size_t{4}, size_t{6}, size_t{7}}) {
    auto broken = bytes;
    broken[at] ^= std::byte{1};
    EXPECT_FALSE(decode_setup(broken, 1 << 19, &got).is_ok()) << at;
  }
}

}  // namespace

}  // namespace gossamer::verbs
