// A process of the test's own.

#pragma once

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <utility>

namespace gossamer {

// Runs `body` in a child, which ends with 1 if a check of its own has failed, else with 0. It does
// not outlive its parent, nor `limit_s`.
template <class Body>
pid_t forked(unsigned limit_s, Body&& body) {
  std::fflush(nullptr);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  EXPECT_GE(child, 0);
  if (child != 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  ::alarm(limit_s);
  const bool failed_before = ::testing::Test::HasFailure();
  std::forward<Body>(body)();
  std::fflush(nullptr);
  ::_exit(!failed_before && ::testing::Test::HasFailure() ? 1 : 0);
}

}  // namespace gossamer
