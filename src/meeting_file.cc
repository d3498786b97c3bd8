#include "src/meeting_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "src/auth.h"
#include "src/fd.h"
#include "src/system_text.h"

namespace gossamer {
namespace {

std::string directory_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

Status cannot_write(const std::string& path, int error) {
  if (error == ENOENT || error == ENOTDIR) {
    return Status::error(
        Code::kInvalidArgument,
        fmt::format("cannot write the rendezvous file {}: the directory {} does not exist; create "
                    "it or choose another path",
                    path, directory_of(path)),
        0);
  }
  return Status::error(
      Code::kSystem,
      fmt::format("cannot write the rendezvous file {}: {}{}", path, system_text(error),
                  error == EACCES || error == EPERM || error == EROFS
                      ? "; choose a path that this user may write"
                      : ""),
      0);
}

}  // namespace

Status write_id_file(const std::string& path, const UniqueId& id) {
  uint64_t salt = 0;
  Status random = random_bytes(std::as_writable_bytes(std::span(&salt, 1)));
  if (!random) {
    return random;
  }
  const std::string fresh = fmt::format("{}.{:016x}", path, salt);
  const int made =
      ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (made < 0) {
    return cannot_write(path, errno);
  }
  int error = 0;
  {
    const Fd fd(made);
    const ssize_t written = ::write(fd.get(), id.bytes.data(), id.bytes.size());
    if (written != static_cast<ssize_t>(id.bytes.size())) {
      error = written < 0 ? errno : ENOSPC;
    }
  }
  if (error == 0 && ::rename(fresh.c_str(), path.c_str()) != 0) {
    error = errno;
  }
  if (error != 0) {
    ::unlink(fresh.c_str());
    return cannot_write(path, error);
  }
  return Status::ok();
}

Result<UniqueId> read_id_file(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd.is_open()) {
    return Status::error(Code::kUnavailable, system_text(errno));
  }
  struct stat file {};
  struct stat directory {};
  if (::fstat(fd.get(), &file) != 0 || ::stat(directory_of(path).c_str(), &directory) != 0) {
    return Status::error(Code::kUnavailable, system_text(errno));
  }
  if (!S_ISREG(file.st_mode)) {
    return Status::error(Code::kInvalidArgument, "it is not an ordinary file");
  }
  // In a directory like /tmp anybody may have put it there, to draw this process into his group.
  if ((directory.st_mode & S_IWOTH) != 0 && file.st_uid != ::geteuid()) {
    return Status::error(
        Code::kInvalidArgument,
        fmt::format("it belongs to user {} in a directory that all may write", file.st_uid));
  }
  UniqueId id;
  const ssize_t got = ::read(fd.get(), id.bytes.data(), id.bytes.size());
  if (got != static_cast<ssize_t>(id.bytes.size())) {
    return Status::error(Code::kInvalidArgument, "it does not hold a unique id");
  }
  return id;
}

void remove_id_file(const std::string& path, const UniqueId& id) {
  const auto now = read_id_file(path);
  if (now && now->bytes == id.bytes) {
    ::unlink(path.c_str());
  }
}

}  // namespace gossamer
