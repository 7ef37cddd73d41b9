#include "launch/inputs.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace gyre {
namespace {

/// Attention of what is not finite is noise without a sign of it: a masked key of NaN still spoils the row.
void require_finite(const std::string& path, std::span<const Range> ranges, int heads, int dim, const std::vector<float>& rows) {
  const auto found = std::find_if(rows.begin(), rows.end(), [](float value) { return !std::isfinite(value); });
  if (found == rows.end()) return;
  const std::int64_t index = found - rows.begin();
  std::int64_t row = index / dim / heads;
  for (const Range range : ranges) {
    if (row < range.size()) {
      row += range.begin;
      break;
    }
    row -= range.size();
  }
  throw std::invalid_argument(path + ": token " + std::to_string(row) + ", head " + std::to_string(index / dim % heads) +
                              ", channel " + std::to_string(index % dim) + " is " + std::to_string(*found) +
                              " as float32; give finite values");
}

/// An error that says which option the file came from.
template <class Open>
auto opened(const char* option, Open&& open) {
  try {
    return open();
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(std::string(option) + " " + error.what());
  }
}

std::vector<TensorReader> open_files(const RunRequest& request) {
  if (!request.input_file.empty()) {
    const std::string names[] = {"q", "k", "v"};
    return opened("--input", [&] { return TensorReader::from_safetensors(request.input_file, names); });
  }
  std::vector<TensorReader> files;
  files.push_back(opened("--q", [&] { return TensorReader(request.query_file); }));
  files.push_back(opened("--k", [&] { return TensorReader(request.key_file); }));
  files.push_back(opened("--v", [&] { return TensorReader(request.value_file); }));
  return files;
}

}  // namespace

Inputs::Inputs(const RunRequest& request) : synthetic_(request.synthetic), seed_(request.seed) {
  if (synthetic_) return;
  files_ = open_files(request);
  for (const TensorReader& file : files_)
    if (file.shape().size() != 3)
      throw std::invalid_argument(file.name() + " has shape " + shape_text(file.shape()) +
                                  "; [tokens, heads, dim] is read: give one head an extent of 1");
}

Inputs::Shape Inputs::shape(Tensor tensor) const {
  if (synthetic_) {
    const int heads = tensor == Tensor::query ? synthetic_->heads : synthetic_->key_heads;
    return {synthetic_->tokens, heads, tensor == Tensor::value ? synthetic_->value_dim : synthetic_->head_dim};
  }
  const TensorReader& file = files_[static_cast<std::size_t>(tensor)];
  return {file.tokens(), file.heads(), file.dim()};
}

Problem Inputs::problem(const RunRequest& request) const {
  const Shape query = shape(Tensor::query), key = shape(Tensor::key), value = shape(Tensor::value);
  const auto differ = [&](const char* what, Tensor a, std::int64_t a_has, Tensor b, std::int64_t b_has) {
    if (a_has == b_has) return;
    throw std::invalid_argument(files_[static_cast<std::size_t>(a)].name() + " has " + std::to_string(a_has) + " " + what + ", " +
                                files_[static_cast<std::size_t>(b)].name() + " has " + std::to_string(b_has) +
                                "; they must be equal");
  };
  differ("tokens", Tensor::key, key.tokens, Tensor::value, value.tokens);
  differ("heads", Tensor::key, key.heads, Tensor::value, value.heads);
  differ("channels", Tensor::query, query.dim, Tensor::key, key.dim);
  Problem problem;
  problem.query_tokens = query.tokens, problem.key_tokens = key.tokens;
  problem.query_heads = query.heads, problem.key_heads = key.heads;
  problem.head_dim = query.dim, problem.value_dim = value.dim;
  problem.query_offset = request.query_offset, problem.scale = request.scale;
  problem.mask = request.mask;
  problem.validate();
  return problem;
}

std::vector<float> Inputs::read(Tensor tensor, std::span<const Range> tokens, Team& team,
                                const std::function<void()>& between_pieces) const {
  const Shape whole = shape(tensor);
  std::int64_t rows = 0;
  for (const Range range : tokens) rows += range.size();
  std::vector<float> values(static_cast<std::size_t>(rows * whole.heads * whole.dim));
  if (synthetic_) {
    fill_synthetic(seed_, tensor, tokens, whole.heads, whole.dim, team, values.data());
    return values;
  }
  const TensorReader& file = files_[static_cast<std::size_t>(tensor)];
  file.read(tokens, Type::f32, values.data(), between_pieces);
  require_finite(file.name(), tokens, whole.heads, whole.dim, values);
  return values;
}

}  // namespace gyre
