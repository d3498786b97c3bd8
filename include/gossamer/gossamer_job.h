/* Averaging jobs for C: processes that train or average together, which come and go while it runs.
 * What each call promises, and what becomes of the average when members die, is said in
 * gossamer/averaging_job.h; here is how C calls it.
 *
 *   gossamerJobConfig_t config = GOSSAMER_JOB_CONFIG_INITIALIZER;
 *   gossamerJob_t job;
 *   config.key = secret;
 *   config.count = n;
 *   gossamerJobStart(&job, &config, x);                       the first member; every other:
 *   gossamerJobJoin(&job, "10.0.0.1:4711", &config, x);       through any member
 *   for (;;) {
 *     ...                                                     g = gradient at x, on own data
 *     gossamerJobStep(job, x, g, 0.1);
 *   }
 *   gossamerJobLeave(job, 10000);
 *   gossamerJobDestroy(job);
 *
 * Threads    Step, leave and destroy: one thread at a time. All else: any thread.
 * Ownership  Buffers and strings are lent for the call.
 * Units      Counts are elements; times are milliseconds.
 * Errors     As in gossamer/gossamer.h; gossamerGetLastError(NULL) has the sentence.
 * Saving     Nothing of a job is to be saved. A member that was stopped comes back by joining
 * again: it starts from the values of those that went on. To take up a whole job that has ended,
 *            keep x and start with it.
 */

#ifndef GOSSAMER_GOSSAMER_JOB_H
#define GOSSAMER_GOSSAMER_JOB_H
/* NOLINTBEGIN(modernize-*,google-*,readability-identifier-naming) */

#include "gossamer/gossamer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gossamerJob* gossamerJob_t; /* one member */

/* Whom a step pushes to: 1, 2, 4, ... places further in turn, or anybody. */
typedef enum { gossamerJobOnePeerExponential = 0, gossamerJobRandomPeers = 1 } gossamerJobPeers_t;

/* Initialise with GOSSAMER_JOB_CONFIG_INITIALIZER. All members give the same key or id, name, count
 * and datatype. NULL and 0 mean the default. */
typedef struct {
  size_t size;                /* of this struct, set by the initialiser */
  const char* key;            /* a secret; long and random */
  const gossamerUniqueId* id; /* instead of it */
  const char* name;           /* jobs of one key and different names do not mix; "job" */
  size_t count;
  gossamerDataType_t datatype; /* gossamerFloat32 or gossamerFloat64 */
  gossamerJobPeers_t peers;
  uint64_t seed;          /* of gossamerJobRandomPeers */
  const char* label;      /* for the others to see; at most 64 bytes */
  const char* interfaces; /* as GOSSAMER_SOCKET_IFNAME, which holds when NULL */
  const char* port_range; /* "first-last", or one port; GOSSAMER_PORT_RANGE holds when NULL */
  int probe_interval_ms;  /* 0: 1000. A death is known after about 7 among 10 members */
  int stuck_after_ms;     /* of a member that does not step while others do; 0: 30000, -1: never */
  int timeout_ms;         /* of joining; 0: 30000 */
} gossamerJobConfig_t;
#define GOSSAMER_JOB_CONFIG_INITIALIZER                                \
  {                                                                    \
    sizeof(gossamerJobConfig_t), NULL, NULL, NULL, 0, gossamerFloat32, \
        gossamerJobOnePeerExponential, 1, NULL, NULL, NULL, 0, 0, 0    \
  }

/* The first member, with x as its values. */
GOSSAMER_API gossamerResult_t gossamerJobStart(gossamerJob_t* job,
                                               const gossamerJobConfig_t* config, const void* x);
/* Joins the job of the member at `address`; x becomes the values of a member. */
GOSSAMER_API gossamerResult_t gossamerJobJoin(gossamerJob_t* job, const char* address,
                                              const gossamerJobConfig_t* config, void* x);
/* One iteration: what has come is added, x - rate * gradient, and half goes to a peer; waits for
 * nobody. `gradient` may be NULL. */
GOSSAMER_API gossamerResult_t gossamerJobStep(gossamerJob_t job, void* x, const void* gradient,
                                              double rate);
/* Hands all that this member holds to a peer and ends; then destroy it. */
GOSSAMER_API gossamerResult_t gossamerJobLeave(gossamerJob_t job, int timeout_ms);
/* Without gossamerJobLeave() before, the member is dead to the others. */
GOSSAMER_API gossamerResult_t gossamerJobDestroy(gossamerJob_t job);

/* "10.0.0.1:4711": what others join through. Lives as long as the job; NULL without one. */
GOSSAMER_API const char* gossamerJobAddress(gossamerJob_t job);
/* Iterations; begins at the count of the member that values were copied from. */
GOSSAMER_API gossamerResult_t gossamerJobSteps(gossamerJob_t job, uint64_t* steps);

#define GOSSAMER_JOB_ADDRESS_BYTES 96
#define GOSSAMER_JOB_LABEL_BYTES 65
typedef struct {
  uint64_t id;
  char address[GOSSAMER_JOB_ADDRESS_BYTES];
  char label[GOSSAMER_JOB_LABEL_BYTES];
  uint64_t steps; /* as last heard from itself */
  int stuck;
  int self;
} gossamerJobMember_t;
/* All that are there, by id, as far as this one knows, this one included. *count is the room at
 * `members` and becomes how many there are; those that there is no room for are left out. `members`
 * may be NULL. */
GOSSAMER_API gossamerResult_t gossamerJobMembers(gossamerJob_t job, size_t* count,
                                                 gossamerJobMember_t* members);

typedef enum {
  gossamerJobJoined = 0,
  gossamerJobDied = 1,     /* what it held is written off */
  gossamerJobLeft = 2,     /* what it held was handed on */
  gossamerJobReturned = 3, /* it had been taken for dead; of oneself: by the others */
  gossamerJobStuck = 4,    /* alive, and does not step while others do */
  gossamerJobMoving = 5    /* steps again */
} gossamerJobEventKind_t;
typedef struct {
  gossamerJobEventKind_t kind;
  gossamerJobMember_t member;
} gossamerJobEvent_t;
/* What happened, oldest first, each told once; waits up to `wait_ms` for something. *count is the
 * room at `events` and becomes how many came; later ones wait for the next call. */
GOSSAMER_API gossamerResult_t gossamerJobEvents(gossamerJob_t job, size_t* count,
                                                gossamerJobEvent_t* events, int wait_ms);

/* Where this member's mass is and has been, all of it as weight. */
typedef struct {
  double weight;     /* held, without what has arrived since the last step */
  double under_way;  /* sent, not confirmed */
  double taken_back; /* sent to members that died or left before they confirmed it */
  uint64_t pushes;   /* messages sent */
  uint64_t takes;    /* messages taken */
  uint64_t keeps;    /* steps that pushed nothing, since no peer was free */
} gossamerJobAccount_t;
GOSSAMER_API gossamerResult_t gossamerJobAccount(gossamerJob_t job, gossamerJobAccount_t* account);

#ifdef __cplusplus
}
#endif

/* NOLINTEND(modernize-*,google-*,readability-identifier-naming) */
#endif /* GOSSAMER_GOSSAMER_JOB_H */
