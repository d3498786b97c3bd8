// Every transport, one line each. A line names the variable `<name>_transport` that the transport's
// file defines; transport_registry.cc turns the list into a table.

#pragma once

#include "gossamer/transport.h"

#define GOSSAMER_TRANSPORTS(ENTRY) \
  ENTRY(loopback) ENTRY(tcp) ENTRY(sim) ENTRY(faulty) ENTRY(shm) ENTRY(ucx) ENTRY(verbs)

namespace gossamer {

#define GOSSAMER_DECLARE_TRANSPORT(name) extern const TransportFactory name##_transport;
GOSSAMER_TRANSPORTS(GOSSAMER_DECLARE_TRANSPORT)
#undef GOSSAMER_DECLARE_TRANSPORT

}  // namespace gossamer
