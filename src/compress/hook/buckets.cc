#include "src/compress/hook/buckets.h"

#include <algorithm>
#include <utility>

namespace gossamer {
namespace {

constexpr uint64_t kLineBytes = 64;

uint64_t up_to_multiple(uint64_t value, uint64_t of) {
  return (value + of - 1) / of * of;
}

struct Open {
  Bucket bucket;
  uint64_t bytes_max = 0;
  size_t last = 0;  // position in the order
};

bool is_stable(const BucketLimits& limits, uint32_t group) {
  return group < limits.stable.size() && limits.stable[group];
}

// The order with each stable group's parameters among themselves from the end of the list.
std::vector<uint32_t> filling_order(std::span<const uint32_t> groups,
                                    std::span<const uint32_t> order, const BucketLimits& limits) {
  std::vector<uint32_t> filling(order.begin(), order.end());
  for (uint32_t group = 0; group < limits.stable.size(); ++group) {
    if (!limits.stable[group]) continue;
    std::vector<uint32_t> members;
    for (const uint32_t p : order) {
      if (groups[p] == group) members.push_back(p);
    }
    std::sort(members.begin(), members.end());
    for (uint32_t& p : filling) {
      if (groups[p] != group) continue;
      p = members.back();
      members.pop_back();
    }
  }
  return filling;
}

}  // namespace

std::vector<Bucket> make_buckets(const ParameterList& parameters, std::span<const uint32_t> groups,
                                 std::span<const uint32_t> order, const BucketLimits& limits) {
  std::vector<Open> all;
  std::vector<size_t> open;  // of `all`: those that may still grow, one of each type and group
  std::vector<size_t> position(order.size());
  for (size_t at = 0; at < order.size(); ++at) position[order[at]] = at;
  bool first = true;
  for (const uint32_t p : filling_order(groups, order, limits)) {
    const DataType type = parameters.type(p);
    const uint64_t line = kLineBytes / size_of(type);
    const uint64_t count = up_to_multiple(parameters.count(p), line);
    auto it = std::find_if(open.begin(), open.end(), [&](size_t i) {
      return all[i].bucket.type == type && all[i].bucket.group == groups[p];
    });
    if (it != open.end()) {
      const Open& found = all[*it];
      const uint64_t bytes = (found.bucket.count + count) * size_of(type);
      if (bytes > found.bytes_max) it = open.erase(it), it = open.end();
    }
    if (it == open.end()) {
      Open made;
      made.bucket.type = type;
      made.bucket.group = groups[p];
      made.bucket.first_needed = p;
      made.bytes_max = limits.bytes_max;
      if (!is_stable(limits, groups[p]) && std::exchange(first, false)) {
        made.bytes_max = limits.first_bytes_max;
      }
      all.push_back(std::move(made));
      it = open.insert(open.end(), all.size() - 1);
    }
    Open& into = all[*it];
    into.bucket.parts.push_back({p, into.bucket.count, parameters.count(p)});
    into.bucket.count += count;
    into.bucket.first_needed = std::min(into.bucket.first_needed, p);
    into.last = std::max(into.last, position[p]);
  }
  std::sort(all.begin(), all.end(), [](const Open& a, const Open& b) { return a.last < b.last; });
  std::vector<Bucket> buckets;
  for (Open& each : all) {
    const uint64_t line = kLineBytes / size_of(each.bucket.type);
    each.bucket.count = up_to_multiple(each.bucket.count, line * limits.share_count);
    buckets.push_back(std::move(each.bucket));
  }
  return buckets;
}

uint64_t digest_of(std::span<const Bucket> buckets) {
  Digest digest;
  for (const Bucket& bucket : buckets) {
    digest.add(static_cast<uint64_t>(bucket.type));
    digest.add(bucket.group);
    digest.add(bucket.count);
    for (const Bucket::Part& part : bucket.parts) digest.add(part.parameter);
  }
  return digest.value();
}

}  // namespace gossamer
