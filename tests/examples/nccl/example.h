/* What the examples have in common: ending with the library's own sentence when a call fails.
 *
 * Threads    Any.
 */

#ifndef GOSSAMER_EXAMPLE_H_
#define GOSSAMER_EXAMPLE_H_

#include <nccl.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(call)                                                                                \
  do {                                                                                             \
    const ncclResult_t result_ = (call);                                                           \
    if (result_ != ncclSuccess) {                                                                  \
      fprintf(stderr, "%s: %s: %s\n", #call, ncclGetErrorString(result_), ncclGetLastError(NULL)); \
      exit(1);                                                                                     \
    }                                                                                              \
  } while (0)

#endif /* GOSSAMER_EXAMPLE_H_ */
