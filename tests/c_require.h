/* What the C API's tests demand of a call. A failure ends the process with a sentence; on in every
 * build type, unlike assert(). */

#ifndef GOSSAMER_TESTS_C_REQUIRE_H
#define GOSSAMER_TESTS_C_REQUIRE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gossamer/gossamer.h"

#define REQUIRE(condition)                                                         \
  do {                                                                             \
    if (!(condition)) {                                                            \
      fprintf(stderr, "%s:%d: %s is false (%s)\n", __FILE__, __LINE__, #condition, \
              gossamerGetLastError(NULL));                                         \
      exit(1);                                                                     \
    }                                                                              \
  } while (0)

#define DONE(call) REQUIRE((call) == gossamerSuccess)

/* Refused as an invalid argument, with `part` in the sentence. */
#define REFUSED(call, part)                                      \
  do {                                                           \
    REQUIRE((call) == gossamerInvalidArgument);                  \
    REQUIRE(strstr(gossamerGetLastError(NULL), (part)) != NULL); \
  } while (0)

#endif
