// What `gossamer doctor` finds out about RDMA: devices, ports, GIDs, and what is missing to use
// them. Reads files; needs no RDMA library.

#pragma once

#include <string>
#include <vector>

#include "perf/findings.h"

namespace gossamer {

// `root` stands for "/sys/class/infiniband", for tests.
std::vector<Finding> rdma_findings(const std::string& root = "/sys/class/infiniband");

}  // namespace gossamer
