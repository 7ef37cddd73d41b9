// Structs of callers that were compiled with an older or a newer gyre.h.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <stdexcept>
#include <string>

namespace gyre {

inline void require_size(std::size_t size, std::size_t first_size, const char* name) {
  if (size < first_size) {
    throw std::invalid_argument(std::string(name) + " says that it has " + std::to_string(size) + " bytes; it has at least " +
                                std::to_string(first_size) + ": set its size to sizeof(" + name + ")");
  }
}

/// A caller's struct as this library knows it. first_size: of the first version of gyre.h that had it. Throws
/// std::invalid_argument if it is null, smaller than that, or larger than ours with something in it that we would ignore.
template <class Struct>
Struct known(const Struct* given, std::size_t first_size, const char* name) {
  if (given == nullptr) throw std::invalid_argument(std::string(name) + " is null; give the address of one");
  std::size_t size = 0;
  std::memcpy(&size, given, sizeof size);
  require_size(size, first_size, name);
  const auto* const bytes = reinterpret_cast<const unsigned char*>(given);
  if (size > sizeof(Struct) && std::any_of(bytes + sizeof(Struct), bytes + size, [](unsigned char byte) { return byte != 0; })) {
    throw std::invalid_argument(std::string(name) + " has " + std::to_string(size) + " bytes, and this library knows " +
                                std::to_string(sizeof(Struct)) +
                                " of them; use a library as new as the gyre.h that it was compiled with");
  }
  Struct ours{};
  std::memcpy(&ours, given, std::min(size, sizeof(Struct)));
  return ours;
}

/// The other way: as much of ours as the caller has room for, its size kept. Room that we know nothing of becomes zero.
template <class Struct>
void tell(const Struct& ours, Struct* given, std::size_t size) {
  std::memset(given, 0, size);
  std::memcpy(given, &ours, std::min(size, sizeof(Struct)));
  std::memcpy(given, &size, sizeof size);
}

template <class Struct>
void tell(const Struct& ours, Struct* given, std::size_t first_size, const char* name) {
  std::size_t size = 0;
  std::memcpy(&size, given, sizeof size);
  require_size(size, first_size, name);
  tell(ours, given, size);
}

}  // namespace gyre
