// Standard output, which may be a full disk or a pipe that nobody reads.
#pragma once

#include <string>

namespace gyre {

/// Writes the text to standard output, all of it and now. Throws std::invalid_argument if the system does not take it.
void print(const std::string& text);

}  // namespace gyre
