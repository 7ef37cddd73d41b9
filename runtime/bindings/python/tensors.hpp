// Arrays of Python as rows, without copies: whatever has DLPack or a buffer (NumPy, PyTorch and JAX on the CPU).
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>

#include "kernels/tensor.hpp"

namespace gyre::python {

/// What an argument has to be.
struct Wanted {
  const char* name;
  std::int64_t tokens;
  int heads;
  int dim;
  const char* axes;  // in words
};

/// Rows of an array, and the array that they lie in.
struct Input {
  nanobind::ndarray<nanobind::ro> array;
  TypedRows rows;
};
struct Output {
  nanobind::object array;  // what the caller gets back
  TypedOutRows rows;
};

/// An argument that is read. Throws std::invalid_argument that names it, what was given and what is wanted.
Input input(nanobind::handle given, const Wanted& wanted);
/// An argument that is written: the caller's, or, where that is None, a new one of the framework and type of `like`.
Output output(nanobind::handle given, const Wanted& wanted, nanobind::handle like, Type type);

/// Rows of one fp32 number for each token and head.
struct Statistics {
  nanobind::object array;
  float* data = nullptr;
};
Statistics read_statistics(nanobind::handle given, const char* name, std::int64_t tokens, int heads);
Statistics written_statistics(nanobind::handle given, const char* name, std::int64_t tokens, int heads, nanobind::handle like);

/// One fp32 number for each head: an argument that is read, and one that is written.
Statistics read_heads(nanobind::handle given, const char* name, int heads);
Statistics written_heads(nanobind::handle given, const char* name, int heads, nanobind::handle like);

}  // namespace gyre::python
