// Standard output, which may be a full disk or a pipe that nobody reads.
#pragma once

#include <string>

#include <cstdint>

namespace gyre {

/// What a command says of itself on standard output: a page for a person, or JSON for a program ("-" for its file's name).
enum class Printed : std::uint8_t { page, json };

/// Writes the text to standard output, all of it and now. Throws std::invalid_argument if the system does not take it.
void print(const std::string& text);

}  // namespace gyre
