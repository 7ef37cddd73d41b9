// A machine file: whatever it says, it is a machine that writes and reads the same, or it is refused.
#include <stdexcept>
#include <string_view>

#include "memory_file.hpp"
#include "runtime/machine.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const std::string text = gyre::to_json(gyre::parse_machine({reinterpret_cast<const char*>(data), size}));
    gyre::require(gyre::to_json(gyre::parse_machine(text)) == text);
  } catch (const std::invalid_argument& error) {
    gyre::require(std::string_view(error.what()).size() < 1000);
  }
  return 0;
}
