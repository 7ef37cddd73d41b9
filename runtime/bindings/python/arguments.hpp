// Arguments that several classes take, as Python gives them.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/rotary.hpp"
#include "partition/placement.hpp"

namespace gyre::python {

/// (begin, end, rank), as a caller's own layout has them.
using Chunks = std::vector<std::tuple<std::int64_t, std::int64_t, std::int32_t>>;
std::vector<Chunk> chunks_of(const Chunks& given);
/// Of an argument that is a name, None or such a list; throws nanobind's TypeError on anything else.
std::optional<Chunks> layout_of(nanobind::handle given, const char* name);

std::int64_t tokens_of(const std::vector<Range>& rows);
nanobind::list slices_of(const std::vector<Range>& rows);

/// What travels backward, by name: of False, True, 'keys' or 'queries'.
std::string direction(nanobind::handle backward);

/// rope: the base, or (base, layout) or (base, layout, dims); of yarn, linear and ntk one at most.
std::optional<Rotary> rotary_of(nanobind::handle rope, nanobind::handle yarn, std::optional<double> linear,
                                std::optional<double> ntk);

}  // namespace gyre::python
