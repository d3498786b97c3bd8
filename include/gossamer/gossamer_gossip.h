/* Decentralized training from C, one call per iteration: a local gradient step and some
 * communication with few neighbors.
 *
 *   gossamerGraph_t graph;
 *   gossamerMethod_t method;
 *   gossamerGraphCreate(&graph, "one_peer_exponential", nranks, 1);
 *   gossamerMethodCreate(&method, "decentralized_sgd", n, gossamerFloat32, comm);
 *   gossamerMethodBegin(method, x, comm);
 *   for (;;) {
 *     ...                                        // g = gradient at x, on this rank's data
 *     gossamerMethodStep(method, x, g, 0.1, graph, comm);
 *   }
 *   gossamerMethodFinish(method, x, graph, comm);
 *   gossamerMethodDestroy(method);
 *
 * Threads    One thread at a time per method. Begin, step and finish are collectives of their
 *            communicator.
 * Ownership  Buffers are lent for the call. A method owns its state; destroy it before the
 *            communicator of its last step.
 * Errors     As everywhere in gossamer/gossamer.h. Bad input is refused before anything is sent.
 *            After any other failure values and state are unspecified: load what was saved.
 */

#ifndef GOSSAMER_GOSSAMER_GOSSIP_H
#define GOSSAMER_GOSSAMER_GOSSIP_H

#include "gossamer/gossamer.h"

/* Read as C++ too, but written as C and named like NCCL. */
/* NOLINTBEGIN(modernize-*,google-*,readability-identifier-naming) */
#ifdef __cplusplus
extern "C" {
#endif

typedef struct gossamerMethod* gossamerMethod_t;

/* A method by name, with parameters where it has any, for x of `count` elements on the ranks of
 * this communicator:
 *
 *   decentralized_sgd:order=atc     D-PSGD; or awc: adapt then, or while combine
 *   push_sum, running_push_sum      for directed graphs
 *   local_sgd:interval=8            averages in every 8th step
 *   diloco:interval=500,outer_rate=0.7,outer_momentum=0.9
 *   choco:top_k=0.01,rate=0.02      compressed; or int8=256 instead of top_k
 *   pairwise_sgd:seed=1             AD-PSGD, waits for nobody
 *   overlap_push_sum:staleness=1    push-sum whose messages may be late
 *   gradient_tracking:order=atc, exact_diffusion, d2, extra   for different data per rank
 *   quasi_global_momentum:momentum=0.9,decay=0.9
 *   relay_sum                       over a graph that is a tree
 *   moshpit_average:group=8, epidemic_push:peers=1   in groups, and to random ranks
 *
 * All ranks make the same. All parameters: gossamer/gossip_factory.h. What each does, needs and
 * keeps: gossamer/gossip_methods.h, gossip_overlap.h, gossip_bias_corrected.h, gossip_groups.h. */
GOSSAMER_API gossamerResult_t gossamerMethodCreate(gossamerMethod_t* method, const char* name,
                                                   size_t count, gossamerDataType_t datatype,
                                                   gossamerComm_t comm);
/* Before the first step, once; only diloco has something to do here, which makes x the mean of all
 * ranks' x. */
GOSSAMER_API gossamerResult_t gossamerMethodBegin(gossamerMethod_t method, void* x,
                                                  gossamerComm_t comm);
/* One iteration: x - rate * gradient, and what the method does with the neighbors. `gradient` may
 * be NULL, but for gradient_tracking, exact_diffusion, d2 and extra. `graph` is NULL for diloco,
 * moshpit_average and epidemic_push, and for local_sgd where all ranks shall be averaged. */
GOSSAMER_API gossamerResult_t gossamerMethodStep(gossamerMethod_t method, void* x,
                                                 const void* gradient, double rate,
                                                 gossamerGraph_t graph, gossamerComm_t comm);
/* After the last step, or before the state is saved: what is under way between ranks ends. Only
 * pairwise_sgd and overlap_push_sum have something to do here. Steps may follow. */
GOSSAMER_API gossamerResult_t gossamerMethodFinish(gossamerMethod_t method, void* x,
                                                   gossamerGraph_t graph, gossamerComm_t comm);

/* Ranks are lost: goes on over the communicator that gossamerCommShrink() made without the same
 * ones, with a graph from gossamerGraphHeal(). Before the old communicator is destroyed. Only
 * pairwise_sgd does; gossamerUnavailable: make a method anew. */
GOSSAMER_API gossamerResult_t gossamerMethodShrink(gossamerMethod_t method, const int* lost,
                                                   int lost_count);

/* This rank's state, without x. With `state` NULL, *bytes becomes the size; else *bytes is the room
 * at `state`, and becomes what was written. gossamerInvalidArgument when there is too little. */
GOSSAMER_API gossamerResult_t gossamerMethodSave(gossamerMethod_t method, void* state,
                                                 size_t* bytes);
/* Into a method made with the same name, count and type. What gossamerMethodSave() did not write,
 * or was cut off or damaged, is refused and changes nothing. */
GOSSAMER_API gossamerResult_t gossamerMethodLoad(gossamerMethod_t method, const void* state,
                                                 size_t bytes);

GOSSAMER_API gossamerResult_t gossamerMethodDestroy(gossamerMethod_t method);

#ifdef __cplusplus
}
#endif

/* NOLINTEND(modernize-*,google-*,readability-identifier-naming) */
#endif /* GOSSAMER_GOSSAMER_GOSSIP_H */
