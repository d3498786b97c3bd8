/* A C test's ranks: processes that meet at a file. */

#ifndef GOSSAMER_TESTS_C_RANKS_H
#define GOSSAMER_TESTS_C_RANKS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/c_require.h"

/* Runs `run_rank` in a process per rank; `place` is where they meet. Returns main()'s result. */
static int run_ranks(int size, void (*run_rank)(int rank, const char* place)) {
  enum { kMost = 16 };
  pid_t ranks[kMost];
  char folder[] = "/tmp/gossamer-c-XXXXXX";
  char place[64];
  int failures = 0;
  int i;
  REQUIRE(size <= kMost);
  setenv("GOSSAMER_SOCKET_IFNAME", "lo", 1);
  REQUIRE(mkdtemp(folder) != NULL);
  snprintf(place, sizeof(place), "file://%s/id", folder);
  for (i = 0; i < size; ++i) {
    ranks[i] = fork();
    REQUIRE(ranks[i] >= 0);
    if (ranks[i] == 0) {
      alarm(200); /* should another rank end before it meets this one */
      run_rank(i, place);
      exit(0);
    }
  }
  for (i = 0; i < size; ++i) {
    int status = 0;
    REQUIRE(waitpid(ranks[i], &status, 0) == ranks[i]);
    if (status != 0) ++failures;
  }
  unlink(place + strlen("file://"));
  rmdir(folder);
  if (failures == 0) puts("passed");
  return failures == 0 ? 0 : 1;
}

#endif
