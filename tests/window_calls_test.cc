// Windows' calls by themselves: element types, bad input, deadlines, several windows at once.

#include <cmath>
#include <cstring>

#include "src/reduce.h"
#include "tests/methods.h"
#include "tests/rank_group.h"
#include "tests/window_ranks.h"

namespace gossamer {
namespace {

using std::chrono::milliseconds;
// --------------------------------------------------------

TEST(Window, MixesEveryFloatTypeAndRoundsOnce) {
  RankGroup group(3, "loopback");
  for (const DataType type :
       {DataType::kFloat16, DataType::kBfloat16, DataType::kFloat8E4M3, DataType::kFloat32}) {
    group.each([&](Communicator& comm) {
      const size_t element = size_of(type);
      std::vector<std::byte> x(100 * element);
      const auto write = [&](size_t i, float value) {
        if (type == DataType::kFloat32) {
          std::memcpy(&x[i * element], &value, element);
        } else {
          narrow_one(type, value, &x[i * element]);
        }
      };
      const auto read = [&](const std::vector<std::byte>& from, size_t i) {
        float value = 0;
        if (type != DataType::kFloat32) return widen_one(type, &from[i * element]);
        std::memcpy(&value, &from[i * element], element);
        return value;
      };
      for (size_t i = 0; i < 100; ++i) {
        write(i, static_cast<float>(i % 13) + static_cast<float>(comm.rank()));
      }
      auto made = Window::create(comm, x.data(), 100, type);
      ASSERT_TRUE(made) << made.status().to_string();
      const auto others = others_of(comm.rank(), 3);
      for (const Rank to : others) ASSERT_DONE((*made)->put(x.data(), to));
      ASSERT_DONE((*made)->flush());
      ASSERT_DONE(comm.barrier());
      std::vector<std::byte> out(x.size());
      ASSERT_DONE((*made)->update(out.data(), 1.0 / 3, weighed(others, 1.0 / 3)));
      for (size_t i = 0; i < 100; ++i) {
        const auto third = static_cast<float>(1.0 / 3);
        float exact = 0;
        for (Rank r = 0; r < 3; ++r) {
          exact += third * (static_cast<float>(i % 13) + static_cast<float>(r));
        }
        write(i, exact);
        const float rounded = read(x, i);
        EXPECT_NEAR(read(out, i), rounded, std::abs(rounded) * (element == 4 ? 1e-6 : 0))
            << name_of(type) << " at " << i;
      }
      ASSERT_DONE((*made)->free());
    });
  }
}

TEST(Window, RefusesBadInputBeforeAnythingIsSent) {
  RankGroup group(2, "loopback");
  group.each([&](Communicator& comm) {
    std::vector<double> x(4, 1);
    const auto refused = [&](const double* data, uint64_t count, DataType type,
                             const Window::Options& options, const std::string& part) {
      expect_refused(Window::create(comm, data, count, type, options).status(), part);
    };
    refused(nullptr, 4, DataType::kFloat64, {}, "null");
    refused(x.data(), 0, DataType::kFloat64, {}, "no elements");
    refused(x.data(), UINT64_MAX / 8, DataType::kFloat64, {}, "not bytes");
    refused(x.data(), 4, DataType::kInt32, {}, "float type");
    refused(x.data(), 4, static_cast<DataType>(77), {}, "gossamer::DataType");
    refused(x.data(), 4, DataType::kFloat64, {.timeout = milliseconds(-1)}, "negative");
    refused(x.data(), 4, DataType::kFloat64, {.name = std::string(64, 'x')}, "63 bytes");
    const auto window = window_of(comm, x);
    ASSERT_NE(window, nullptr);
    const auto foreign = graph_of("ring", 5);
    const Rank other = 1 - comm.rank();
    const double nan = std::nan("");
    expect_refused(window->put(nullptr, other), "null");
    expect_refused(window->put(x.data(), comm.rank()), "no target");
    expect_refused(window->put(x.data(), 2), "0 to 1");
    expect_refused(window->put(x.data(), -1), "no target");
    expect_refused(window->put(x.data(), other, nan), "finite");
    expect_refused(window->put(x.data(), *foreign, 0), "5 ranks");
    expect_refused(window->accumulate(x.data(), *foreign, 0), "5 ranks");
    expect_refused(window->accumulate(x.data(), other, HUGE_VAL), "finite");
    expect_refused(window->get(nullptr, other), "null");
    expect_refused(window->get(x.data(), comm.rank()), "no source");
    expect_refused(window->set(nullptr), "null");
    expect_refused(window->value(nullptr), "null");
    expect_refused(window->update(x.data(), *foreign, 0), "5 ranks");
    expect_refused(window->update(x.data(), nan, {}), "finite");
    const std::vector<Weight> twice{{other, 0.5}, {other, 0.5}};
    expect_refused(window->update(x.data(), 0, twice), "twice");
    const std::vector<Weight> unsound{{other, nan}};
    expect_refused(window->collect(x.data(), 0, unsound), "finite");
    const std::vector<Rank> self{comm.rank()};
    expect_refused(window->wait_versions(self, 1), "no source");
    expect_refused(window->wait_versions(*foreign, 0, 1), "5 ranks");
    EXPECT_EQ(window->clock(), 0U);
    EXPECT_EQ(window->version(17), 0U);
    ASSERT_DONE(comm.barrier());
    EXPECT_EQ(window->version(other), 0U);
    EXPECT_EQ(x, std::vector<double>(4, 1));
    ASSERT_DONE(window->free());
  });
}

TEST(Window, RanksThatMakeDifferentWindowsAreTold) {
  RankGroup group(3, "loopback");
  group.each([&](Communicator& comm) {
    const std::vector<double> x(4, 1);
    const bool odd = comm.rank() == 2;
    const auto told = [&](uint64_t count, DataType type, const std::string& name,
                          const std::string& part) {
      const auto made = Window::create(comm, x.data(), count, type, {.name = name});
      EXPECT_EQ(made.status().code(), Code::kMismatch) << made.status().to_string();
      EXPECT_EQ(made.status().rank(), 2);
      EXPECT_NE(made.status().message().find(part), std::string::npos) << made.status().message();
    };
    told(odd ? 3 : 4, DataType::kFloat64, "w", "rank 2 makes \"w\" of 3 float64");
    told(4, odd ? DataType::kFloat32 : DataType::kFloat64, "w", "of 4 float32");
    told(4, DataType::kFloat64, odd ? "v" : "w", "\"v\"");
    const auto window = window_of(comm, x);  // the communicator is as good as before
    ASSERT_NE(window, nullptr);
    ASSERT_DONE(window->free());
  });
}

TEST(Window, WaitsEndAtTheirDeadline) {
  RankGroup group(2, "loopback");
  group.each([&](Communicator& comm) {
    const std::vector<double> x(4, 1);
    const auto window = window_of(comm, x, milliseconds(1'000));
    ASSERT_NE(window, nullptr);
    const std::vector<Rank> other{1 - comm.rank()};
    const Status waited = window->wait_versions(other, 1);
    EXPECT_EQ(waited.code(), Code::kTimeout);
    EXPECT_EQ(waited.rank(), other[0]);
    EXPECT_NE(waited.message().find("version 0 and not 1"), std::string::npos) << waited.message();
    EXPECT_EQ(window->wait_versions(other, 1, std::chrono::nanoseconds(1)).code(), Code::kTimeout);
    EXPECT_TRUE(window->wait_versions(other, 0, std::chrono::nanoseconds(0)));
    if (comm.rank() == 0) {
      const Status freed = window->free();
      EXPECT_EQ(freed.code(), Code::kTimeout);
      EXPECT_NE(freed.message().find("free()"), std::string::npos) << freed.message();
    }
    ASSERT_DONE(comm.barrier());
    ASSERT_DONE(window->free());
  });
}

// All ranks made at once, as threads of one process.
TEST(Window, RanksOfOneProcessHaveWindows) {
  constexpr Rank kRanks = 3;
  auto all = Communicator::create_all(kRanks);
  ASSERT_TRUE(all) << all.status().to_string();
  on_threads(kRanks, [&](Rank r) {
    Communicator& comm = *(*all)[static_cast<size_t>(r)];
    const std::vector<double> x(100, r);
    const auto window = window_of(comm, x);
    ASSERT_NE(window, nullptr);
    const auto others = others_of(r, kRanks);
    for (const Rank to : others) ASSERT_DONE(window->put(x.data(), to));
    ASSERT_DONE(window->wait_versions(others, 1));
    std::vector<double> out(x.size());
    ASSERT_DONE(window->update(out.data(), 1, weighed(others, 1)));
    EXPECT_EQ(out.back(), 3);
    ASSERT_DONE(window->free());
  });
}

// Several windows of one communicator, and the communicator itself gone before them.
TEST(Window, WindowsAreIndependentOfEachOtherAndOfTheirCommunicator) {
  RankGroup group(2, "shm");
  std::vector<std::unique_ptr<Window>> kept(2);
  group.each([&](Communicator& comm) {
    const std::vector<double> x(100, comm.rank());
    const auto a = window_of(comm, x);
    auto b = window_of(comm, x);
    ASSERT_TRUE(a != nullptr && b != nullptr);
    const Rank other = 1 - comm.rank();
    ASSERT_DONE(a->put(x.data(), other));
    ASSERT_DONE(a->flush());
    ASSERT_DONE(comm.barrier());
    EXPECT_EQ(a->version(other), 1U);
    EXPECT_EQ(b->version(other), 0U);
    ASSERT_DONE(a->free());
    kept[static_cast<size_t>(comm.rank())] = std::move(b);
  });
  for (Rank r = 0; r < 2; ++r) group.leave(r);
  on_threads(2, [&](Rank r) {
    Window& window = *kept[static_cast<size_t>(r)];
    std::vector<double> out(100);
    ASSERT_DONE(window.get(out.data(), 1 - r));
    EXPECT_EQ(out[0], 1 - r);
    ASSERT_DONE(window.free());
  });
}

}  // namespace
}  // namespace gossamer
