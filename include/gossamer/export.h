// GOSSAMER_API marks what the shared library exports; everything else is hidden. C and C++.

#pragma once

#ifdef __cplusplus
#define GOSSAMER_API [[gnu::visibility("default")]]
#else
#define GOSSAMER_API __attribute__((visibility("default")))
#endif
