// The `gossamer` command run as its users run it, in a folder of the test's own.

#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/temporary_folder.h"

namespace gossamer {

struct Outcome {
  int code = -1;  // 128 + signal where one ended it
  std::string out;
  std::string err;

  std::string text() const { return out + err; }
  bool says(const std::string& part) const {
    return out.find(part) != std::string::npos || err.find(part) != std::string::npos;
  }
};

class CommandTest : public testing::Test {
 protected:
  std::string path(const std::string& name) const { return folder_.path(name); }

  static std::string read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  // Starts it in a process group of its own.
  pid_t start(const std::string& arguments) const {
    // It lies beside the test.
    const std::filesystem::path command =
        std::filesystem::read_symlink("/proc/self/exe").replace_filename("gossamer");
    const std::string line =
        "exec " + command.string() + " " + arguments + " >" + path("out") + " 2>" + path("err");
    const pid_t pid = fork();
    if (pid == 0) {
      setpgid(0, 0);
      execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
      _exit(127);
    }
    return pid;
  }

  Outcome finish(pid_t pid) const {
    int how = 0;
    waitpid(pid, &how, 0);
    return {WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how), read(path("out")),
            read(path("err"))};
  }

  Outcome run(const std::string& arguments) const { return finish(start(arguments)); }

 private:
  TemporaryFolder folder_;
};

}  // namespace gossamer
