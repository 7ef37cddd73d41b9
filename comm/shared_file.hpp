// A POSIX shared-memory file and its mappings. Private to comm/.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>

#include "comm/shared_memory.hpp"

namespace gyre {

enum class Access : std::uint8_t { read, read_and_write };

/// Zeroed pages of this process alone. Throws std::invalid_argument if there is no room for them.
Pages private_pages(std::size_t bytes);

class SharedFile {
 public:
  /// A name that nobody can guess, ended by a zero; all zeros is no file. It can be sent to other ranks as it stands.
  using Name = std::array<char, 40>;

  SharedFile() = default;
  static SharedFile create();                // empty; throws std::invalid_argument
  static SharedFile open(const Name& name);  // throws std::invalid_argument
  ~SharedFile();
  SharedFile(SharedFile&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)), name_(other.name_), named_(std::exchange(other.named_, false)) {}
  SharedFile& operator=(SharedFile&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    std::swap(name_, other.name_);
    std::swap(named_, other.named_);
    return *this;
  }

  const Name& name() const { return name_; }
  /// The name goes; the file lives on where it is open or mapped.
  void unlink();

  struct Room {
    std::uint64_t free_bytes = 0;
    std::uint64_t all_bytes = 0;
  };
  Room room() const;

  /// Reserves pages now: writing to a file that was only made longer ends in SIGBUS when memory runs out. Throws
  /// std::invalid_argument.
  void allocate(std::size_t bytes) const;
  /// The pages outlive the file object. Throws std::invalid_argument.
  Pages map(std::size_t bytes, Access access) const;
  /// Which file system it lies on, for comparison on one kernel.
  std::uint64_t device() const;

 private:
  int descriptor_ = -1;
  Name name_{};
  bool named_ = false;
};

}  // namespace gyre
