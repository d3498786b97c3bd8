#include "src/registration_cache.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <set>
#include <thread>

namespace gossamer {

namespace {

constexpr uint64_t kPage = 4096;

// Keeps account of what is registered.
class Ledger final : public Registrar {
 public:
  void* register_memory(std::span<std::byte> pages, std::string* why) override {
    if (refuse_above != 0 && registered + pages.size() > refuse_above) {
      *why = "no more";
      return nullptr;
    }
    EXPECT_EQ(reinterpret_cast<uintptr_t>(pages.data()) % kPage, 0u);
    EXPECT_EQ(pages.size() % kPage, 0u);
    registered += pages.size();
    auto* const handle = new std::span<std::byte>(pages);
    live.insert(handle);
    return handle;
  }
  void deregister_memory(void* handle) override {
    auto* const pages = static_cast<std::span<std::byte>*>(handle);
    ASSERT_EQ(live.erase(pages), 1u);
    registered -= pages->size();
    delete pages;
  }

  uint64_t refuse_above = 0;
  uint64_t registered = 0;
  std::set<std::span<std::byte>*> live;
};

class Pages {
 public:
  explicit Pages(uint64_t count, void* at = nullptr)
      : bytes_(count * kPage),
        data_(static_cast<std::byte*>(
            ::mmap(at, bytes_, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | (at == nullptr ? 0 : MAP_FIXED), -1, 0))) {}
  ~Pages() { unmap(); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  void unmap() {
    if (data_ != nullptr) ::munmap(data_, bytes_);
    data_ = nullptr;
  }
  std::byte* data() const { return data_; }
  std::span<std::byte> span() const { return {data_, bytes_}; }

 private:
  uint64_t bytes_;
  std::byte* data_;
};

class RegistrationCacheTest : public testing::Test {
 protected:
  RegistrationCache::Bounds bounds_;
  Ledger ledger_;
};

// With memory that is watched; where the kernel does not allow that, these say so.
class WatchedCache : public RegistrationCacheTest {
 protected:
  void SetUp() override {
    const std::string why = MemoryWatch::instance().unavailable();
    if (why.empty()) return;
    ASSERT_EQ(std::getenv("RDMA_VM"), nullptr) << why;
    GTEST_SKIP() << why;
  }
  RegistrationCache make() {
    return RegistrationCache(&ledger_, &MemoryWatch::instance(), bounds_);
  }
  // Uses memory once.
  static uint64_t touch(RegistrationCache* cache, const std::byte* data, uint64_t bytes) {
    Registration* const r = cache->acquire(data, bytes);
    EXPECT_NE(r, nullptr);
    if (r == nullptr) return 0;
    const uint64_t id = r->id;
    cache->release(r);
    return id;
  }
};

TEST_F(RegistrationCacheTest, MemoryThatNobodyVouchesForIsNotUsed) {
  RegistrationCache cache(&ledger_, nullptr, bounds_);
  const Pages pages(4);
  EXPECT_EQ(cache.acquire(pages.data(), 100), nullptr);
  EXPECT_EQ(cache.registrations(), 0u);
}

TEST_F(RegistrationCacheTest, APinServesEveryPartUntilItIsTakenBack) {
  RegistrationCache cache(&ledger_, nullptr, bounds_);
  const Pages pages(16);
  const std::span<std::byte> part = pages.span().subspan(kPage + 100, 8 * kPage);
  ASSERT_TRUE(cache.pin(part).is_ok());
  ASSERT_TRUE(cache.pin(part).is_ok());
  Registration* const all = cache.acquire(part.data(), part.size());
  ASSERT_NE(all, nullptr);
  EXPECT_LE(all->begin, reinterpret_cast<uintptr_t>(part.data()));
  EXPECT_GE(all->end, reinterpret_cast<uintptr_t>(part.data() + part.size()));
  EXPECT_EQ(cache.acquire(part.data() + 5000, 3), all);
  EXPECT_EQ(cache.acquire(part.data(), part.size() + 2 * kPage), nullptr) << "reaches beyond it";
  EXPECT_EQ(cache.registrations(), 1u);
  cache.unpin(part);
  EXPECT_EQ(cache.acquire(part.data(), 1), all) << "pinned twice";
  cache.unpin(part);
  EXPECT_EQ(cache.acquire(part.data(), 1), nullptr);
  EXPECT_EQ(ledger_.live.size(), 1u) << "still in use";
  for (int i = 0; i < 3; ++i) cache.release(all);
  EXPECT_TRUE(ledger_.live.empty());
}

TEST_F(RegistrationCacheTest, ARefusedPinSaysWhy) {
  ledger_.refuse_above = 4 * kPage;
  RegistrationCache cache(&ledger_, nullptr, bounds_);
  const Pages pages(8);
  const Status pinned = cache.pin(pages.span());
  EXPECT_EQ(pinned.code(), Code::kSystem);
  EXPECT_EQ(pinned.message(), "no more");
}

TEST_F(RegistrationCacheTest, NothingStaysRegisteredAfterIt) {
  const Pages pages(8);
  {
    RegistrationCache cache(&ledger_, nullptr, bounds_);
    ASSERT_TRUE(cache.pin(pages.span()).is_ok());
    EXPECT_EQ(ledger_.live.size(), 1u);
  }
  EXPECT_TRUE(ledger_.live.empty());
}

TEST_F(WatchedCache, EqualRequestsFindOneRegistration) {
  RegistrationCache cache = make();
  const Pages pages(64);
  const uint64_t a = touch(&cache, pages.data() + 10, 5 * kPage);
  const uint64_t b = touch(&cache, pages.data() + 5 * kPage + 10, 5 * kPage);
  const uint64_t all = touch(&cache, pages.data(), 64 * kPage);
  EXPECT_EQ(cache.registrations(), 3u);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(touch(&cache, pages.data() + 10, 5 * kPage), a);
    EXPECT_EQ(touch(&cache, pages.data() + 5 * kPage + 10, 5 * kPage), b);
    EXPECT_EQ(touch(&cache, pages.data(), 64 * kPage), all);
    EXPECT_EQ(touch(&cache, pages.data() + 40 * kPage, 7), all) << "the only one that holds it";
  }
  EXPECT_EQ(cache.registrations(), 3u);
}

TEST_F(WatchedCache, UnmappedMemoryIsNeverFoundAgain) {
  RegistrationCache cache = make();
  for (int round = 0; round < 50; ++round) {
    Pages pages(32);
    void* const at = pages.data();
    const uint64_t before = touch(&cache, pages.data(), 32 * kPage);
    pages.unmap();
    const Pages again(32, at);
    ASSERT_EQ(again.data(), at);
    ASSERT_NE(touch(&cache, again.data(), 32 * kPage), before) << round;
    ASSERT_LE(ledger_.live.size(), 2u) << "what has gone is not kept";
  }
}

TEST_F(WatchedCache, MemoryGivenBackOrMovedIsNotFoundEither) {
  RegistrationCache cache = make();
  const Pages pages(32);
  const uint64_t first = touch(&cache, pages.data(), 32 * kPage);
  ASSERT_EQ(::madvise(pages.data() + 4 * kPage, kPage, MADV_DONTNEED), 0);
  const uint64_t second = touch(&cache, pages.data(), 32 * kPage);
  EXPECT_NE(first, second);
  void* const moved = ::mremap(pages.data(), 32 * kPage, 64 * kPage, MREMAP_MAYMOVE);
  ASSERT_NE(moved, MAP_FAILED);
  const uint64_t third = touch(&cache, static_cast<std::byte*>(moved), 32 * kPage);
  EXPECT_NE(second, third);
  ::munmap(moved, 64 * kPage);
  const Pages back(32, pages.data());
  const uint64_t fourth = touch(&cache, back.data(), 32 * kPage);
  EXPECT_NE(second, fourth);
  EXPECT_NE(third, fourth);
}

TEST_F(WatchedCache, WhatHasGoneInUseEndsWithItsLastUse) {
  RegistrationCache cache = make();
  Pages pages(8);
  Registration* const r = cache.acquire(pages.data(), 8 * kPage);
  ASSERT_NE(r, nullptr);
  pages.unmap();
  const Pages other(8);
  (void)touch(&cache, other.data(), kPage);
  EXPECT_EQ(ledger_.live.size(), 2u);
  EXPECT_TRUE(r->gone);
  cache.release(r);
  EXPECT_EQ(ledger_.live.size(), 1u);
}

TEST_F(WatchedCache, TheLeastRecentlyUsedGoFirstButNeverThoseInUseOrPinned) {
  bounds_ = {.entries = 4, .bytes = 1 << 30};
  RegistrationCache cache = make();
  const Pages pages(64);
  const auto at = [&](int i) { return pages.data() + 8 * kPage * static_cast<unsigned>(i); };
  ASSERT_TRUE(cache.pin(std::span(at(0), kPage)).is_ok());
  Registration* const used = cache.acquire(at(1), kPage);
  ASSERT_NE(used, nullptr);
  const uint64_t second = touch(&cache, at(2), kPage);
  const uint64_t third = touch(&cache, at(3), kPage);
  EXPECT_EQ(touch(&cache, at(2), kPage), second);
  (void)touch(&cache, at(4), kPage);  // the third has to go
  EXPECT_EQ(cache.entries(), 4u);
  EXPECT_EQ(touch(&cache, at(2), kPage), second);
  EXPECT_NE(touch(&cache, at(3), kPage), third);
  EXPECT_EQ(cache.acquire(at(1), kPage), used);
  cache.release(used);
  cache.release(used);
}

TEST_F(WatchedCache, BytesAreBoundedToo) {
  bounds_ = {.entries = 100, .bytes = 16 * kPage};
  RegistrationCache cache = make();
  const Pages pages(64);
  for (unsigned i = 0; i < 8; ++i) (void)touch(&cache, pages.data() + 8 * kPage * i, 8 * kPage);
  EXPECT_LE(cache.bytes(), 16 * kPage);
  EXPECT_EQ(ledger_.registered, cache.bytes());
  EXPECT_EQ(cache.acquire(pages.data(), 32 * kPage), nullptr) << "larger than all there may be";
}

TEST_F(WatchedCache, ARefusalMakesRoomAndTriesAgain) {
  ledger_.refuse_above = 16 * kPage;
  RegistrationCache cache = make();
  const Pages pages(64);
  for (unsigned i = 0; i < 8; ++i) (void)touch(&cache, pages.data() + 8 * kPage * i, 8 * kPage);
  EXPECT_EQ(cache.registrations(), 8u);
  EXPECT_LE(ledger_.registered, 16 * kPage);
  EXPECT_TRUE(cache.refusal().empty());
  EXPECT_EQ(cache.acquire(pages.data(), 32 * kPage), nullptr);
  EXPECT_EQ(cache.refusal(), "no more");
}

TEST_F(WatchedCache, AThreadThatUnmapsHoldsNobodyUp) {
  RegistrationCache cache = make();
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop) {
      Pages pages(4);
      (void)MemoryWatch::instance().watch({reinterpret_cast<uintptr_t>(pages.data()),
                                           reinterpret_cast<uintptr_t>(pages.data()) + 4 * kPage});
      pages.data()[0] = std::byte{1};
    }
  });
  const Pages mine(16);
  uint64_t id = 0;
  for (int i = 0; i < 300; ++i) {
    const uint64_t now = touch(&cache, mine.data(), 16 * kPage);
    ASSERT_TRUE(i == 0 || now == id) << "others' unmapping is none of its business";
    id = now;
  }
  stop = true;
  other.join();
}

TEST_F(WatchedCache, AChildWatchesNothing) {
  const Pages pages(4);
  const auto begin = reinterpret_cast<uintptr_t>(pages.data());
  ASSERT_TRUE(MemoryWatch::instance().watch({begin, begin + 4 * kPage}));
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const bool watched = MemoryWatch::instance().watch({begin, begin + 4 * kPage});
    ::munmap(pages.data(), 4 * kPage);  // must not wait for a thread that is not there
    _exit(watched ? 1 : 0);
  }
  int how = 1;
  ::waitpid(child, &how, 0);
  EXPECT_TRUE(WIFEXITED(how) && WEXITSTATUS(how) == 0);
}

}  // namespace

}  // namespace gossamer
