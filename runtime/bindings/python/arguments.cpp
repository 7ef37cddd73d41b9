#include "runtime/bindings/python/arguments.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>

namespace nb = nanobind;

namespace gyre::python {

std::vector<Chunk> chunks_of(const Chunks& given) {
  std::vector<Chunk> chunks;
  for (const auto& [begin, end, rank] : given) chunks.push_back({{begin, end}, rank});
  return chunks;
}

std::int64_t tokens_of(const std::vector<Range>& rows) {
  std::int64_t tokens = 0;
  for (const Range& range : rows) tokens += range.size();
  return tokens;
}

nb::list slices_of(const std::vector<Range>& rows) {
  nb::list slices;
  for (const Range& range : rows)
    slices.append(nb::slice(static_cast<Py_ssize_t>(range.begin), static_cast<Py_ssize_t>(range.end)));
  return slices;
}

std::optional<Chunks> layout_of(nb::handle given, const char* name) {
  if (given.is_none() || nb::isinstance<nb::str>(given)) return std::nullopt;
  Chunks chunks;
  if (!nb::try_cast(given, chunks)) {
    PyErr_Clear();
    throw nb::type_error((std::string(name) + " is neither a name nor a list of (begin, end, rank)").c_str());
  }
  return chunks;
}

std::string direction(nb::handle backward) {
  if (nb::isinstance<nb::bool_>(backward)) return nb::cast<bool>(backward) ? "auto" : "none";
  if (nb::isinstance<nb::str>(backward)) return nb::cast<std::string>(backward);
  throw nb::type_error("backward is neither False, True, 'keys' nor 'queries'");
}

std::optional<Rotary> rotary_of(nb::handle rope, nb::handle yarn, std::optional<double> linear, std::optional<double> ntk) {
  const int scalings = !yarn.is_none() + linear.has_value() + ntk.has_value();
  if (scalings > 1)
    throw std::invalid_argument("of yarn, rope_linear and rope_ntk two are given; they exclude each other: give one");
  if (rope.is_none()) {
    if (scalings > 0)
      throw std::invalid_argument("rotary positions are scaled, and there are none; give rope, a base such as 10000");
    return std::nullopt;
  }
  Rotary rotary;
  std::tuple<double, std::string> layout;
  std::tuple<double, std::string, int> layout_and_dims;
  if (nb::try_cast(rope, layout_and_dims)) {
    rotary.dims = std::get<2>(layout_and_dims);
    layout = {std::get<0>(layout_and_dims), std::get<1>(layout_and_dims)};
  } else if (PyErr_Clear(); !nb::try_cast(rope, layout)) {
    PyErr_Clear();
    layout = {0, "half"};
    if (!nb::try_cast(rope, std::get<0>(layout))) {
      PyErr_Clear();
      throw nb::type_error("rope is neither None, a base, (base, layout) nor (base, layout, dims)");
    }
  }
  const std::string& name = std::get<1>(layout);
  if (name != "half" && name != "interleaved")
    throw std::invalid_argument("the layout of rope is '" + name + "'; give 'half' or 'interleaved'");
  rotary.base = std::get<0>(layout);
  if (name == "interleaved") rotary.layout = RotaryLayout::interleaved;
  if (linear) rotary.scaling = RotaryScaling::linear, rotary.scale = *linear;
  if (ntk) rotary.scaling = RotaryScaling::ntk, rotary.scale = *ntk;
  if (yarn.is_none()) return rotary;
  std::tuple<double, std::int64_t> scale_and_original;
  if (!nb::try_cast(yarn, scale_and_original)) {
    PyErr_Clear();
    throw nb::type_error("yarn is neither None nor (scale, original), a number and the tokens that the model was trained for");
  }
  rotary.scaling = RotaryScaling::yarn;
  std::tie(rotary.scale, rotary.original_tokens) = scale_and_original;
  return rotary;
}

}  // namespace gyre::python
