// What `gossamer doctor` finds out about this machine. Reads files and asks the kernel; changes
// nothing.

#pragma once

#include <string>
#include <vector>

namespace gossamer {

enum class Grade {
  kGood,
  kNote,   // costs something, or is worth knowing
  kHurts,  // something will not work or will be slow
};

struct Finding {
  Grade grade = Grade::kGood;
  std::string subject;
  std::string text;
  std::string fix;  // empty where there is nothing to do
};

std::vector<Finding> examine_machine();

}  // namespace gossamer
