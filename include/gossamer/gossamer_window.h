/* Windows for C: gossip without rounds. What each call promises, and when it waits, is said in
 * gossamer/gossip_window.h; here is how C calls it.
 *
 *   gossamerWindow_t window;
 *   gossamerWindowCreate(&window, "weights", x, n, gossamerFloat32, comm, 0);
 *   for (round = 0;; ++round) {
 *     ...                                                    change x: a gradient step
 *     gossamerWindowPutNeighbors(window, x, 1.0, graph, round);
 *     gossamerWindowSet(window, x);
 *     gossamerWindowUpdateNeighbors(window, x, graph, round);
 *   }
 *   gossamerWindowFree(window);
 *
 * Threads    Any thread may make any call but those that make or end a window.
 * Ownership  Buffers are lent for the call. A window may outlive its communicator and its graphs.
 * Units      Counts are elements; buffers hold the window's count of its type.
 * Errors     As in gossamer/gossamer.h; gossamerGetLastError(NULL) has the sentence, which names
 * the window and the rank at fault. gossamerPeerLost: that rank is lost.
 */

#ifndef GOSSAMER_GOSSAMER_WINDOW_H
#define GOSSAMER_GOSSAMER_WINDOW_H
/* NOLINTBEGIN(modernize-*,google-*,readability-identifier-naming) */

#include "gossamer/gossamer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gossamerWindow* gossamerWindow_t;

/* Collective; the own value is `buff`. `name` is shown in errors. Calls that wait do so for
 * `timeout_ms` at most; 0: GOSSAMER_TIMEOUT_MS, or 30 s. Any float type. */
GOSSAMER_API gossamerResult_t gossamerWindowCreate(gossamerWindow_t* window, const char* name,
                                                   const void* buff, size_t count,
                                                   gossamerDataType_t datatype, gossamerComm_t comm,
                                                   int timeout_ms);
/* Collective among the ranks that live: returns when all have called it and all that was put has
 * arrived, or says why not; the window is destroyed in any case. */
GOSSAMER_API gossamerResult_t gossamerWindowFree(gossamerWindow_t window);
/* Local: leaves, and is lost to the others, who may go on. */
GOSSAMER_API gossamerResult_t gossamerWindowDestroy(gossamerWindow_t window);

/* The own value, which update starts from and other ranks get. */
GOSSAMER_API gossamerResult_t gossamerWindowSet(gossamerWindow_t window, const void* buff);
GOSSAMER_API gossamerResult_t gossamerWindowValue(gossamerWindow_t window, void* buff);

/* This rank's buffer at `peer`, or at its targets in a round of a graph, becomes weight * buff.
 * Returns at once. */
GOSSAMER_API gossamerResult_t gossamerWindowPut(gossamerWindow_t window, const void* buff,
                                                double weight, int peer);
GOSSAMER_API gossamerResult_t gossamerWindowPutNeighbors(gossamerWindow_t window, const void* buff,
                                                         double weight, gossamerGraph_t graph,
                                                         uint64_t round);
/* The same, added to what is there; of a graph, each target's share times the weight that it gives
 * to this rank's value. */
GOSSAMER_API gossamerResult_t gossamerWindowAccumulate(gossamerWindow_t window, const void* buff,
                                                       double weight, int peer);
GOSSAMER_API gossamerResult_t gossamerWindowAccumulateNeighbors(gossamerWindow_t window,
                                                                const void* buff, double weight,
                                                                gossamerGraph_t graph,
                                                                uint64_t round);
/* Returns when all that this rank has put or accumulated is in its targets' buffers. */
GOSSAMER_API gossamerResult_t gossamerWindowFlush(gossamerWindow_t window);

/* buff = the own value of `peer`, which does nothing for it; *version, unless NULL, how often that
 * has changed. */
GOSSAMER_API gossamerResult_t gossamerWindowGet(gossamerWindow_t window, void* buff, int peer,
                                                uint64_t* version);

/* own = self_weight * own + the sum over `n` sources of weights[k] times the buffer of sources[k],
 * copied to `buff` unless that is NULL. A source that has put nothing counts as the own value. Of a
 * graph: by its weights. */
GOSSAMER_API gossamerResult_t gossamerWindowUpdate(gossamerWindow_t window, void* buff,
                                                   double self_weight, int n, const int* sources,
                                                   const double* weights);
GOSSAMER_API gossamerResult_t gossamerWindowUpdateNeighbors(gossamerWindow_t window, void* buff,
                                                            gossamerGraph_t graph, uint64_t round);
/* The same, and the buffers are empty afterwards, where they count as zero. */
GOSSAMER_API gossamerResult_t gossamerWindowCollect(gossamerWindow_t window, void* buff,
                                                    double self_weight, int n, const int* sources,
                                                    const double* weights);

/* This rank's calls of put and accumulate so far; and those that `source` had made when it made
 * what came from it last. */
GOSSAMER_API gossamerResult_t gossamerWindowClock(gossamerWindow_t window, uint64_t* clock);
GOSSAMER_API gossamerResult_t gossamerWindowVersion(gossamerWindow_t window, int source,
                                                    uint64_t* version);
/* Waits until the versions of all `n` sources are `at_least`, for `timeout_ms` at most (negative:
 * as the window was made). */
GOSSAMER_API gossamerResult_t gossamerWindowWaitVersions(gossamerWindow_t window, int n,
                                                         const int* sources, uint64_t at_least,
                                                         int timeout_ms);

#ifdef __cplusplus
}
#endif

/* NOLINTEND(modernize-*,google-*,readability-identifier-naming) */
#endif /* GOSSAMER_GOSSAMER_WINDOW_H */
