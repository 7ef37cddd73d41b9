// Arguments that several classes take, as Python gives them.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <exception>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/rotary.hpp"
#include "partition/placement.hpp"
#include "runtime/bindings/python/communicator.hpp"

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

/// Operands of a call of `attention`, made of arguments by `prepare`. Where this rank finds something wrong with them, it takes
/// part in the others' call to tell them: collective then.
template <class Attention, class Prepare>
auto prepared(Communicator& communicator, Attention& attention, Prepare&& prepare) {
  std::string wrong;
  try {
    return prepare();
  } catch (const std::bad_alloc&) {
    wrong =
        "rank " + std::to_string(communicator.transport().rank()) + " has no memory for the results of its rows; use more ranks";
  } catch (const std::exception& error) {
    wrong = error.what();
  }
  communicator.work([&] { attention.refuse(wrong); });
  throw std::logic_error("a refusal returned");
}

}  // namespace gyre::python
