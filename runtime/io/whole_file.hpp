// A file that comes into being under its name only when it is whole: written beside it as NAME.gyre-partial, then renamed.
// The partial file is locked (flock) while its creator lives, so that what a killed job left is told from what a job writes, and is
// removed by the next one; on file systems without locks it is refused instead, and named.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace gyre {

inline constexpr const char* kPartialSuffix = ".gyre-partial";

/// What a path means to whoever writes it: a symbolic link stays one, and what it points to is made or replaced, whether that is
/// there or not. Throws std::invalid_argument naming the path where links go round in a circle.
std::string behind_links(const std::string& path);

class WholeFile {
 public:
  /// Local. With `create` (one process) the partial file is made with its space reserved, so that a missing folder, a missing
  /// permission, a full disk or another job that writes the same file is found now; without, it is opened after that. Throws
  /// std::invalid_argument naming the path.
  WholeFile(const std::string& path, std::int64_t bytes, bool create);
  ~WholeFile();  // the creator removes a file that was not published
  WholeFile(WholeFile&& other) noexcept;
  WholeFile(const WholeFile&) = delete;
  WholeFile& operator=(const WholeFile&) = delete;

  /// Thread-safe. Throws std::runtime_error if the system does not take the bytes.
  void write(std::int64_t offset, std::span<const std::byte> bytes);
  void write(std::int64_t offset, std::string_view text) { write(offset, std::as_bytes(std::span(text))); }
  /// Takes back what was reserved beyond that. Throws std::runtime_error.
  void cut(std::int64_t bytes);
  /// On the creator, after everybody has written: gives the file its name. Throws std::runtime_error.
  void publish();

 private:
  std::string path_;
  std::string partial_;
  int descriptor_ = -1;
  int copy_ = -1;      // of the creator: closed first
  bool ours_ = false;  // to be removed unless published
};

}  // namespace gyre
