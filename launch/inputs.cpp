#include "launch/inputs.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "kernels/convert.hpp"
#include "runtime/io/sink_logits.hpp"
#include "runtime/text.hpp"

namespace gyre {
namespace {

/// The token of a row among those of `ranges`.
std::int64_t token_of(std::span<const Range> ranges, std::int64_t row) {
  for (const Range range : ranges) {
    if (row < range.size()) return range.begin + row;
    row -= range.size();
  }
  return -1;
}

/// Attention of what is not finite is noise without a sign of it: a masked key of NaN still spoils the row.
void require_finite(const std::string& name, std::span<const Range> ranges, const TypedRows& rows) {
  std::vector<float> row(static_cast<std::size_t>(rows.dim));
  for (std::int64_t index = 0; index < rows.tokens * rows.heads; ++index) {
    const std::int64_t token = index / rows.heads;
    const int head = static_cast<int>(index % rows.heads);
    convert(rows.row(token, head), rows.type, row.data(), Type::f32, rows.dim);
    const auto found = std::find_if(row.begin(), row.end(), [](float value) { return !std::isfinite(value); });
    if (found == row.end()) continue;
    throw std::invalid_argument(name + ": token " + std::to_string(token_of(ranges, token)) + ", head " + std::to_string(head) +
                                ", channel " + std::to_string(found - row.begin()) + " is " + number_text(*found) + " as " +
                                (rows.type == Type::f32 ? "float32; give finite values"
                                                        : to_string(rows.type) + "; give values in its range, or --dtype f32"));
  }
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

Inputs::Inputs(const RunRequest& request)
    : synthetic_(request.synthetic), seed_(request.seed), one_file_(!request.input_file.empty()) {
  if (!request.grad_out_file.empty()) {
    const std::string names[] = {"grad_out"};
    grad_out_ = opened("--grad-out", [&] {
      const bool named = request.grad_out_file.ends_with(".safetensors");
      return named ? TensorReader::from_safetensors(request.grad_out_file, names).front() : TensorReader(request.grad_out_file);
    });
  }
  if (!request.sinks_file.empty()) sinks_ = opened("--sinks-logits", [&] { return read_sink_logits(request.sinks_file); });
  if (synthetic_) return;
  files_ = open_files(request);
  for (const Tensor tensor : {Tensor::query, Tensor::key, Tensor::value}) require_limits(tensor);
}

const TensorReader* Inputs::file(Tensor tensor) const {
  if (tensor == Tensor::grad_out) return grad_out_ ? &*grad_out_ : nullptr;
  return synthetic_ ? nullptr : &files_[static_cast<std::size_t>(tensor)];
}

/// As the command line named it: "--q q.npy", "--input in.safetensors: tensor q".
std::string Inputs::name(Tensor tensor) const {
  constexpr const char* kOptions[] = {"--q ", "--k ", "--v ", "--grad-out "};
  const bool in_input = one_file_ && tensor != Tensor::grad_out;
  return (in_input ? "--input " : kOptions[static_cast<std::size_t>(tensor)]) + file(tensor)->name();
}

void Inputs::require_limits(Tensor tensor) const {
  const TensorReader& file = files_[static_cast<std::size_t>(tensor)];
  if (file.shape().size() != 3)
    throw std::invalid_argument(name(tensor) + " has shape " + shape_text(file.shape()) +
                                "; [tokens, heads, dim] is read: give one head an extent of 1");
  const auto at_most = [&](std::int64_t has, const char* what, std::int64_t most) {
    if (has > most)
      throw std::invalid_argument(name(tensor) + " has " + plural(has, what) + "; at most " + std::to_string(most) +
                                  " are supported: save fewer");
  };
  at_most(file.tokens(), "token", kMostTokens);
  at_most(file.heads(), "head", kMostHeads);
  at_most(file.dim(), "channel", kLargestDim);
}

Inputs::Shape Inputs::shape(Tensor tensor) const {
  if (const TensorReader* const from = file(tensor)) return {from->tokens(), from->heads(), from->dim()};
  if (!synthetic_) return {shape(Tensor::query).tokens, shape(Tensor::query).heads, shape(Tensor::value).dim};
  const bool of_queries = tensor == Tensor::query || tensor == Tensor::grad_out;
  const bool of_values = tensor == Tensor::value || tensor == Tensor::grad_out;
  return {synthetic_->tokens, of_queries ? synthetic_->heads : synthetic_->key_heads,
          of_values ? synthetic_->value_dim : synthetic_->head_dim};
}

Problem Inputs::problem(const RunRequest& request) const {
  const Shape query = shape(Tensor::query), key = shape(Tensor::key), value = shape(Tensor::value);
  const auto refuse = [&](const char* what, Tensor a, std::int64_t a_has, Tensor b, std::int64_t b_has, const char* remedy) {
    throw std::invalid_argument(name(a) + " has " + plural(a_has, what) + ", " + name(b) + " has " + std::to_string(b_has) + "; " +
                                remedy);
  };
  constexpr const char* kEqual = "they must be equal";
  if (key.tokens != value.tokens) refuse("token", Tensor::key, key.tokens, Tensor::value, value.tokens, kEqual);
  if (key.heads != value.heads) refuse("head", Tensor::key, key.heads, Tensor::value, value.heads, kEqual);
  if (query.dim != key.dim) refuse("channel", Tensor::query, query.dim, Tensor::key, key.dim, kEqual);
  if (query.heads % key.heads != 0)
    refuse("head", Tensor::query, query.heads, Tensor::key, key.heads, "the heads of keys must be a divisor of those of queries");
  if (!request.sinks_file.empty() && std::ssize(sinks_) != query.heads)
    throw std::invalid_argument("--sinks-logits " + request.sinks_file + " has " + plural(std::ssize(sinks_), "logit") +
                                ", and there are " + plural(query.heads, "query head") + "; give one for each");
  Problem problem;
  problem.query_tokens = query.tokens, problem.key_tokens = key.tokens;
  problem.query_heads = query.heads, problem.key_heads = key.heads;
  problem.head_dim = query.dim, problem.value_dim = value.dim;
  problem.query_offset = request.query_offset, problem.scale = request.scale;
  problem.mask = request.mask;
  problem.softcap = request.softcap, problem.type = request.type;
  problem.rotary = request.rotary, problem.dual_chunk = request.dual_chunk;
  problem.bias = request.bias, problem.dropout = request.dropout;
  if (!request.sinks_file.empty()) problem.sinks = SinkLogits::learned;
  problem.validate();
  if (grad_out_) require_grad_out();
  return problem;
}

void Inputs::require_grad_out() const {
  const Shape given = shape(Tensor::grad_out), query = shape(Tensor::query), value = shape(Tensor::value);
  const std::vector<std::int64_t> out{query.tokens, query.heads, value.dim};
  if (std::vector<std::int64_t>{given.tokens, given.heads, given.dim} != out || grad_out_->shape().size() != 3)
    throw std::invalid_argument(name(Tensor::grad_out) + " has shape " + shape_text(grad_out_->shape()) + "; the output has " +
                                shape_text(out) + ": give a gradient of that shape");
}

LoadedRows Inputs::read(Tensor tensor, std::span<const Range> tokens, Type type, Team& team) const {
  const Shape whole = shape(tensor);
  std::int64_t rows = 0;
  for (const Range range : tokens) rows += range.size();
  LoadedRows loaded{.elements = std::vector<std::byte>(static_cast<std::size_t>(rows * whole.heads * whole.dim * type_bytes(type))),
                    .rows = {}};
  loaded.rows = TypedRows(loaded.elements.data(), type, rows, whole.heads, whole.dim);
  const TensorReader* const from = file(tensor);
  if (from == nullptr) {
    make_synthetic(tensor, tokens, team, loaded);
    return loaded;
  }
  from->read(tokens, type, loaded.elements.data());
  require_finite(name(tensor), tokens, loaded.rows);
  return loaded;
}

/// In fp32 first, in pieces of 16 MiB.
void Inputs::make_synthetic(Tensor tensor, std::span<const Range> tokens, Team& team, LoadedRows& into) const {
  const TypedRows& rows = into.rows;
  const std::int64_t width = std::int64_t{rows.heads} * rows.dim;
  const std::int64_t most = std::max<std::int64_t>(1, (std::int64_t{4} << 20) / width);
  std::vector<float> piece;
  std::byte* to = into.elements.data();
  for (const Range range : tokens) {
    for (std::int64_t begin = range.begin; begin < range.end; begin += most) {
      const Range part{begin, std::min(begin + most, range.end)};
      piece.resize(static_cast<std::size_t>(part.size() * width));
      fill_synthetic(seed_, tensor, std::span(&part, 1), rows.heads, rows.dim, team, piece.data());
      convert(piece.data(), Type::f32, to, rows.type, std::ssize(piece));
      to += std::ssize(piece) * type_bytes(rows.type);
    }
  }
}

}  // namespace gyre
