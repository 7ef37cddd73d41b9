#include "support/naive_native_sparse.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/convert.hpp"
#include "kernels/reference_rotary.hpp"

namespace gyre::test {
namespace {

std::vector<double> widened(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

double as_stored(double value, Type type) {
  const auto narrow = static_cast<float>(value);
  if (type == Type::bf16) return to_float(to_bf16(narrow));
  if (type == Type::f16) return to_float(to_f16(narrow));
  return value;
}

double dot(const double* a, const double* b, int dim) {
  double sum = 0;
  for (int at = 0; at < dim; ++at) sum += a[at] * b[at];
  return sum;
}

std::vector<double> softmax(std::vector<double> scores) {
  double most = -HUGE_VAL, sum = 0;
  for (const double score : scores) most = std::max(most, score);
  for (double& score : scores) sum += score = std::exp(score - most);
  for (double& score : scores) score /= sum;
  return scores;
}

}  // namespace

std::int64_t compressed_count(const NativeSparse& sparse, std::int64_t tokens) {
  std::int64_t count = 0;
  while (count * sparse.stride + sparse.block <= tokens) ++count;
  return count;
}

NativeInputs random_native_inputs(const Problem& p, const NativeSparse& sparse, std::uint64_t seed) {
  NativeInputs inputs{
      .tensors = random_tensors(p, seed, 1.5), .gates = {}, .compressed_keys = {}, .compressed_values = {}, .grad_out = {}};
  Random random(seed + 1);
  std::normal_distribution<float> normal(0, 1.5F);
  std::uniform_real_distribution<float> share(0, 1);
  const auto fill = [&](std::vector<float>& tensor, std::int64_t tokens, int heads, int dim, auto&& of) {
    tensor.resize(static_cast<std::size_t>(tokens * heads * dim));
    for (float& value : tensor) value = of(random);
  };
  fill(inputs.gates, p.query_tokens, p.query_heads, 3, share);
  fill(inputs.grad_out, p.query_tokens, p.query_heads, p.value_dim, normal);
  if (sparse.compression == Compression::mean) return inputs;
  fill(inputs.compressed_keys, compressed_count(sparse, p.key_tokens), p.key_heads, p.head_dim, normal);
  fill(inputs.compressed_values, compressed_count(sparse, p.key_tokens), p.key_heads, p.value_dim, normal);
  return inputs;
}

NaiveNativeSparse::NaiveNativeSparse(const Problem& problem, const NativeSparse& sparse, const NativeInputs& inputs)
    : gates(widened(inputs.gates)),
      compressed_keys(widened(inputs.compressed_keys)),
      compressed_values(widened(inputs.compressed_values)),
      grad_out(widened(inputs.grad_out)),
      problem_(problem),
      sparse_(sparse),
      blocks_(compressed_count(sparse, problem.key_tokens)) {
  const CellTensors tensors = as_in_cells(problem, inputs.tensors);
  queries = widened(tensors.queries), keys = widened(tensors.keys), values = widened(tensors.values);
  for (auto* const given : {&compressed_keys, &compressed_values}) {
    for (double& value : *given) value = as_stored(value, problem.type);
  }
  compress();
}

void NaiveNativeSparse::compress() {
  if (sparse_.compression == Compression::given) return;
  const auto means = [&](const std::vector<double>& rows, int dim, std::vector<double>& into) {
    const std::int64_t width = std::int64_t{problem_.key_heads} * dim;
    into.assign(static_cast<std::size_t>(blocks_ * width), 0.0);
    for (std::int64_t block = 0; block < blocks_; ++block) {
      for (std::int64_t at = 0; at < width; ++at) {
        double& mean = into[static_cast<std::size_t>(block * width + at)];
        for (std::int64_t row = 0; row < sparse_.block; ++row)
          mean += rows[static_cast<std::size_t>((block * sparse_.stride + row) * width + at)];
        mean = as_stored(mean / static_cast<double>(sparse_.block), problem_.type);
      }
    }
  };
  means(keys, problem_.head_dim, compressed_keys), means(values, problem_.value_dim, compressed_values);
}

std::vector<double> NaiveNativeSparse::block_scores(std::int64_t query, int head) const {
  const int dim = problem_.head_dim, group = problem_.group(), key_head = head / group;
  std::vector<double> sums(static_cast<std::size_t>(query / sparse_.select_block + 1));
  for (int member = key_head * group; member < (key_head + 1) * group; ++member) {
    std::vector<double> scores;
    for (std::int64_t block = 0; block < blocks_ && block * sparse_.stride + sparse_.block - 1 <= query; ++block)
      scores.push_back(problem_.score_scale() *
                       dot(&queries[static_cast<std::size_t>((query * problem_.query_heads + member) * dim)],
                           &compressed_keys[static_cast<std::size_t>((block * problem_.key_heads + key_head) * dim)], dim));
    scores = softmax(std::move(scores));
    for (std::int64_t block = 0; block < std::ssize(scores); ++block) {
      for (std::int64_t chosen = 0; chosen < std::ssize(sums); ++chosen) {
        const Range both = Range{block * sparse_.stride, block * sparse_.stride + sparse_.block} &
                           Range{chosen * sparse_.select_block, (chosen + 1) * sparse_.select_block};
        sums[static_cast<std::size_t>(chosen)] +=
            scores[static_cast<std::size_t>(block)] * static_cast<double>(both.size() / sparse_.stride);
      }
    }
  }
  return sums;
}

/// Of one query, head and branch: the keys that it sees, with their weights.
struct NaiveNativeSparse::Row {
  const std::vector<double>& keys;
  const std::vector<double>& values;
  std::vector<std::int64_t> seen;
  std::vector<double> weights;
};

template <class Visit>
void NaiveNativeSparse::each_branch(const Selected& selected, std::int64_t query, int head, Visit&& visit) const {
  const int dim = problem_.head_dim, key_head = head / problem_.group();
  Row rows[] = {{compressed_keys, compressed_values, {}, {}}, {keys, values, {}, {}}, {keys, values, {}, {}}};
  for (std::int64_t block = 0; block < blocks_; ++block) {
    if (query >= block * sparse_.stride + sparse_.block - 1) rows[0].seen.push_back(block);
  }
  for (std::int64_t key = 0; key <= query; ++key) {
    if (selected(query, key / sparse_.select_block, head)) rows[1].seen.push_back(key);
    if (key > query - sparse_.window) rows[2].seen.push_back(key);
  }
  for (int branch = 0; branch < 3; ++branch) {
    Row& row = rows[branch];
    for (const std::int64_t key : row.seen)
      row.weights.push_back(problem_.score_scale() *
                            dot(&queries[static_cast<std::size_t>((query * problem_.query_heads + head) * dim)],
                                &row.keys[static_cast<std::size_t>((key * problem_.key_heads + key_head) * dim)], dim));
    row.weights = softmax(std::move(row.weights));
    visit(branch, row);
  }
}

std::vector<double> NaiveNativeSparse::out(const Selected& selected) const {
  const int dim = problem_.value_dim;
  std::vector<double> all(static_cast<std::size_t>(problem_.query_tokens * problem_.query_heads * dim));
  for (std::int64_t query = 0; query < problem_.query_tokens; ++query) {
    for (int head = 0; head < problem_.query_heads; ++head) {
      const std::int64_t at = query * problem_.query_heads + head;
      each_branch(selected, query, head, [&](int branch, const Row& row) {
        for (std::size_t key = 0; key < row.seen.size(); ++key) {
          for (int channel = 0; channel < dim; ++channel)
            all[static_cast<std::size_t>(at * dim + channel)] +=
                gates[static_cast<std::size_t>(at * 3 + branch)] * row.weights[key] *
                row.values[static_cast<std::size_t>((row.seen[key] * problem_.key_heads + head / problem_.group()) * dim +
                                                    channel)];
        }
      });
    }
  }
  return all;
}

/// Gradients of turned rows become those of the rows before, by the transpose of what turning does to unit vectors.
void NaiveNativeSparse::turn_back(std::vector<double>& gradient, int heads) const {
  if (!problem_.rotary) return;
  const int dim = problem_.head_dim;
  const std::vector<double> turned = gradient;
  std::vector<std::int64_t> positions(static_cast<std::size_t>(problem_.key_tokens));
  for (std::size_t at = 0; at < positions.size(); ++at) positions[at] = static_cast<std::int64_t>(at);
  for (int channel = 0; channel < dim; ++channel) {
    std::vector<float> unit(positions.size() * static_cast<std::size_t>(dim));
    for (std::size_t token = 0; token < positions.size(); ++token)
      unit[token * static_cast<std::size_t>(dim) + static_cast<std::size_t>(channel)] = 1;
    const std::vector<double> column = widened(
        reference_turned(Rows<const float>(unit.data(), problem_.key_tokens, 1, dim), *problem_.rotary, positions, Type::f32));
    for (std::int64_t row = 0; row < problem_.key_tokens * heads; ++row)
      gradient[static_cast<std::size_t>(row * dim + channel)] =
          dot(&column[static_cast<std::size_t>(row / heads * dim)], &turned[static_cast<std::size_t>(row * dim)], dim);
  }
}

NativeResult NaiveNativeSparse::run(const Selected& selected) const {
  const int dim = problem_.head_dim, value_dim = problem_.value_dim;
  NativeResult result{.out = out(selected),
                      .queries = std::vector<double>(queries.size()),
                      .keys = std::vector<double>(keys.size()),
                      .values = std::vector<double>(values.size()),
                      .gates = std::vector<double>(gates.size()),
                      .compressed_keys = std::vector<double>(compressed_keys.size()),
                      .compressed_values = std::vector<double>(compressed_values.size())};
  for (std::int64_t query = 0; query < problem_.query_tokens; ++query) {
    for (int head = 0; head < problem_.query_heads; ++head) {
      const std::int64_t at = query * problem_.query_heads + head;
      const double* const gradient = &grad_out[static_cast<std::size_t>(at * value_dim)];
      each_branch(selected, query, head, [&](int branch, const Row& row) {
        auto& of_keys = branch == 0 ? result.compressed_keys : result.keys;
        auto& of_values = branch == 0 ? result.compressed_values : result.values;
        const auto key_row = [&](std::size_t key) {
          return static_cast<std::size_t>(row.seen[key] * problem_.key_heads + head / problem_.group());
        };
        std::vector<double> products;
        double mean = 0;
        for (std::size_t key = 0; key < row.seen.size(); ++key) {
          products.push_back(dot(gradient, &row.values[key_row(key) * static_cast<std::size_t>(value_dim)], value_dim));
          mean += row.weights[key] * products[key];
        }
        const double gate = gates[static_cast<std::size_t>(at * 3 + branch)];
        result.gates[static_cast<std::size_t>(at * 3 + branch)] = mean;
        for (std::size_t key = 0; key < row.seen.size(); ++key) {
          const double of_score = problem_.score_scale() * gate * row.weights[key] * (products[key] - mean);
          for (int channel = 0; channel < dim; ++channel) {
            const std::size_t q = static_cast<std::size_t>(at * dim + channel),
                              k = key_row(key) * static_cast<std::size_t>(dim) + static_cast<std::size_t>(channel);
            result.queries[q] += of_score * row.keys[k];
            of_keys[k] += of_score * queries[q];
          }
          for (int channel = 0; channel < value_dim; ++channel)
            of_values[key_row(key) * static_cast<std::size_t>(value_dim) + static_cast<std::size_t>(channel)] +=
                gate * row.weights[key] * gradient[channel];
        }
      });
    }
  }
  if (sparse_.compression == Compression::mean) {
    const auto spread = [&](const std::vector<double>& of_blocks, int width, std::vector<double>& of_rows) {
      for (std::int64_t block = 0; block < blocks_; ++block) {
        for (std::int64_t row = block * sparse_.stride; row < block * sparse_.stride + sparse_.block; ++row) {
          for (int channel = 0; channel < width; ++channel)
            of_rows[static_cast<std::size_t>(row * width + channel)] +=
                of_blocks[static_cast<std::size_t>(block * width + channel)] / static_cast<double>(sparse_.block);
        }
      }
    };
    spread(result.compressed_keys, problem_.key_heads * dim, result.keys);
    spread(result.compressed_values, problem_.key_heads * value_dim, result.values);
    result.compressed_keys.clear(), result.compressed_values.clear();
  }
  turn_back(result.queries, problem_.query_heads), turn_back(result.keys, problem_.key_heads);
  return result;
}

}  // namespace gyre::test
