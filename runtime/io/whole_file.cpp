#include "runtime/io/whole_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace gyre {
namespace {

std::string reason(int error) {
  return std::generic_category().message(error);
}

[[noreturn]] void refuse(const std::string& path, const std::string& why) {
  throw std::invalid_argument(path + ": cannot be written: " + why);
}

/// Of a file that cannot be made or opened.
std::string remedy(int error) {
  switch (error) {
    case EMFILE:
    case ENFILE:
      return "; raise the limit of open files (ulimit -n), or use fewer ranks a node";
    case ENOSPC:
    case EDQUOT:
      return "; choose a place with more room";
    case EFBIG:
      return "; choose a place with more room, or raise the limit of file sizes (ulimit -f)";
    case ENAMETOOLONG:
      return std::string("; choose a shorter name: ") + kPartialSuffix + " is appended to it while it is written";
    case ELOOP:
      return "; choose another name";
    default:
      return "; choose a folder that is there and may be written to by every rank";
  }
}

/// For messages: what is behind a link is what cannot be written.
std::string with_target(const std::string& path, const std::string& target) {
  std::error_code error;
  return std::filesystem::is_symlink(path, error) ? path + " (a link to " + target + ")" : path;
}

void require_replaceable(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return;
  if (!S_ISREG(status.st_mode)) refuse(path, "it is there and is not a regular file; choose another name");
  if (::access(path.c_str(), W_OK) != 0) refuse(path, "a file of that name is there and may not be changed; choose another name");
}

/// Real blocks where the file system can reserve them, a length otherwise.
void reserve(int descriptor, std::int64_t bytes, const std::string& path) {
  int failed = bytes == 0 ? ENOSYS : EINTR;
  while (failed == EINTR) failed = ::fallocate(descriptor, 0, 0, bytes) == 0 ? 0 : errno;
  if (failed == 0) return;
  if (failed != EOPNOTSUPP && failed != ENOSYS)
    refuse(path, reason(failed) + " (" + std::to_string(bytes) + " bytes are needed)" + remedy(failed));
  if (::ftruncate(descriptor, bytes) != 0) refuse(path, reason(errno) + remedy(errno));
}

bool is_file_of(const struct stat& status, const std::string& name) {
  struct stat there {};
  return ::lstat(name.c_str(), &there) == 0 && there.st_ino == status.st_ino && there.st_dev == status.st_dev;
}

/// One attempt to have a new partial file that is locked as long as its writer lives; -1 if another try is worth it. What a dead
/// job left is removed and not written over: ranks of it may still be ending, with that file open.
int try_to_create(const std::string& partial, const std::string& path) {
  constexpr int kFlags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  const std::string in_the_way = partial + " is in the way: ";
  int descriptor = ::open(partial.c_str(), kFlags | O_CREAT | O_EXCL, 0666);
  const bool fresh = descriptor >= 0;
  if (!fresh && errno != EEXIST) refuse(path, reason(errno) + remedy(errno));
  if (!fresh) descriptor = ::open(partial.c_str(), kFlags);
  if (descriptor < 0 && errno == ENOENT) return -1;
  if (descriptor < 0) refuse(path, in_the_way + reason(errno) + "; remove it or choose another name");

  struct stat status {};
  const bool regular = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
  const int unlocked = ::flock(descriptor, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
  const bool ours = is_file_of(status, partial);
  if (fresh && ours && unlocked != EWOULDBLOCK) return descriptor;  // also where the file system has no locks
  if (!fresh && ours && regular && unlocked == 0) ::unlink(partial.c_str());
  ::close(descriptor);
  if (!regular) refuse(path, in_the_way + "it is not a regular file; remove it or choose another name");
  if (unlocked == EWOULDBLOCK) refuse(path, in_the_way + "another job writes it now; wait for that job or choose another name");
  if (unlocked != 0)
    refuse(path, in_the_way + "another job writes it now, or one was killed; remove it or choose another name (" +
                     reason(unlocked) + ")");
  return -1;
}

int create_partial(const std::string& partial, const std::string& path) {
  for (int attempt = 0; attempt < 100; ++attempt)
    if (const int descriptor = try_to_create(partial, path); descriptor >= 0) return descriptor;
  refuse(path, partial + " is made and removed by other jobs all the time; choose another name");
}

}  // namespace

std::string behind_links(const std::string& path) {
  constexpr int kMostLinks = 40;  // the kernel's own
  namespace fs = std::filesystem;
  std::error_code error;
  fs::path at = path;
  for (int links = 0; fs::is_symlink(at, error); ++links) {
    if (links == kMostLinks) refuse(path, reason(ELOOP) + remedy(ELOOP));
    at = at.parent_path() / fs::read_symlink(at, error);
  }
  const fs::path there = fs::canonical(at, error);
  return error ? at.string() : there.string();
}

WholeFile::WholeFile(const std::string& path, std::int64_t bytes, bool create)
    : path_(behind_links(path)), partial_(path_ + kPartialSuffix), ours_(create) {
  const std::string name = with_target(path, path_);
  if (!create) {
    descriptor_ = ::open(partial_.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (descriptor_ < 0) refuse(name, reason(errno) + remedy(errno));
    return;
  }
  require_replaceable(path_);
  descriptor_ = create_partial(partial_, name);
  try {
    // Closing any descriptor tells what a remote file system could not store; the other one keeps the lock until the file has its
    // name.
    copy_ = ::fcntl(descriptor_, F_DUPFD_CLOEXEC, 0);
    if (copy_ < 0) refuse(name, reason(errno) + remedy(errno));
    reserve(descriptor_, bytes, name);
  } catch (...) {
    ::unlink(partial_.c_str());
    ::close(descriptor_);
    if (copy_ >= 0) ::close(copy_);
    throw;
  }
}

WholeFile::~WholeFile() {
  if (ours_) ::unlink(partial_.c_str());  // while it is locked
  if (descriptor_ >= 0) ::close(descriptor_);
  if (copy_ >= 0) ::close(copy_);
}

WholeFile::WholeFile(WholeFile&& other) noexcept
    : path_(std::move(other.path_)),
      partial_(std::move(other.partial_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      copy_(std::exchange(other.copy_, -1)),
      ours_(std::exchange(other.ours_, false)) {}

void WholeFile::write(std::int64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t taken = ::pwrite(descriptor_, bytes.data(), bytes.size(), offset);
    if (taken < 0 && errno == EINTR) continue;
    if (taken <= 0) throw std::runtime_error(path_ + ": could not be written: " + reason(taken < 0 ? errno : ENOSPC));
    bytes = bytes.subspan(static_cast<std::size_t>(taken));
    offset += taken;
  }
}

void WholeFile::cut(std::int64_t bytes) {
  if (::ftruncate(descriptor_, bytes) != 0) throw std::runtime_error(path_ + ": could not be cut to its length: " + reason(errno));
}

void WholeFile::publish() {
  if (::close(std::exchange(copy_, -1)) != 0) throw std::runtime_error(path_ + ": could not be written: " + reason(errno));
  if (std::rename(partial_.c_str(), path_.c_str()) != 0)
    throw std::runtime_error(path_ + ": could not be given its name: " + reason(errno));
  ours_ = false;
  ::close(std::exchange(descriptor_, -1));
}

}  // namespace gyre
