// An open regular file, read at any place by any thread. Nothing is mapped into memory: a file that shrinks is an error, not a
// signal.
#pragma once

#include <cstdint>
#include <string>

namespace gyre {

class RegularFile {
 public:
  /// Throws std::invalid_argument naming the path, the reason and a remedy: missing, unreadable, a folder, a pipe (never waits for
  /// one).
  explicit RegularFile(std::string path);
  ~RegularFile();
  RegularFile(const RegularFile&) = delete;
  RegularFile& operator=(const RegularFile&) = delete;

  const std::string& path() const { return path_; }
  std::int64_t bytes() const { return bytes_; }  // when it was opened

  /// Throws std::runtime_error naming the path unless every byte is there.
  void read(void* into, std::int64_t bytes, std::int64_t offset) const;
  std::string text(std::int64_t offset, std::int64_t bytes) const;

 private:
  std::string path_;
  int descriptor_ = -1;
  std::int64_t bytes_ = 0;
};

}  // namespace gyre
