#include "launch/print.hpp"

#include <cerrno>
#include <cstdio>
#include <stdexcept>
#include <system_error>

namespace gyre {

void print(const std::string& text) {
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return;
  throw std::invalid_argument("standard output could not be written: " + std::generic_category().message(errno) +
                              "; send it to a place with room");
}

}  // namespace gyre
