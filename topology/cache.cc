#include "topology/cache.h"

#include <hwloc.h>

#include <initializer_list>

namespace gossamer {
namespace {

constexpr uint64_t kWhereUnknown = uint64_t{32} << 20;

uint64_t look() {
  hwloc_topology_t topology = nullptr;
  if (hwloc_topology_init(&topology) != 0) return kWhereUnknown;
  // Caches are all that is asked for: without the rest loading takes a fraction of the time.
  hwloc_topology_set_all_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_NONE);
  hwloc_topology_set_cache_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_ALL);
  uint64_t bytes = 0;
  if (hwloc_topology_load(topology) == 0) {
    for (const hwloc_obj_type_t level :
         {HWLOC_OBJ_L5CACHE, HWLOC_OBJ_L4CACHE, HWLOC_OBJ_L3CACHE, HWLOC_OBJ_L2CACHE}) {
      hwloc_obj_t cache = nullptr;
      while ((cache = hwloc_get_next_obj_by_type(topology, level, cache)) != nullptr) {
        bytes += cache->attr->cache.size;
      }
      if (bytes != 0) break;
    }
  }
  hwloc_topology_destroy(topology);
  return bytes != 0 ? bytes : kWhereUnknown;
}

}  // namespace

uint64_t last_level_cache_bytes() {
  static const uint64_t kBytes = look();
  return kBytes;
}

}  // namespace gossamer
