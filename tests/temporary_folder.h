// A folder of the test's own; removed with its contents.

#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>
#include <system_error>

namespace gossamer {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    char name[] = "/tmp/gossamer-test-XXXXXX";
    const char* made = ::mkdtemp(name);
    EXPECT_NE(made, nullptr);
    path_ = made != nullptr ? made : "";
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }
  std::string path(const std::string& file) const { return path_ + "/" + file; }
  // Where ranks meet.
  std::string place(const std::string& file) const { return "file://" + path(file); }

 private:
  std::string path_;
};

}  // namespace gossamer
