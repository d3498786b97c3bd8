/* The C API's averaging jobs, from C99: three processes join, average, and leave; mass is kept. */

#define _POSIX_C_SOURCE 200809L

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "gossamer/gossamer_job.h"
#include "tests/c_ranks.h"

enum { kRanks = 3, kCount = 400, kShoves = 4 };

static void pause_ms(int ms) {
  struct timespec time;
  time.tv_sec = 0;
  time.tv_nsec = ms * 1000000L;
  nanosleep(&time, NULL);
}

static gossamerJobConfig_t config_of(const char* label) {
  gossamerJobConfig_t config = GOSSAMER_JOB_CONFIG_INITIALIZER;
  config.key = "a secret of the test from C";
  config.count = kCount;
  config.datatype = gossamerFloat64;
  config.label = label;
  config.interfaces = "=lo";
  config.probe_interval_ms = 1000; /* nobody is to be taken for dead on a busy machine */
  return config;
}

/* --- notes that processes leave each other beside the meeting place --- */

static void note_path(const char* place, const char* what, int rank, char* path, size_t room) {
  snprintf(path, room, "%s.%s.%d", place + strlen("file://"), what, rank);
}

static void leave_note(const char* place, const char* what, int rank, const char* text) {
  char path[128], unfinished[160];
  FILE* file;
  note_path(place, what, rank, path, sizeof(path));
  snprintf(unfinished, sizeof(unfinished), "%s.part", path);
  file = fopen(unfinished, "w");
  REQUIRE(file != NULL);
  fputs(text, file);
  REQUIRE(fclose(file) == 0 && rename(unfinished, path) == 0);
}

static int find_note(const char* place, const char* what, int rank, char* text, size_t room) {
  char path[128];
  FILE* file;
  note_path(place, what, rank, path, sizeof(path));
  file = fopen(path, "r");
  if (file == NULL) return 0;
  if (text != NULL) {
    const size_t bytes = fread(text, 1, room - 1, file);
    text[bytes] = '\0';
  }
  fclose(file);
  return 1;
}

static int all_noted(const char* place, const char* what) {
  int rank;
  for (rank = 0; rank < kRanks; ++rank) {
    if (!find_note(place, what, rank, NULL, 0)) return 0;
  }
  return 1;
}

static void remove_notes(const char* place) {
  char path[128];
  int rank;
  for (rank = 0; rank < kRanks; ++rank) {
    note_path(place, "address", rank, path, sizeof(path));
    unlink(path);
    note_path(place, "done", rank, path, sizeof(path));
    unlink(path);
  }
}

/* --- the job --- */

static size_t members_of(gossamerJob_t job) {
  size_t count = 0;
  DONE(gossamerJobMembers(job, &count, NULL));
  return count;
}

static void test_members(gossamerJob_t job, int rank) {
  gossamerJobMember_t members[kRanks];
  size_t count = kRanks;
  size_t i;
  int own = 0;
  DONE(gossamerJobMembers(job, &count, members));
  REQUIRE(count == kRanks);
  for (i = 0; i < count; ++i) {
    REQUIRE(strncmp(members[i].label, "member ", 7) == 0);
    REQUIRE(strchr(members[i].address, ':') != NULL && members[i].id != 0);
    REQUIRE(i == 0 || members[i - 1].id < members[i].id);
    if (!members[i].self) continue;
    ++own;
    REQUIRE(members[i].label[7] == '0' + rank);
    REQUIRE(strcmp(members[i].address, gossamerJobAddress(job)) == 0);
  }
  REQUIRE(own == 1);
  count = 1; /* with room for one */
  DONE(gossamerJobMembers(job, &count, members));
  REQUIRE(count == kRanks);
}

/* Steps until `wanted` members are there, and `left` have gone by leaving. */
static void step_until(gossamerJob_t job, double* x, size_t wanted, int left) {
  gossamerJobEvent_t event;
  for (;;) {
    size_t room = 1;
    DONE(gossamerJobStep(job, x, NULL, 0));
    DONE(gossamerJobEvents(job, &room, &event, 0));
    REQUIRE(room <= 1);
    if (room == 1) {
      REQUIRE(event.kind == gossamerJobJoined || event.kind == gossamerJobLeft);
      if (event.kind == gossamerJobLeft) --left;
    }
    if (members_of(job) == wanted && left <= 0 && room == 0) return;
    pause_ms(1);
  }
}

/* A member may shove what others have shoved before it. */
static void require_alike(const double* x) {
  int i;
  for (i = 0; i < kCount; ++i) {
    REQUIRE(fabs(x[i] - x[0]) < 1e-9);
    REQUIRE(x[i] > 1 - 1e-9 && x[i] < 1 + kRanks * kShoves + 1e-9);
  }
}

static gossamerJob_t take_seat(int rank, const char* place, double* x) {
  char label[16], address[GOSSAMER_JOB_ADDRESS_BYTES];
  gossamerJobConfig_t config;
  gossamerJob_t job = NULL;
  int i;
  snprintf(label, sizeof(label), "member %d", rank);
  config = config_of(label);
  for (i = 0; i < kCount; ++i) x[i] = rank == 0 ? 1 : -1;
  if (rank == 0) {
    DONE(gossamerJobStart(&job, &config, x));
    leave_note(place, "address", 0, gossamerJobAddress(job));
    return job;
  }
  while (!find_note(place, "address", 0, address, sizeof(address))) pause_ms(5);
  DONE(gossamerJobJoin(&job, address, &config, x));
  require_alike(x);
  return job;
}

static void run_rank(int rank, const char* place) {
  double x[kCount], gradient[kCount];
  gossamerJobAccount_t account;
  uint64_t before = 0, after = 0;
  gossamerJob_t job = take_seat(rank, place, x);
  int i;
  while (members_of(job) < kRanks) {
    DONE(gossamerJobStep(job, x, NULL, 0));
    pause_ms(1);
  }
  test_members(job, rank);
  DONE(gossamerJobSteps(job, &before));
  for (i = 0; i < kCount; ++i) gradient[i] = -1;
  for (i = 0; i < kShoves; ++i) DONE(gossamerJobStep(job, x, gradient, 1));
  DONE(gossamerJobSteps(job, &after));
  REQUIRE(after == before + kShoves);
  do {
    DONE(gossamerJobStep(job, x, NULL, 0));
    DONE(gossamerJobAccount(job, &account));
    pause_ms(1);
  } while (account.takes == 0 || account.pushes == 0);
  leave_note(place, "done", rank, "");
  while (!all_noted(place, "done")) {
    DONE(gossamerJobStep(job, x, NULL, 0));
    pause_ms(1);
  }
  require_alike(x);
  /* The last first: each waits until those before it have left. */
  step_until(job, x, (size_t)rank + 1, kRanks - 1 - rank);
  if (rank == 0) {
    DONE(gossamerJobStep(job, x, NULL, 0));
    DONE(gossamerJobAccount(job, &account));
    REQUIRE(fabs(account.weight - 1) < 1e-12 && account.under_way == 0);
    require_alike(x);
    remove_notes(place);
  }
  DONE(gossamerJobLeave(job, 20000));
  REQUIRE(gossamerJobStep(job, x, NULL, 0) == gossamerAborted);
  DONE(gossamerJobDestroy(job));
}

static void test_bad_calls(void) {
  double x[kCount] = {0};
  gossamerJobConfig_t config = config_of("alone");
  gossamerJobAccount_t account;
  gossamerJobEvent_t event;
  gossamerUniqueId id;
  gossamerJob_t job = NULL;
  uint64_t steps = 0;
  size_t room = 1;
  REFUSED(gossamerJobStart(NULL, &config, x), "result");
  REFUSED(gossamerJobStart(&job, NULL, x), "GOSSAMER_JOB_CONFIG_INITIALIZER");
  REFUSED(gossamerJobStart(&job, &config, NULL), "null");
  REFUSED(gossamerJobJoin(&job, NULL, &config, x), "address");
  config.count = 0;
  REFUSED(gossamerJobStart(&job, &config, x), "element");
  config = config_of("alone");
  config.key = NULL;
  REFUSED(gossamerJobStart(&job, &config, x), "key");
  config = config_of("alone");
  config.datatype = gossamerFloat16;
  REFUSED(gossamerJobStart(&job, &config, x), "float");
  config = config_of("alone");
  config.peers = (gossamerJobPeers_t)7;
  REFUSED(gossamerJobStart(&job, &config, x), "gossamerJobPeers_t");
  config = config_of("alone");
  config.size = 8;
  REFUSED(gossamerJobStart(&job, &config, x), "another version");
  REQUIRE(job == NULL && gossamerJobAddress(NULL) == NULL);
  REFUSED(gossamerJobStep(NULL, x, NULL, 0), "job is null");
  REFUSED(gossamerJobLeave(NULL, 1), "job is null");
  REFUSED(gossamerJobDestroy(NULL), "job is null");
  REFUSED(gossamerJobSteps(NULL, &steps), "job is null");
  REFUSED(gossamerJobAccount(NULL, &account), "job is null");
  REFUSED(gossamerJobMembers(NULL, &room, NULL), "job is null");
  REFUSED(gossamerJobEvents(NULL, &room, &event, 0), "job is null");
  config = config_of("alone");
  config.key = NULL;
  DONE(gossamerGetUniqueId(&id));
  config.id = &id;
  config.stuck_after_ms = -1;
  DONE(gossamerJobStart(&job, &config, x));
  REFUSED(gossamerJobStep(job, NULL, NULL, 0), "null");
  REFUSED(gossamerJobSteps(job, NULL), "result");
  REFUSED(gossamerJobAccount(job, NULL), "result");
  REFUSED(gossamerJobMembers(job, NULL, NULL), "result");
  REFUSED(gossamerJobEvents(job, &room, NULL, 0), "result");
  REFUSED(gossamerJobEvents(job, &room, &event, -1), "negative");
  REFUSED(gossamerJobLeave(job, -1), "negative");
  DONE(gossamerJobEvents(job, &room, &event, 0));
  REQUIRE(room == 0);
  DONE(gossamerJobStep(job, x, NULL, 0));
  DONE(gossamerJobLeave(job, 1000));
  DONE(gossamerJobDestroy(job));
}

int main(void) {
  /* Before any call here: the thread sanitizer lets no child of a process with threads start any,
   * and a unique id has one. */
  const int failed = run_ranks(kRanks, run_rank);
  test_bad_calls();
  return failed;
}
