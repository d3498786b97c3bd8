// Which ports of which devices to use, by GOSSAMER_IB_HCA. Pure: knows names, not devices.
//
//   Syntax    NCCL_IB_HCA's: a list by comma of names, each with an optional port: "mlx5" takes all
//             devices whose name begins so, "mlx5_1:2" port 2 of those that begin with mlx5_1.
//             "=" in front: exact names. "^" in front (or "^="): all but these.

#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gossamer/status.h"

namespace gossamer::verbs {

class Selection {
 public:
  // kInvalidArgument: not of that syntax; the message says what is.
  static Result<Selection> parse(const std::string& text);

  bool takes(const std::string& device, int port) const;

 private:
  struct Item {
    std::string name;
    int port = -1;  // -1: all
  };

  bool exclude_ = false;
  bool exact_ = false;
  std::vector<Item> items_;  // none: takes all
};

}  // namespace gossamer::verbs
