// A file of sink logits, one for each query head. Every rank reads it whole.
#pragma once

#include <string>
#include <vector>

namespace gyre {

/// From a .npy of float32, one extent. Throws std::invalid_argument naming the file and the limit: what locate_npy() refuses,
/// another type or shape, more logits than kMostHeads, one that is not finite.
std::vector<float> read_sink_logits(const std::string& path);

}  // namespace gyre
