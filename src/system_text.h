// What the operating system said, and what to do about it where that is known.
#pragma once

#include <cerrno>
#include <string>
#include <system_error>

namespace gossamer {

// The sentence for errno value `error`. Running out of descriptors can meet any call, so that its
// remedy is part of its sentence everywhere.
inline std::string system_text(int error) {
  std::string text = std::error_code(error, std::generic_category()).message();
  if (error == EMFILE || error == ENFILE) {
    text += "; raise the limit of open files with `ulimit -n`";
  }
  return text;
}

}  // namespace gossamer
