// Names of options: those of the contract that are not built yet, and the one that was probably meant.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace gyre {

/// Throws std::invalid_argument for an option that a command of this build does not take: not built yet (by name; of gyre run), or
/// unknown, and then with the nearest name if there is one near. `known`: those that it takes.
[[noreturn]] void refuse_option(std::string_view command, const std::string& name, std::span<const std::string> known);

/// The nearest of some names within two edits, or one that begins with it; empty if there is none.
std::string nearest_name(std::string_view name, std::span<const std::string> names);

}  // namespace gyre
