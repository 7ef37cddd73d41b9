// Other libraries beside us: those that CMake found, each in a file of its own, on one thread.
//
// Matrix products (oneDNN, OpenBLAS) do the two products of attention over the same blocks, Q K^T and P V, and no softmax: what an
// attention made of the best matrix products could reach at most. ggml's flash attention is one.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/kernels/measure.hpp"

namespace gyre::bench {

/// Names begin with against/. isa: of ours; empty takes the best there is.
std::vector<Case> opponent_cases(std::int64_t tokens, const std::string& isa);

/// Of those that this build has.
std::vector<std::pair<std::string, std::string>> opponent_versions();

/// Rows and columns of scores that are computed at once.
struct Block {
  std::int64_t queries, keys;
};

// Those of one library; shape: what we compute at the same time.
std::unique_ptr<Subject> make_onednn(const Shape& shape, Block block);
std::unique_ptr<Subject> make_openblas(const Shape& shape, Block block);
std::unique_ptr<Subject> make_ggml(const Shape& shape, Type key_value_type);
std::string onednn_version();
std::string openblas_version();
std::string ggml_version();

}  // namespace gyre::bench
