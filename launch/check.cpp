#include "launch/check.hpp"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <set>
#include <sstream>

#include "comm/while_alive.hpp"
#include "kernels/convert.hpp"
#include "kernels/reference_rotary.hpp"
#include "launch/rows_in_cells.hpp"

namespace gyre {
namespace {

constexpr std::int64_t kBatchBytes = std::int64_t{16} << 20;  // of partials of all ranks

/// Sampled rows of a batch on every rank: [tokens][heads] of query, output and log-sum-exp side by side, and the queries again as
/// cells hold them.
struct Batch {
  int heads, head_dim, value_dim;
  std::vector<std::int64_t> tokens;
  std::vector<float> rows;
  std::vector<float> queries[kMostForms];  // [tokens][heads][head_dim] in each of their forms

  Batch(const Problem& problem, std::span<const std::int64_t> sample)
      : heads(problem.query_heads),
        head_dim(problem.head_dim),
        value_dim(problem.value_dim),
        tokens(sample.begin(), sample.end()),
        rows(tokens.size() * token_floats()) {}
  std::size_t row_floats() const { return static_cast<std::size_t>(head_dim) + value_dim + 1; }
  std::size_t token_floats() const { return static_cast<std::size_t>(heads) * row_floats(); }
  std::span<float> token(std::size_t index) { return std::span(rows).subspan(index * token_floats(), token_floats()); }
  const float* query(std::size_t row, int form) const { return queries[form].data() + row * static_cast<std::size_t>(head_dim); }
  const float* out(std::size_t row) const { return rows.data() + row * row_floats() + head_dim; }
  float lse(std::size_t row) const { return out(row)[value_dim]; }
  std::size_t row_count() const { return tokens.size() * static_cast<std::size_t>(heads); }
  void take_queries(const Problem& problem);
};

/// Of all rows, once they are there.
void Batch::take_queries(const Problem& problem) {
  Rows<const float> given(rows.data(), std::ssize(tokens), heads, head_dim);
  given.head_stride = static_cast<std::int64_t>(row_floats()), given.token_stride = static_cast<std::int64_t>(token_floats());
  if (problem.rotary) {
    for (int form = 0; form < problem.query_forms(); ++form) {
      std::vector<std::int64_t> positions;
      for (const std::int64_t token : tokens)
        positions.push_back(reference_query_position(problem.dual_chunk, token + problem.first_query_position(), form));
      queries[form] = reference_turned(given, *problem.rotary, positions, problem.type);
    }
    return;
  }
  for (std::size_t row = 0; row < row_count(); ++row)
    queries[0].insert(queries[0].end(), rows.data() + row * row_floats(), rows.data() + row * row_floats() + head_dim);
}

/// Owners hand their rows to everybody.
void share(Transport& transport, std::span<const Range> query_rows, const Operands& operands, Batch& batch) {
  std::vector<std::int32_t> owners(static_cast<std::size_t>(transport.ranks()));
  for (std::size_t index = 0; index < batch.tokens.size(); ++index) {
    const std::int64_t row = local_row(query_rows, batch.tokens[index]);
    const std::span<float> token = batch.token(index);
    if (row >= 0) {
      auto at = token.begin();
      for (int head = 0; head < batch.heads; ++head) {
        convert(operands.queries.row(row, head), operands.queries.type, &*at, Type::f32, batch.head_dim);
        at += batch.head_dim;
        convert(operands.out.row(row, head), operands.out.type, &*at, Type::f32, batch.value_dim);
        at += batch.value_dim;
        *at++ = operands.lse[row * batch.heads + head];
      }
    }
    all_gather_value<std::int32_t>(transport, row >= 0, owners);
    const auto owner = std::find(owners.begin(), owners.end(), 1) - owners.begin();
    transport.broadcast(std::as_writable_bytes(token), static_cast<int>(owner));
  }
}

// A partial as numbers that travel: maximum, sum, bias, lost, largest score, numerator, magnitude, magnitude with biases.
std::size_t partial_doubles(int value_dim) {
  return 5 + 3 * static_cast<std::size_t>(value_dim);
}

void flatten(const ReferencePartial& partial, double* into) {
  *into++ = partial.maximum, *into++ = partial.sum, *into++ = partial.bias, *into++ = partial.lost;
  *into++ = partial.largest_score;
  for (const std::vector<double>* list : {&partial.numerator, &partial.magnitude, &partial.biased})
    into = std::copy(list->begin(), list->end(), into);
}

ReferencePartial unflatten(int value_dim, const double* from) {
  ReferencePartial partial(value_dim);
  partial.maximum = from[0], partial.sum = from[1], partial.bias = from[2], partial.lost = from[3];
  partial.largest_score = from[4];
  from += 5;
  for (std::vector<double>* list : {&partial.numerator, &partial.magnitude, &partial.biased}) {
    list->assign(from, from + value_dim);
    from += value_dim;
  }
  return partial;
}

ReferencePartial over_own_keys(const Problem& problem, const ScoreRule& rule, const Bands& bands, std::span<const Range> key_rows,
                               const Operands& operands, std::span<const float* const> forms, std::int64_t position, int head) {
  ReferencePartial partial(problem.value_dim);
  std::int64_t first = 0;
  const auto part = [&](TypedRows rows, std::int64_t tokens) {
    rows.data = rows.row(first, 0);
    rows.tokens = tokens;
    return rows;
  };
  for (const Range range : key_rows) {
    partial.merge(reference_partial(forms, chunk_tokens(problem), position, part(operands.keys, range.size()),
                                    part(operands.values, range.size()), head / problem.group(), range.begin, rule, bands, head));
    first += range.size();
  }
  return partial;
}

/// The reference of every row of the batch, merged in rank order so that every rank has the same.
std::vector<ReferencePartial> reference(Transport& transport, Team& team, const Problem& problem, std::span<const Range> key_rows,
                                        const Operands& operands, const Batch& batch) {
  const std::size_t width = partial_doubles(batch.value_dim), rows = batch.row_count();
  std::vector<double> mine(rows * width), all(mine.size() * static_cast<std::size_t>(transport.ranks()));
  const Bands bands = problem.bands();
  const ScoreRule rule = problem.score_rule();
  const auto compute = [&](int task, int) {
    const auto row = static_cast<std::size_t>(task);
    const std::int64_t position = batch.tokens[row / static_cast<std::size_t>(batch.heads)] + problem.first_query_position();
    const float* forms[kMostForms] = {};
    for (int form = 0; form < problem.query_forms(); ++form) forms[form] = batch.query(row, form);
    flatten(over_own_keys(problem, rule, bands, key_rows, operands, forms, position, task % batch.heads),
            mine.data() + row * width);
  };
  while_alive(transport, [&] { team.run(static_cast<int>(rows), compute, [] {}); });
  transport.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));

  std::vector<ReferencePartial> merged(rows, ReferencePartial(batch.value_dim));
  for (std::size_t from = 0; from < all.size(); from += mine.size())
    for (std::size_t row = 0; row < rows; ++row) merged[row].merge(unflatten(batch.value_dim, all.data() + from + row * width));
  for (std::size_t row = 0; operands.sinks != nullptr && row < rows; ++row)
    merged[row].take_sink(static_cast<double>(operands.sinks[row % static_cast<std::size_t>(batch.heads)]));
  return merged;
}

/// Keeps the worst of what it is shown.
class Judge {
 public:
  Judge(CheckResult& result, Type cells) : result_(result), cells_(cells) {}

  void compare(const Batch& batch, const std::vector<ReferencePartial>& expected) {
    const auto heads = static_cast<std::size_t>(batch.heads);
    for (std::size_t row = 0; row < expected.size(); ++row) {
      token_ = batch.tokens[row / heads], head_ = row % heads;
      for (int channel = 0; channel < batch.value_dim; ++channel)
        compare_out(channel, batch.out(row)[channel], expected[row].out(channel), expected[row].out_bound(channel, cells_));
      compare_lse(batch.lse(row), expected[row].lse(), expected[row].lse_bound());
    }
    result_.rows += static_cast<std::int64_t>(batch.tokens.size());
  }
  void finish() {
    if (largest_out_ > 0) result_.out_error /= largest_out_;
  }

 private:
  static constexpr int kLogSumExp = -1;

  void compare_out(int channel, float value, double expected, double bound) {
    const double error = distance(value, expected);
    largest_out_ = std::max(largest_out_, std::abs(expected));
    result_.out_error = std::max(result_.out_error, error);
    judge(channel, value, expected, error, bound);
  }
  void compare_lse(float value, double expected, double bound) {
    const double error = distance(value, expected);
    result_.lse_error = std::max(result_.lse_error, error);
    judge(kLogSumExp, value, expected, error, bound);
  }
  /// NaN, and a finite number where minus infinity belongs, are infinitely wrong.
  static double distance(float value, double expected) {
    if (value == expected) return 0;
    const double error = std::abs(value - expected);
    return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
  }
  void judge(int channel, float value, double expected, double error, double bound) {
    const double allowed = bound + FLT_MIN;  // below it, float32 has fewer digits
    const double share = error / allowed;
    if (share <= result_.share_of_bound) return;
    result_.share_of_bound = share;
    if (share <= 1) return;
    std::ostringstream text;
    text.precision(9);
    text << "token " << token_ << ", head " << head_ << ", "
         << (channel == kLogSumExp ? "log-sum-exp" : "channel " + std::to_string(channel)) << " is " << value << ", expected "
         << expected << " within " << allowed;
    result_.failure = text.str();
  }

  CheckResult& result_;
  Type cells_;
  double largest_out_ = 0;
  std::int64_t token_ = 0;
  std::size_t head_ = 0;
};

}  // namespace

std::int64_t local_row(std::span<const Range> rows, std::int64_t token) {
  std::int64_t before = 0;
  for (const Range range : rows) {
    if (range.contains(token)) return before + token - range.begin;
    before += range.size();
  }
  return -1;
}

std::vector<std::int64_t> sample_tokens(std::int64_t tokens, std::int64_t rows, std::uint64_t seed) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(rows >= tokens ? tokens : 0));
  std::iota(all.begin(), all.end(), std::int64_t{0});
  if (rows >= tokens) return all;
  std::set<std::int64_t> chosen{0};
  if (rows > 1) chosen.insert(tokens - 1);
  std::mt19937_64 random(seed);
  while (static_cast<std::int64_t>(chosen.size()) < rows)
    chosen.insert(static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(tokens)));
  return {chosen.begin(), chosen.end()};
}

CheckResult check_rows(Transport& transport, Team& team, const Problem& problem, std::span<const Range> query_rows,
                       std::span<const Range> key_rows, const Operands& operands, std::span<const std::int64_t> sample) {
  const std::int64_t token_bytes = std::int64_t{transport.ranks()} * problem.query_heads *
                                   static_cast<std::int64_t>(partial_doubles(problem.value_dim) * sizeof(double));
  const auto batch_tokens = static_cast<std::size_t>(std::clamp<std::int64_t>(kBatchBytes / token_bytes, 1, 256));
  const RowsInCells keys = RowsInCells::keys(transport, team, problem, operands.keys, key_rows);
  Operands held = operands;
  held.keys = keys.rows();
  CheckResult result;
  Judge judge(result, problem.type);
  for (std::size_t begin = 0; begin < sample.size(); begin += batch_tokens) {
    Batch batch(problem, sample.subspan(begin, std::min(batch_tokens, sample.size() - begin)));
    share(transport, query_rows, operands, batch);
    batch.take_queries(problem);
    judge.compare(batch, reference(transport, team, problem, key_rows, held, batch));
  }
  judge.finish();
  return result;
}

}  // namespace gyre
