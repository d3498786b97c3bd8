// The table of transports, and the one piece of code every transport shares: filling in a Fault.

#include <array>
#include <cstdarg>
#include <cstdio>

#include "transports/list.h"

namespace gossamer {

namespace {

#define GOSSAMER_TRANSPORT_ADDRESS(name) &name##_transport,
constexpr std::array kTransports{GOSSAMER_TRANSPORTS(GOSSAMER_TRANSPORT_ADDRESS)};
#undef GOSSAMER_TRANSPORT_ADDRESS

}  // namespace

std::span<const TransportFactory* const> transports() {
  return kTransports;
}

const TransportFactory* find_transport(std::string_view name) {
  for (const TransportFactory* factory : kTransports) {
    if (name == factory->name) return factory;
  }
  return nullptr;
}

Traffic& Traffic::operator+=(const Traffic& other) {
  copies += other.copies;
  bytes_copied += other.bytes_copied;
  registrations += other.registrations;
  exchanges += other.exchanges;
  inline_messages += other.inline_messages;
  staged_messages += other.staged_messages;
  direct_messages += other.direct_messages;
  return *this;
}

void Fault::set(Code c, Rank r, const char* format, ...) {
  code = c;
  rank = r;
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text.data(), text.size(), format, arguments);
  va_end(arguments);
}

}  // namespace gossamer
