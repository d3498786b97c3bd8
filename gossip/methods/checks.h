// What every method checks before it touches values or sends anything, and the one step of
// arithmetic that they share.
//
// Threads    Pure.

#pragma once

#include <cstdint>

#include "gossamer/gossip.h"

namespace gossamer {

// Of a method's options.
//   kInvalidArgument  no elements, or more bytes than there is memory; a type that is no float, or,
//                     where `wide_only`, neither float32 nor float64
Status check_elements(uint64_t count, DataType type, bool wide_only);
//   kInvalidArgument  null, or a rate that is not finite; `what` names it
Status check_buffer(const void* data, const char* what);
Status check_rate(double rate, const char* what);
//   kInvalidArgument  [a, a + bytes) and [b, b + bytes) overlap
Status check_apart(const void* a, const void* b, uint64_t bytes);
// x, an optional gradient and its rate: the three checks above.
Status check_step(const void* x, const void* gradient, double rate, uint64_t bytes);

// Looks at a graph once: *admitted becomes its identity when it will do.
//   kInvalidArgument  it is of another size than the communicator; what check_graph() says
Status admit(uint64_t* admitted, const Communicator& comm, const Graph& graph, Stochastic sums,
             bool symmetric);

// x and a gradient, of methods that cannot do without one.
Status check_gradient_step(const void* x, const void* gradient, double rate, uint64_t bytes);
// As admit(), of methods whose state belongs to one symmetric matrix: all rounds are the same, the
// graph is that of identity `belongs_to`, where that is not 0, and its least eigenvalue is above
// `eigenvalue_above`; `remedy` says what to do where it is not.
Status admit_static(uint64_t* admitted, const Communicator& comm, const Graph& graph,
                    uint64_t belongs_to, double eigenvalue_above, const char* remedy);

// target[i] = x[i] + scale * g[i]; target[i] = x[i] where g is null. target may be x.
void add_scaled(DataType type, void* target, const void* x, const void* g, uint64_t count,
                double scale);

}  // namespace gossamer
