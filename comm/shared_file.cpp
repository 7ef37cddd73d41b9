#include "comm/shared_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

namespace gyre {
namespace {

[[noreturn]] void refuse(const std::string& what, int error) {
  throw std::invalid_argument(what + ": " + std::strerror(error));
}

SharedFile::Name unguessable_name() {
  std::array<unsigned char, 16> random{};
  if (getrandom(random.data(), random.size(), 0) != ssize_t(random.size())) refuse("no random name for shared memory", errno);
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text = "/gyre-";
  for (const unsigned char byte : random) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  SharedFile::Name name{};
  std::copy(text.begin(), text.end(), name.begin());
  return name;
}

Pages owned(void* address, std::size_t bytes) {
  return {static_cast<std::byte*>(address), [bytes](std::byte* pages) { ::munmap(pages, bytes); }};
}

}  // namespace

Pages private_pages(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  void* const address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) refuse("no memory for " + std::to_string(bytes) + " bytes; use more ranks on more nodes", errno);
  return owned(address, bytes);
}

SharedFile SharedFile::create() {
  SharedFile file;
  file.name_ = unguessable_name();
  file.descriptor_ = ::shm_open(file.name_.data(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
  if (file.descriptor_ < 0) refuse("no shared memory can be made in /dev/shm", errno);
  file.named_ = true;
  return file;
}

SharedFile SharedFile::open(const Name& name) {
  SharedFile file;
  file.name_ = name;
  file.descriptor_ = ::shm_open(name.data(), O_RDWR | O_CLOEXEC, 0600);
  if (file.descriptor_ < 0) refuse("another rank's shared memory cannot be opened", errno);
  return file;
}

SharedFile::~SharedFile() {
  unlink();
  if (descriptor_ >= 0) ::close(descriptor_);
}

void SharedFile::unlink() {
  if (std::exchange(named_, false)) ::shm_unlink(name_.data());
}

SharedFile::Room SharedFile::room() const {
  struct statvfs status {};
  if (::fstatvfs(descriptor_, &status) != 0) return {};
  return {.free_bytes = std::uint64_t(status.f_bavail) * status.f_frsize,
          .all_bytes = std::uint64_t(status.f_blocks) * status.f_frsize};
}

void SharedFile::allocate(std::size_t bytes) const {
  if (bytes == 0) return;
  int error = EINTR;
  while (error == EINTR) error = ::posix_fallocate(descriptor_, 0, static_cast<off_t>(bytes));
  if (error != 0) refuse("no shared memory for " + std::to_string(bytes) + " bytes", error);
}

Pages SharedFile::map(std::size_t bytes, Access access) const {
  if (bytes == 0) return nullptr;
  const int protection = access == Access::read ? PROT_READ : PROT_READ | PROT_WRITE;
  void* const address = ::mmap(nullptr, bytes, protection, MAP_SHARED, descriptor_, 0);
  if (address == MAP_FAILED) refuse("shared memory of " + std::to_string(bytes) + " bytes cannot be mapped", errno);
  ::madvise(address, bytes, MADV_HUGEPAGE);  // only a wish: most systems have no large pages for shared memory
  return owned(address, bytes);
}

std::uint64_t SharedFile::device() const {
  struct stat status {};
  return ::fstat(descriptor_, &status) == 0 ? status.st_dev : 0;
}

}  // namespace gyre
