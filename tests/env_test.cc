// Environment variables and log lines.

#include "src/env.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>
#include <string>

#include "src/log.h"

namespace gossamer {
namespace {

constexpr const char* kName = "GOSSAMER_TIMEOUT_MS";

class Env : public testing::Test {
 protected:
  void TearDown() override { ::unsetenv(kName); }
  static void set(const char* value) { ::setenv(kName, value, 1); }
};

TEST_F(Env, TakesAnEmptyValueForUnset) {
  set("");
  EXPECT_FALSE(env_is_set(kName));
  EXPECT_EQ(env_string(kName, "other"), "other");
  EXPECT_EQ(*env_int(kName, 5, 0, 9), 5);
}

TEST_F(Env, ReadsWholeNumbersInRange) {
  set("42");
  EXPECT_EQ(*env_int(kName, 0, 0, 100), 42);
  set("-3");
  EXPECT_EQ(*env_int(kName, 0, -5, 100), -3);
}

TEST_F(Env, NamesVariableValueAndRangeOfABadNumber) {
  for (const char* bad : {"4x", "x", "1e3", " 4", "101", "99999999999999999999", "0x10"}) {
    set(bad);
    auto value = env_int(kName, 0, 0, 100);
    ASSERT_FALSE(value) << bad;
    EXPECT_EQ(value.status().code(), Code::kInvalidArgument);
    EXPECT_EQ(value.status().message(), std::string("GOSSAMER_TIMEOUT_MS=\"") + bad +
                                            "\" is not a whole number from 0 to 100");
  }
}

TEST_F(Env, ReadsSwitches) {
  for (const char* yes : {"1", "true", "YES", "On"}) {
    set(yes);
    EXPECT_TRUE(*env_bool(kName, false)) << yes;
  }
  for (const char* no : {"0", "False", "no", "OFF"}) {
    set(no);
    EXPECT_FALSE(*env_bool(kName, true)) << no;
  }
  set("maybe");
  auto value = env_bool(kName, false);
  ASSERT_FALSE(value);
  EXPECT_EQ(value.status().code(), Code::kInvalidArgument);
  EXPECT_NE(value.status().message().find("\"maybe\""), std::string::npos);
}

TEST_F(Env, ReadsDurations) {
  using std::chrono::milliseconds;
  for (const auto& [text, expected] :
       {std::pair("1500", 1500), {"1500ms", 1500}, {"30s", 30'000}, {"2m", 120'000}}) {
    set(text);
    EXPECT_EQ(*env_duration(kName, milliseconds(1)), milliseconds(expected)) << text;
  }
  for (const char* bad : {"0", "-5", "5h", "s", "5 s", "1.5s", "99999999999999m"}) {
    set(bad);
    auto value = env_duration(kName, milliseconds(1));
    ASSERT_FALSE(value) << bad;
    EXPECT_EQ(value.status().code(), Code::kInvalidArgument);
    EXPECT_NE(value.status().message().find("GOSSAMER_TIMEOUT_MS"), std::string::npos);
  }
  ::unsetenv(kName);
  EXPECT_EQ(*env_duration(kName, milliseconds(7)), milliseconds(7));
}

TEST(EnvTable, NamesEachVariableOnceWithHelp) {
  std::set<std::string> names;
  for (const EnvVariable& variable : env_variables()) {
    EXPECT_TRUE(names.insert(variable.name).second) << variable.name;
    EXPECT_TRUE(std::string(variable.name).starts_with("GOSSAMER_"));
    EXPECT_FALSE(std::string(variable.help).empty());
    EXPECT_EQ(std::string(variable.help).find('\n'), std::string::npos);
  }
  for (const char* needed : {"RANK", "SIZE", "RENDEZVOUS", "KEY", "SOCKET_IFNAME", "PORT_RANGE",
                             "TRANSPORT", "ALGORITHM", "TIMEOUT_MS", "HOSTID", "VERIFY", "DEBUG"}) {
    EXPECT_TRUE(names.contains(std::string("GOSSAMER_") + needed)) << needed;
  }
}

TEST(EnvTable, SuggestsTheNameThatWasMeant) {
  ::setenv("GOSSAMER_TIMOUT_MS", "5", 1);
  const auto sentences = unknown_env_variables();
  ::unsetenv("GOSSAMER_TIMOUT_MS");
  ASSERT_EQ(sentences.size(), 1U);
  EXPECT_EQ(sentences[0],
            "GOSSAMER_TIMOUT_MS is set but unknown; did you mean GOSSAMER_TIMEOUT_MS?");
  EXPECT_TRUE(unknown_env_variables().empty());
}

TEST(EnvFallback, HoldsUntilTheEnvironmentSaysOtherwise) {
  set_env_fallback(kName, "2s");
  EXPECT_TRUE(env_is_set(kName));
  EXPECT_EQ(*env_duration(kName, std::chrono::milliseconds(1)), std::chrono::seconds(2));
  ::setenv(kName, "300", 1);
  EXPECT_EQ(*env_duration(kName, std::chrono::milliseconds(1)), std::chrono::milliseconds(300));
  ::unsetenv(kName);
  set_env_fallback(kName, "");
  EXPECT_FALSE(env_is_set(kName));
}

TEST(Log, HandsItsLinesToASink) {
  static std::string taken;
  set_log_sink([](LogLevel level, const LogIdentity& who, std::string_view message) {
    EXPECT_EQ(level, LogLevel::kWarn);
    taken += std::to_string(who.rank) + ":" + std::string(message);
  });
  testing::internal::CaptureStderr();
  log_line(LogLevel::kWarn, {3, 8, ""}, "hello");
  log_line(LogLevel::kTrace, {3, 8, ""}, "below the level");
  set_log_sink(nullptr);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(taken, "3:hello");
}

TEST(Log, SaysWhoSpeaks) {
  EXPECT_EQ(format_log_line({3, 8, "trainer"}, "hello"), "gossamer rank 3 of 8 [trainer]: hello\n");
  EXPECT_EQ(format_log_line({3, 8, ""}, "hello"), "gossamer rank 3 of 8: hello\n");
  EXPECT_EQ(format_log_line({}, "hello"), "gossamer: hello\n");
}

TEST(Log, LetsNoPeerForgeALine) {
  EXPECT_EQ(format_log_line({}, "a\ngossamer rank 0 of 8: b\x1b[2J"),
            "gossamer: a?gossamer rank 0 of 8: b?[2J\n");
  const std::string line = format_log_line({}, std::string(5000, 'x'));
  EXPECT_EQ(line.size(), 2001U);
  EXPECT_TRUE(line.ends_with("...\n"));
}

TEST(Log, PrintsUpToItsLevel) {
  for (const LogLevel level : {LogLevel::kNone, LogLevel::kWarn, LogLevel::kInfo}) {
    set_log_level(level);
    testing::internal::CaptureStderr();
    log_line(LogLevel::kWarn, {}, "warning");
    log_line(LogLevel::kInfo, {}, "note");
    log_line(LogLevel::kTrace, {}, "detail");
    const std::string expected =
        std::string(level >= LogLevel::kWarn ? "gossamer: warning\n" : "") +
        (level >= LogLevel::kInfo ? "gossamer: note\n" : "");
    EXPECT_EQ(testing::internal::GetCapturedStderr(), expected);
  }
  set_log_level(LogLevel::kWarn);
}

}  // namespace
}  // namespace gossamer
