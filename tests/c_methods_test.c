/* The C API's gossip methods, from C99, among three processes. */

#define _POSIX_C_SOURCE 200809L

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gossamer/gossamer_gossip.h"
#include "tests/c_ranks.h"

enum { kRanks = 3, kCount = 64 };

static const gossamerDataType_t kType = gossamerFloat64;

static void fill(double* x, int rank) {
  int i;
  for (i = 0; i < kCount; ++i) x[i] = 10 * rank + i;
}

/* How far x is from the mean of all ranks' first values. */
static double distance(const double* x) {
  double most = 0;
  int i;
  for (i = 0; i < kCount; ++i) {
    const double apart = fabs(x[i] - (10 + i));
    if (apart > most) most = apart;
  }
  return most;
}

/* Where a method ends what is under way, ranks wait for each other: a part. */
typedef struct {
  const char* name;
  int parts;
  int steps;    /* in each part */
  double limit; /* of the distance after all parts */
} Case;

static void run_parts(const Case* c, gossamerMethod_t method, gossamerGraph_t graph, double* x,
                      gossamerComm_t comm) {
  static const double zero[kCount]; /* some methods want a gradient */
  int part, t;
  for (part = 0; part < c->parts; ++part) {
    for (t = 0; t < c->steps; ++t) DONE(gossamerMethodStep(method, x, zero, 0.1, graph, comm));
    DONE(gossamerMethodFinish(method, x, graph, comm));
  }
  if (!(distance(x) < c->limit)) {
    fprintf(stderr, "%s: %g from the mean\n", c->name, distance(x));
  }
  REQUIRE(distance(x) < c->limit);
}

/* Comes to the mean, saves, and goes on in another that was loaded. */
static void test_method(Case c, gossamerGraph_t graph, gossamerComm_t comm, int rank) {
  gossamerMethod_t method = NULL;
  gossamerMethod_t other = NULL;
  double x[kCount];
  size_t bytes = 0;
  size_t room = 0;
  char* state = NULL;
  fill(x, rank);
  DONE(gossamerMethodCreate(&method, c.name, kCount, kType, comm));
  DONE(gossamerMethodBegin(method, x, comm));
  run_parts(&c, method, graph, x, comm);
  DONE(gossamerMethodSave(method, NULL, &bytes));
  REQUIRE(bytes > 0);
  state = malloc(bytes);
  REQUIRE(state != NULL);
  room = bytes - 1;
  REFUSED(gossamerMethodSave(method, state, &room), "too little room");
  REQUIRE(room == bytes);
  DONE(gossamerMethodSave(method, state, &room));
  REQUIRE(room == bytes);
  DONE(gossamerMethodDestroy(method));
  DONE(gossamerMethodCreate(&other, c.name, kCount, kType, comm));
  REFUSED(gossamerMethodLoad(other, state, bytes - 1), "state");
  state[bytes / 2] = (char)(state[bytes / 2] ^ 1);
  REQUIRE(gossamerMethodLoad(other, state, bytes) == gossamerInvalidArgument);
  state[bytes / 2] = (char)(state[bytes / 2] ^ 1);
  DONE(gossamerMethodLoad(other, state, bytes));
  run_parts(&c, other, graph, x, comm);
  DONE(gossamerMethodDestroy(other));
  free(state);
}

static void test_methods(gossamerGraph_t graph, gossamerComm_t comm, int rank) {
  static const Case kWithGraph[] = {{"decentralized_sgd", 1, 1, 1e-12},
                                    {"decentralized_sgd:order=awc", 1, 1, 1e-12},
                                    {"push_sum", 1, 1, 1e-12},
                                    {"running_push_sum", 1, 1, 1e-12},
                                    {"local_sgd:interval=2", 1, 2, 1e-12},
                                    {"choco:int8=16,rate=1", 1, 20, 1e-6},
                                    {"choco:top_k=0.5,rate=0.5", 1, 100, 1e-3},
                                    /* at least one exchange in each part */
                                    {"pairwise_sgd:seed=3", 60, 2, 1},
                                    {"gradient_tracking", 1, 2, 1e-12},
                                    {"gradient_tracking:order=awc", 1, 2, 1e-12},
                                    {"overlap_push_sum:staleness=2", 1, 150, 1e-3},
                                    {"quasi_global_momentum:momentum=0,decay=0", 1, 1, 1e-12},
                                    {"exact_diffusion", 1, 100, 1e-6},
                                    {"extra", 1, 100, 1e-6}};
  static const Case kWithout[] = {{"local_sgd:interval=2", 1, 2, 1e-12},
                                  {"moshpit_average:group=2,grouping=random", 1, 80, 1e-6},
                                  {"epidemic_push:peers=1,form=oracle", 1, 80, 1e-6},
                                  {"diloco:interval=2,outer_rate=1,outer_momentum=0", 1, 2, 1e-12}};
  size_t i;
  for (i = 0; i < sizeof(kWithGraph) / sizeof(kWithGraph[0]); ++i) {
    test_method(kWithGraph[i], graph, comm, rank);
  }
  for (i = 0; i < sizeof(kWithout) / sizeof(kWithout[0]); ++i) {
    test_method(kWithout[i], NULL, comm, rank);
  }
}

static void test_gradient(gossamerGraph_t graph, gossamerComm_t comm, int rank) {
  gossamerMethod_t method = NULL;
  double x[kCount], g[kCount];
  int i;
  fill(x, rank);
  for (i = 0; i < kCount; ++i) g[i] = rank;
  DONE(gossamerMethodCreate(&method, "decentralized_sgd:order=awc", kCount, kType, comm));
  DONE(gossamerMethodStep(method, x, g, 0.5, graph, comm));
  for (i = 0; i < kCount; ++i) REQUIRE(fabs(x[i] - (10 + i - 0.5 * rank)) < 1e-12);
  DONE(gossamerMethodDestroy(method));
}

static void test_bad_calls(gossamerGraph_t graph, gossamerComm_t comm) {
  static const struct {
    const char* name;
    const char* part;
  } kBad[] = {{"sgd", "there are decentralized_sgd, push_sum"},
              {"", "there are decentralized_sgd"},
              {"push_sum:k=1", "it has none"},
              {"local_sgd:k=1", "it has interval=1"},
              {"local_sgd:interval", "write interval=VALUE"},
              {"local_sgd:interval=0", "interval"},
              {"local_sgd:interval=2,interval=3", "twice"},
              {"local_sgd:interval=x", "interval"},
              {"diloco:outer_rate=-1", "rate"},
              {"diloco:outer_rate=nan", "no number"},
              {"diloco:outer_momentum=0.5x", "no number"},
              {"diloco:interval=-1", "interval"},
              {"decentralized_sgd:order=other", "neither atc nor awc"},
              {"choco", "one codec"},
              {"choco:top_k=0.1,int8=256,rate=1", "one codec"},
              {"choco:top_k=0.1", "rate"},
              {"choco:top_k=2,rate=1", "ratio"},
              {"choco:int8=-1,rate=1", "int8"},
              {"gradient_tracking:order=other", "neither atc nor awc"},
              {"overlap_push_sum:staleness=5000", "staleness"},
              {"moshpit_average:group=1", "group"},
              {"moshpit_average:grouping=odd", "neither grid nor random"},
              {"epidemic_push:form=odd", "neither local nor oracle"},
              {"epidemic_push:peers=100", "peers"},
              {"quasi_global_momentum:decay=1", "decay"},
              {"pairwise_sgd:seed=-1", "seed"}};
  gossamerMethod_t method = NULL;
  double x[kCount] = {0};
  size_t bytes = 0;
  size_t i;
  for (i = 0; i < sizeof(kBad) / sizeof(kBad[0]); ++i) {
    REFUSED(gossamerMethodCreate(&method, kBad[i].name, kCount, kType, comm), kBad[i].part);
    REQUIRE(method == NULL);
  }
  REFUSED(gossamerMethodCreate(&method, "push_sum", 0, kType, comm), "no elements");
  REFUSED(gossamerMethodCreate(&method, "push_sum", 1, gossamerInt32, comm), "float");
  REFUSED(gossamerMethodCreate(&method, NULL, 1, kType, comm), "name is null");
  REFUSED(gossamerMethodCreate(&method, "push_sum", 1, kType, NULL), "communicator is null");
  REFUSED(gossamerMethodCreate(NULL, "push_sum", 1, kType, comm), "result");
  REFUSED(gossamerMethodBegin(NULL, x, comm), "gossamerMethodCreate");
  REFUSED(gossamerMethodStep(NULL, x, NULL, 0, graph, comm), "gossamerMethodCreate");
  REFUSED(gossamerMethodFinish(NULL, x, graph, comm), "gossamerMethodCreate");
  REFUSED(gossamerMethodSave(NULL, NULL, &bytes), "gossamerMethodCreate");
  REFUSED(gossamerMethodLoad(NULL, x, 1), "gossamerMethodCreate");
  REFUSED(gossamerMethodDestroy(NULL), "gossamerMethodCreate");
  DONE(gossamerMethodCreate(&method, "push_sum", kCount, kType, comm));
  REFUSED(gossamerMethodBegin(method, x, NULL), "communicator is null");
  REFUSED(gossamerMethodStep(method, x, NULL, 0, graph, NULL), "communicator is null");
  REFUSED(gossamerMethodStep(method, x, NULL, 0, NULL, comm), "needs a graph");
  REFUSED(gossamerMethodStep(method, NULL, NULL, 0, graph, comm), "null");
  REFUSED(gossamerMethodFinish(method, x, graph, NULL), "communicator is null");
  REFUSED(gossamerMethodSave(method, NULL, NULL), "result");
  REFUSED(gossamerMethodLoad(method, NULL, 1), "state is null");
  DONE(gossamerMethodDestroy(method));
  DONE(gossamerMethodCreate(&method, "diloco", kCount, kType, comm));
  REFUSED(gossamerMethodStep(method, x, NULL, 0, graph, comm), "takes no graph");
  REFUSED(gossamerMethodStep(method, x, NULL, 0, NULL, comm), "begin");
  DONE(gossamerMethodDestroy(method));
  DONE(gossamerMethodCreate(&method, "pairwise_sgd", kCount, kType, comm));
  REFUSED(gossamerMethodFinish(method, x, NULL, comm), "needs the graph");
  DONE(gossamerMethodDestroy(method));
}

static void test_heal(gossamerGraph_t graph) {
  static const int lost[] = {1};
  gossamerGraph_t healed = NULL;
  int sources[kRanks];
  int count = 0;
  DONE(gossamerGraphHeal(graph, lost, 1, &healed));
  DONE(gossamerGraphSources(healed, 0, 1, &count, sources));
  REQUIRE(count == 1 && sources[0] == 0);
  DONE(gossamerGraphDestroy(healed));
  REFUSED(gossamerGraphHeal(graph, lost, 0, &healed), "no rank is lost");
  REFUSED(gossamerGraphHeal(graph, NULL, 1, &healed), "no rank is lost");
  REFUSED(gossamerGraphHeal(NULL, lost, 1, &healed), "gossamerGraphCreate");
  REFUSED(gossamerGraphHeal(graph, lost, 1, NULL), "result");
}

/* Rank 2 leaves without a word to the method; the others go on by themselves. */
static void test_shrink(gossamerGraph_t graph, gossamerComm_t comm, int rank) {
  static const int lost[] = {kRanks - 1};
  gossamerMethod_t method = NULL;
  gossamerMethod_t other = NULL;
  gossamerGraph_t healed = NULL;
  gossamerComm_t rest = NULL;
  double x[kCount];
  int i, t;
  fill(x, rank);
  DONE(gossamerMethodCreate(&method, "pairwise_sgd", kCount, kType, comm));
  for (t = 0; t < 20; ++t) {
    if (gossamerMethodStep(method, x, NULL, 0, graph, comm) != gossamerSuccess) break;
  }
  if (rank == kRanks - 1) {
    DONE(gossamerCommAbort(comm));
    DONE(gossamerMethodDestroy(method));
    return;
  }
  DONE(gossamerCommShrink(comm, lost, 1, &rest, NULL, GOSSAMER_SHRINK_ABORT));
  DONE(gossamerGraphHeal(graph, lost, 1, &healed));
  REFUSED(gossamerMethodShrink(method, lost, 0), "no rank is lost");
  REFUSED(gossamerMethodShrink(NULL, lost, 1), "gossamerMethodCreate");
  REFUSED(gossamerMethodShrink(method, &rank, 1), "cannot be lost");
  DONE(gossamerMethodShrink(method, lost, 1));
  DONE(gossamerMethodCreate(&other, "push_sum", kCount, kType, rest));
  REQUIRE(gossamerMethodShrink(other, lost, 1) == gossamerUnavailable);
  DONE(gossamerMethodDestroy(other));
  /* At least one exchange in each part: then both have the same. */
  for (t = 0; t < 3; ++t) {
    DONE(gossamerMethodStep(method, x, NULL, 0, healed, rest));
    DONE(gossamerMethodFinish(method, x, healed, rest));
  }
  DONE(gossamerMethodDestroy(method));
  {
    double sum[kCount];
    DONE(gossamerAllReduce(x, sum, kCount, kType, gossamerSum, rest));
    for (i = 0; i < kCount; ++i) REQUIRE(fabs(sum[i] - 2 * x[i]) < 1e-12);
  }
  DONE(gossamerGraphDestroy(healed));
  DONE(gossamerCommDestroy(rest));
}

static void run_rank(int rank, const char* place) {
  gossamerComm_t comm = NULL;
  gossamerGraph_t graph = NULL;
  DONE(gossamerCommInitRendezvous(&comm, kRanks, place, rank, NULL));
  DONE(gossamerGraphCreate(&graph, "complete", kRanks, 1));
  test_heal(graph);
  test_methods(graph, comm, rank);
  test_gradient(graph, comm, rank);
  test_bad_calls(graph, comm);
  DONE(gossamerBarrier(comm));
  test_shrink(graph, comm, rank);
  DONE(gossamerGraphDestroy(graph));
  DONE(gossamerCommDestroy(comm));
}

int main(void) {
  return run_ranks(kRanks, run_rank);
}
