/* The C API's membership beside the transports, from C99: a rank that hangs is told of. */

#define _POSIX_C_SOURCE 200809L

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/c_ranks.h"

enum { kRanks = 3, kHangs = 2 };

static void pause_ms(int ms) {
  struct timespec time;
  time.tv_sec = 0;
  time.tv_nsec = ms * 1000000L;
  nanosleep(&time, NULL);
}

static void exchange(gossamerComm_t comm, int rank, int go_on, int* others_go_on) {
  gossamerWork_t work = NULL;
  DONE(gossamerSendStart(&go_on, 1, gossamerInt32, 1 - rank, comm, &work));
  DONE(gossamerRecv(others_go_on, 1, gossamerInt32, 1 - rank, comm));
  DONE(gossamerWorkWait(work, -1));
  DONE(gossamerWorkFree(work));
}

/* Ranks 0 and 1 exchange messages until both have been told that rank 2 hangs. */
static void find_stuck(gossamerComm_t comm, int rank) {
  int stuck[kRanks];
  int count = 0;
  int others_go_on = 1;
  int seen = 0;
  while (!seen || others_go_on) {
    DONE(gossamerCommStuckRanks(comm, &count, stuck));
    REQUIRE(count <= 1 && (count == 0 || stuck[0] == kHangs));
    seen = seen || count == 1;
    exchange(comm, rank, !seen, &others_go_on);
    pause_ms(2);
  }
}

static void run_rank(int rank, const char* place) {
  gossamerConfig_t config = GOSSAMER_CONFIG_INITIALIZER;
  gossamerComm_t comm = NULL;
  char found[80];
  int count = -1;
  config.membership = 1;
  config.probe_interval_ms = 50;
  config.stuck_after_ms = 400;
  config.timeout_ms = 100000;
  snprintf(found, sizeof(found), "%s.found", place + strlen("file://"));
  DONE(gossamerCommInitRendezvous(&comm, kRanks, place, rank, &config));
  DONE(gossamerBarrier(comm));
  if (rank == kHangs) {
    while (access(found, F_OK) != 0) pause_ms(5); /* alive, and finishes nothing */
    DONE(gossamerCommStuckRanks(comm, &count, NULL));
  } else {
    find_stuck(comm, rank);
    if (rank == 0) {
      FILE* file = fopen(found, "w");
      REQUIRE(file != NULL && fclose(file) == 0);
    }
  }
  DONE(gossamerBarrier(comm)); /* it was no failure */
  if (rank == 0) unlink(found);
  REFUSED(gossamerCommStuckRanks(comm, NULL, NULL), "result");
  REFUSED(gossamerCommStuckRanks(NULL, &count, NULL), "communicator is null");
  DONE(gossamerCommDestroy(comm));
}

int main(void) {
  return run_ranks(kRanks, run_rank);
}
