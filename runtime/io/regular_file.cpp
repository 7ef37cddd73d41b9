#include "runtime/io/regular_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace gyre {
namespace {

std::string reason(int error) {
  return std::generic_category().message(error);
}

std::string remedy(int error) {
  if (error == EACCES || error == EPERM) return "; give a file that every rank may read";
  if (error == EMFILE || error == ENFILE) return "; raise the limit of open files (ulimit -n)";
  return "; give a file that is there on every rank";
}

}  // namespace

RegularFile::RegularFile(std::string path) : path_(std::move(path)) {
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);  // a pipe without a writer must not hang here
  if (descriptor_ < 0) throw std::invalid_argument(path_ + ": cannot be read: " + reason(errno) + remedy(errno));
  struct stat status {};
  const int failed = ::fstat(descriptor_, &status) == 0 ? 0 : errno;
  bytes_ = status.st_size;
  if (failed == 0 && S_ISREG(status.st_mode)) return;
  ::close(descriptor_);
  if (failed != 0) throw std::invalid_argument(path_ + ": cannot be read: " + reason(failed) + remedy(failed));
  throw std::invalid_argument(path_ + ": is not a regular file" + (S_ISDIR(status.st_mode) ? " but a folder" : "") +
                              "; give a file on a disk, which ranks can read in pieces");
}

RegularFile::~RegularFile() {
  ::close(descriptor_);
}

void RegularFile::read(void* into, std::int64_t bytes, std::int64_t offset) const {
  auto* at = static_cast<char*>(into);
  while (bytes > 0) {
    const ssize_t taken = ::pread(descriptor_, at, static_cast<std::size_t>(bytes), offset);
    if (taken < 0 && errno == EINTR) continue;
    if (taken < 0) throw std::runtime_error(path_ + ": could not be read: " + reason(errno));
    if (taken == 0)
      throw std::runtime_error(path_ + ": ends before its data does; it was cut since it was opened: run again when it is whole");
    at += taken, bytes -= taken, offset += taken;
  }
}

std::string RegularFile::text(std::int64_t offset, std::int64_t bytes) const {
  std::string text(static_cast<std::size_t>(bytes), '\0');
  read(text.data(), bytes, offset);
  return text;
}

}  // namespace gyre
