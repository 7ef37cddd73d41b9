#include "launch/check_gradients.hpp"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <functional>
#include <limits>

#include "comm/agreement.hpp"
#include "comm/while_alive.hpp"
#include "kernels/convert.hpp"
#include "kernels/reference.hpp"
#include "launch/check.hpp"

namespace gyre {
namespace {

using Row = std::vector<float>;

constexpr double kErrorUnit = 4 * 0x1p-23;  // the design's c * eps

/// Of a row whose log-sum-exp and D are given: scores of weights that count are near the former.
void allow_errors(ReferenceRow& row) {
  row.weight_error = 2 * kErrorUnit * (1 + std::abs(row.lse));
  row.product_error = kErrorUnit * std::abs(row.product);
}

Row row_of(const TypedRows& rows, std::int64_t token, int head) {
  Row row(static_cast<std::size_t>(rows.dim));
  convert(rows.row(token, head), rows.type, row.data(), Type::f32, rows.dim);
  return row;
}

/// visit(local row, token) of all rows of a rank.
template <class Visit>
void each_token(std::span<const Range> rows, Visit&& visit) {
  std::int64_t row = 0;
  for (const Range range : rows)
    for (std::int64_t token = range.begin; token < range.end; ++token) visit(row++, token);
}

class Checker {
 public:
  Checker(Transport& transport, Team& team, const Problem& problem, std::span<const Range> query_rows,
          std::span<const Range> key_rows, const GradientOperands& operands)
      : transport_(transport),
        team_(team),
        problem_(problem),
        query_rows_(query_rows),
        key_rows_(key_rows),
        operands_(operands),
        rule_(problem.score_rule()),
        bands_(problem.bands()) {}

  void queries(std::span<const std::int64_t> sample, GradientCheck& result);
  void keys(std::span<const std::int64_t> sample, GradientCheck& result);

 private:
  ReferenceRow known_row(std::int64_t row, std::int64_t token, int head) const;
  void from_owner(std::span<const Range> rows, std::int64_t token, std::span<double> numbers,
                  const std::function<void(std::int64_t row)>& fill);
  std::vector<double> summed(std::vector<double> mine);

  Transport& transport_;
  Team& team_;
  const Problem& problem_;
  std::span<const Range> query_rows_, key_rows_;
  const GradientOperands& operands_;
  ScoreRule rule_;
  Bands bands_;
};

/// What forward knows of a row; a row that sees nothing has no log-sum-exp to speak of, and no pairs.
ReferenceRow Checker::known_row(std::int64_t row, std::int64_t token, int head) const {
  ReferenceRow known{.query = row_of(operands_.queries, row, head),
                     .grad_out = row_of(operands_.grad_out, row, head),
                     .position = token + problem_.first_query_position(),
                     .head = head,
                     .lse = static_cast<double>(operands_.lse[row * problem_.query_heads + head])};
  const Row out = row_of(operands_.out, row, head);
  for (std::size_t c = 0; c < out.size(); ++c)
    known.product += static_cast<double>(known.grad_out[c]) * static_cast<double>(out[c]);
  allow_errors(known);
  return known;
}

/// The owner of a token fills the numbers, everybody has them. Collective.
void Checker::from_owner(std::span<const Range> rows, std::int64_t token, std::span<double> numbers,
                         const std::function<void(std::int64_t row)>& fill) {
  const std::int64_t row = local_row(rows, token);
  if (row >= 0) fill(row);
  std::vector<std::int32_t> owners(static_cast<std::size_t>(transport_.ranks()));
  all_gather_value<std::int32_t>(transport_, row >= 0, owners);
  const auto owner = std::find(owners.begin(), owners.end(), 1) - owners.begin();
  transport_.broadcast(std::as_writable_bytes(numbers), static_cast<int>(owner));
}

/// Over ranks, in their order. Collective.
std::vector<double> Checker::summed(std::vector<double> mine) {
  std::vector<double> all(mine.size() * static_cast<std::size_t>(transport_.ranks()));
  transport_.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));
  std::fill(mine.begin(), mine.end(), 0.0);
  for (std::size_t at = 0; at < all.size(); ++at) mine[at % mine.size()] += all[at];
  return mine;
}

/// Keeps the worst of a gradient that it is shown.
struct Judge {
  double largest = 0, error = 0, share_of_bound = 0;

  /// expected: value and bound, one behind the other. NaN is infinitely wrong.
  void compare(std::span<const double> got, std::span<const double> expected, std::span<const double> bounds) {
    for (std::size_t at = 0; at < got.size(); ++at) {
      const double difference = std::abs(got[at] - expected[at]);
      const double off = std::isnan(difference) ? std::numeric_limits<double>::infinity() : difference;
      largest = std::max(largest, std::abs(expected[at])), error = std::max(error, off);
      share_of_bound = std::max(share_of_bound, off / (bounds[at] + FLT_MIN));  // below it, float32 has fewer digits
    }
  }
  double share_of_largest() const { return error > 0 ? error / std::max(largest, 1e-300) : 0; }
};

/// Adds factor vector, and what rounding may make of it.
void add(std::span<double> sums, std::span<double> bounds, double factor, double factor_error, const Row& vector) {
  for (std::size_t c = 0; c < vector.size(); ++c) {
    const double number = static_cast<double>(vector[c]);
    sums[c] += factor * number;
    bounds[c] += (factor_error + kErrorUnit * std::abs(factor)) * std::abs(number);
  }
}

/// The worst of the gradients counts.
void note(const char* name, const Judge& judge, GradientCheck& result) {
  if (judge.share_of_bound <= result.share_of_bound) return;
  result.share_of_bound = judge.share_of_bound;
  if (judge.share_of_bound <= 1) return;
  result.failure = std::string("gradients of ") + name + " are off by up to " + std::to_string(judge.share_of_bound) +
                   " times what rounding explains";
}

void Checker::queries(std::span<const std::int64_t> sample, GradientCheck& result) {
  const auto dim = static_cast<std::size_t>(problem_.head_dim), value_dim = static_cast<std::size_t>(problem_.value_dim);
  const auto heads = static_cast<std::size_t>(problem_.query_heads);
  const std::size_t width = 2 * dim + value_dim + 2;  // query, its gradient, that of the output, log-sum-exp, D
  Judge judge;
  for (const std::int64_t token : sample) {
    std::vector<double> numbers(heads * width);
    from_owner(query_rows_, token, numbers, [&](std::int64_t row) {
      auto to = numbers.begin();
      for (int head = 0; head < problem_.query_heads; ++head) {
        const ReferenceRow known = known_row(row, token, head);
        const float* const gradient = reinterpret_cast<const float*>(operands_.grad_queries.row(row, head));
        to = std::copy(known.query.begin(), known.query.end(), to);
        to = std::copy(gradient, gradient + dim, to);
        to = std::copy(known.grad_out.begin(), known.grad_out.end(), to);
        *to++ = known.lse, *to++ = known.product;
      }
    });
    std::vector<double> expected(2 * heads * dim), got;  // sums, then their bounds
    const auto one = [&](int head, int) {
      const double* const from = numbers.data() + static_cast<std::size_t>(head) * width;
      ReferenceRow known{.query = Row(from, from + dim),
                         .grad_out = Row(from + 2 * dim, from + 2 * dim + value_dim),
                         .position = token + problem_.first_query_position(),
                         .head = head,
                         .lse = from[width - 2],
                         .product = from[width - 1]};
      allow_errors(known);
      const auto all = std::span(expected);
      const auto sums = all.subspan(static_cast<std::size_t>(head) * dim, dim);
      const auto bounds = all.subspan((heads + static_cast<std::size_t>(head)) * dim, dim);
      each_token(key_rows_, [&](std::int64_t row, std::int64_t key) {
        if (!bands_.visible(known.position, key, head)) return;
        const Row vector = row_of(operands_.keys, row, head / problem_.group());
        const Row value = row_of(operands_.values, row, head / problem_.group());
        const ReferencePair pair = reference_pair(known, key, vector, value, rule_, problem_.type);
        add(sums, bounds, pair.slope, pair.slope_error, vector);
      });
    };
    while_alive(transport_, [&] { team_.run(problem_.query_heads, one, [] {}); });
    for (std::size_t head = 0; head < heads; ++head) {
      const auto gradient = numbers.begin() + static_cast<std::ptrdiff_t>(head * width + dim);
      got.insert(got.end(), gradient, gradient + static_cast<std::ptrdiff_t>(dim));
    }
    const std::vector<double> sums = summed(std::move(expected));
    judge.compare(got, std::span(sums).first(heads * dim), std::span(sums).last(heads * dim));
  }
  result.query_error = judge.share_of_largest();
  note("queries", judge, result);
  result.rows += std::ssize(sample);
}

void Checker::keys(std::span<const std::int64_t> sample, GradientCheck& result) {
  const auto dim = static_cast<std::size_t>(problem_.head_dim), value_dim = static_cast<std::size_t>(problem_.value_dim);
  const auto heads = static_cast<std::size_t>(problem_.key_heads);
  const std::size_t both = dim + value_dim;
  Judge of_keys, of_values;
  for (const std::int64_t token : sample) {
    std::vector<double> numbers(heads * 2 * both);  // of each head: key, value, and their gradients
    from_owner(key_rows_, token, numbers, [&](std::int64_t row) {
      auto to = numbers.begin();
      for (int head = 0; head < problem_.key_heads; ++head) {
        const Row key = row_of(operands_.keys, row, head), value = row_of(operands_.values, row, head);
        const float* const grad_key = reinterpret_cast<const float*>(operands_.grad_keys.row(row, head));
        const float* const grad_value = reinterpret_cast<const float*>(operands_.grad_values.row(row, head));
        to = std::copy(key.begin(), key.end(), to);
        to = std::copy(value.begin(), value.end(), to);
        to = std::copy(grad_key, grad_key + dim, to);
        to = std::copy(grad_value, grad_value + value_dim, to);
      }
    });
    std::vector<double> expected(2 * heads * both);  // sums, then their bounds
    const auto one = [&](int head, int) {
      const double* const from = numbers.data() + static_cast<std::size_t>(head) * 2 * both;
      const auto all = std::span(expected);
      const auto sums = all.subspan(static_cast<std::size_t>(head) * both, both);
      const auto bounds = all.subspan((heads + static_cast<std::size_t>(head)) * both, both);
      const Row key(from, from + dim), value(from + dim, from + both);
      each_token(query_rows_, [&](std::int64_t row, std::int64_t query) {
        for (int of = head * problem_.group(); of < (head + 1) * problem_.group(); ++of) {
          if (!bands_.visible(query + problem_.first_query_position(), token, of)) continue;
          const ReferenceRow known = known_row(row, query, of);
          const ReferencePair pair = reference_pair(known, token, key, value, rule_, problem_.type);
          add(sums.first(dim), bounds.first(dim), pair.slope, pair.slope_error, known.query);
          add(sums.last(value_dim), bounds.last(value_dim), pair.weight, pair.weight_error, known.grad_out);
        }
      });
    };
    while_alive(transport_, [&] { team_.run(problem_.key_heads, one, [] {}); });
    const std::vector<double> sums = summed(std::move(expected));
    for (std::size_t head = 0; head < heads; ++head) {
      const auto got = std::span<const double>(numbers).subspan(head * 2 * both + both, both);
      const auto wanted = std::span<const double>(sums).subspan(head * both, both);
      const auto bounds = std::span<const double>(sums).subspan((heads + head) * both, both);
      of_keys.compare(got.first(dim), wanted.first(dim), bounds.first(dim));
      of_values.compare(got.last(value_dim), wanted.last(value_dim), bounds.last(value_dim));
    }
  }
  result.key_error = of_keys.share_of_largest(), result.value_error = of_values.share_of_largest();
  note("keys", of_keys, result), note("values", of_values, result);
  result.rows += std::ssize(sample);
}

}  // namespace

GradientCheck check_gradients(Transport& transport, Team& team, const Problem& problem, std::span<const Range> query_rows,
                              std::span<const Range> key_rows, const GradientOperands& operands,
                              std::span<const std::int64_t> query_sample, std::span<const std::int64_t> key_sample) {
  GradientCheck result;
  Checker checker(transport, team, problem, query_rows, key_rows, operands);
  checker.queries(query_sample, result);
  checker.keys(key_sample, result);
  return result;
}

}  // namespace gyre
