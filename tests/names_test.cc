// Names: every value has one, and it reads back.

#include <gtest/gtest.h>

#include "gossamer/status.h"
#include "gossamer/types.h"

namespace gossamer {
namespace {

TEST(Names, EveryDataTypeReadsBack) {
  for (int i = 0; i < kDataTypeCount; ++i) {
    const auto type = static_cast<DataType>(i);
    EXPECT_EQ(parse_data_type(name_of(type)), type) << name_of(type);
    EXPECT_GT(size_of(type), 0U);
  }
}

TEST(Names, EveryOperationAndCollectiveReadsBack) {
  for (int i = 0; i < kReduceOpCount; ++i) {
    const auto op = static_cast<ReduceOp>(i);
    EXPECT_EQ(parse_reduce_op(name_of(op)), op) << name_of(op);
  }
  for (int i = 0; i < kCollectiveCount; ++i) {
    const auto collective = static_cast<Collective>(i);
    EXPECT_EQ(parse_collective(name_of(collective)), collective);
  }
}

TEST(Names, OtherSpellingsAreUnderstood) {
  EXPECT_EQ(parse_data_type("half"), DataType::kFloat16);
  EXPECT_EQ(parse_data_type("float"), DataType::kFloat32);
  EXPECT_EQ(parse_data_type("double"), DataType::kFloat64);
  EXPECT_EQ(parse_data_type("bfloat16"), DataType::kBfloat16);
  EXPECT_EQ(parse_data_type("f8e5m2"), DataType::kFloat8E5M2);
  EXPECT_EQ(parse_reduce_op("mulsum"), ReduceOp::kPreMulSum);
  EXPECT_EQ(parse_data_type("float31"), std::nullopt);
  EXPECT_EQ(parse_data_type(""), std::nullopt);
}

TEST(Status, SaysItsCodeAndSentence) {
  EXPECT_EQ(Status::ok().to_string(), "ok");
  EXPECT_EQ(Status::error(Code::kPeerLost, "rank 2 closed its connection", 2).to_string(),
            "peer lost: rank 2 closed its connection");
  EXPECT_EQ(name_of(static_cast<Code>(200)), "unknown");
}

}  // namespace
}  // namespace gossamer
