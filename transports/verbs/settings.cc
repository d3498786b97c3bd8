#include "transports/verbs/settings.h"

#include "src/env.h"

namespace gossamer::verbs {

Result<Settings> Settings::read() {
  Settings s;
  Status bad = Status::ok();
  const auto number = [&](const char* name, uint8_t fallback, uint8_t lowest, uint8_t highest) {
    const Result<int64_t> value = env_int(name, fallback, lowest, highest);
    if (!value && bad.is_ok()) bad = value.status();
    return value ? static_cast<uint8_t>(*value) : fallback;
  };
  s.timeout = number("GOSSAMER_IB_TIMEOUT", s.timeout, 1, 31);
  s.retries = number("GOSSAMER_IB_RETRY_CNT", s.retries, 0, 7);
  s.service_level = number("GOSSAMER_IB_SL", s.service_level, 0, 15);
  s.traffic_class = number("GOSSAMER_IB_TC", s.traffic_class, 0, 255);
  s.relaxed_ordering =
      static_cast<RelaxedOrdering>(number("GOSSAMER_IB_PCI_RELAXED_ORDERING", 2, 0, 2));
  s.reads = number("GOSSAMER_IB_READ", 0, 0, 1) != 0;
  if (!bad) return bad;
  return s;
}

}  // namespace gossamer::verbs
