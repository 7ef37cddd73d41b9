#include "runtime/io/whole_file.hpp"

#include <fcntl.h>
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

/// A symbolic link stays one: what it points to is replaced.
std::string behind_links(const std::string& path) {
  std::error_code error;
  const auto target = std::filesystem::canonical(path, error);
  return error ? path : target.string();
}

void require_replaceable(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return;
  if (!S_ISREG(status.st_mode)) refuse(path, "it is there and is not a regular file; choose another name");
  if (::access(path.c_str(), W_OK) != 0) refuse(path, "a file of that name is there and may not be changed; choose another name");
}

/// Real blocks where the file system can reserve them, a length otherwise.
void reserve(int descriptor, std::int64_t bytes, const std::string& path) {
  if (bytes > 0 && ::fallocate(descriptor, 0, 0, bytes) == 0) return;
  if (bytes > 0 && errno != EOPNOTSUPP && errno != ENOSYS)
    refuse(path, reason(errno) + " (" + std::to_string(bytes) + " bytes are needed); choose a place with more room");
  if (::ftruncate(descriptor, bytes) != 0) refuse(path, reason(errno));
}

}  // namespace

WholeFile::WholeFile(std::string path, std::int64_t bytes, bool create)
    : path_(behind_links(path)), partial_(path_ + ".gyre-partial"), ours_(create) {
  if (create) require_replaceable(path_);
  const int flags = create ? O_RDWR | O_CREAT | O_EXCL : O_RDWR;
  descriptor_ = ::open(partial_.c_str(), flags | O_CLOEXEC, 0666);
  if (descriptor_ < 0 && errno == EEXIST) {
    refuse(path, partial_ + " is in the way: another job writes it now, or one was killed; remove it or choose another name");
  }
  if (descriptor_ < 0) refuse(path, reason(errno) + "; choose a folder that is there and may be written to by every rank");
  if (!create) return;
  try {
    reserve(descriptor_, bytes, path);
  } catch (...) {
    ::close(descriptor_);
    ::unlink(partial_.c_str());
    throw;
  }
}

WholeFile::~WholeFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (ours_) ::unlink(partial_.c_str());
}

WholeFile::WholeFile(WholeFile&& other) noexcept
    : path_(std::move(other.path_)),
      partial_(std::move(other.partial_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
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

void WholeFile::publish() {
  if (::close(std::exchange(descriptor_, -1)) != 0) throw std::runtime_error(path_ + ": could not be written: " + reason(errno));
  if (std::rename(partial_.c_str(), path_.c_str()) != 0)
    throw std::runtime_error(path_ + ": could not be given its name: " + reason(errno));
  ours_ = false;
}

}  // namespace gyre
