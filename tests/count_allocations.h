// Counts what this thread and all threads allocate: include it in one file of an executable, whose
// malloc(), calloc() and realloc() it then defines. Not under sanitizers, which have their own:
// GOSSAMER_TEST_COUNTS_ALLOCATIONS is 0 there.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define GOSSAMER_TEST_COUNTS_ALLOCATIONS 0
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define GOSSAMER_TEST_COUNTS_ALLOCATIONS 0
#endif
#ifndef GOSSAMER_TEST_COUNTS_ALLOCATIONS
#define GOSSAMER_TEST_COUNTS_ALLOCATIONS 1
#endif

inline thread_local uint64_t allocations = 0;      // by this thread
inline std::atomic<uint64_t> all_allocations = 0;  // by all threads

#if GOSSAMER_TEST_COUNTS_ALLOCATIONS
extern "C" {
void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t count, size_t bytes);
void* __libc_realloc(void* memory, size_t bytes);

// Before those of the C library; operator new comes here too.
void* malloc(size_t bytes) {
  ++allocations;
  all_allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_malloc(bytes);
}
void* calloc(size_t count, size_t bytes) {
  ++allocations;
  all_allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_calloc(count, bytes);
}
void* realloc(void* memory, size_t bytes) {
  ++allocations;
  all_allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_realloc(memory, bytes);
}
}
#endif
