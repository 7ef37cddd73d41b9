#include "launch/check_gradients.hpp"

#include <algorithm>
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

/// Largest difference over largest expected. NaN is infinitely wrong.
double error_of(std::span<const double> got, std::span<const double> expected, double& largest, double error) {
  for (std::size_t at = 0; at < got.size(); ++at) {
    largest = std::max(largest, std::abs(expected[at]));
    const double difference = std::abs(got[at] - expected[at]);
    error = std::max(error, std::isnan(difference) ? std::numeric_limits<double>::infinity() : difference);
  }
  return error;
}

double share(double error, double largest) {
  return error > 0 ? error / std::max(largest, 1e-300) : 0;
}

void Checker::queries(std::span<const std::int64_t> sample, GradientCheck& result) {
  const auto dim = static_cast<std::size_t>(problem_.head_dim), value_dim = static_cast<std::size_t>(problem_.value_dim);
  const auto heads = static_cast<std::size_t>(problem_.query_heads);
  const std::size_t width = 2 * dim + value_dim + 2;  // query, its gradient, that of the output, log-sum-exp, D
  double largest = 0, error = 0;
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
    std::vector<double> expected(heads * dim), got;
    const auto one = [&](int head, int) {
      const double* const from = numbers.data() + static_cast<std::size_t>(head) * width;
      ReferenceRow known{.query = Row(from, from + dim),
                         .grad_out = Row(from + 2 * dim, from + 2 * dim + value_dim),
                         .position = token + problem_.first_query_position(),
                         .head = head,
                         .lse = from[width - 2],
                         .product = from[width - 1]};
      each_token(key_rows_, [&](std::int64_t row, std::int64_t key) {
        if (!bands_.visible(known.position, key, head)) return;
        const Row vector = row_of(operands_.keys, row, head / problem_.group());
        const ReferencePair pair =
            reference_pair(known, key, vector, row_of(operands_.values, row, head / problem_.group()), rule_);
        for (std::size_t c = 0; c < dim; ++c)
          expected[static_cast<std::size_t>(head) * dim + c] += pair.slope * static_cast<double>(vector[c]);
      });
    };
    while_alive(transport_, [&] { team_.run(problem_.query_heads, one, [] {}); });
    for (std::size_t head = 0; head < heads; ++head) {
      const auto gradient = numbers.begin() + static_cast<std::ptrdiff_t>(head * width + dim);
      got.insert(got.end(), gradient, gradient + static_cast<std::ptrdiff_t>(dim));
    }
    error = error_of(got, summed(std::move(expected)), largest, error);
  }
  result.query_error = share(error, largest);
  result.rows += std::ssize(sample);
}

void Checker::keys(std::span<const std::int64_t> sample, GradientCheck& result) {
  const auto dim = static_cast<std::size_t>(problem_.head_dim), value_dim = static_cast<std::size_t>(problem_.value_dim);
  const auto heads = static_cast<std::size_t>(problem_.key_heads);
  const std::size_t both = dim + value_dim;
  double largest_key = 0, largest_value = 0, key_error = 0, value_error = 0;
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
    std::vector<double> expected(heads * both);
    const auto one = [&](int head, int) {
      const double* const from = numbers.data() + static_cast<std::size_t>(head) * 2 * both;
      double* const to = expected.data() + static_cast<std::size_t>(head) * both;
      const Row key(from, from + dim), value(from + dim, from + both);
      each_token(query_rows_, [&](std::int64_t row, std::int64_t query) {
        for (int of = head * problem_.group(); of < (head + 1) * problem_.group(); ++of) {
          if (!bands_.visible(query + problem_.first_query_position(), token, of)) continue;
          const ReferenceRow known = known_row(row, query, of);
          const ReferencePair pair = reference_pair(known, token, key, value, rule_);
          for (std::size_t c = 0; c < dim; ++c) to[c] += pair.slope * static_cast<double>(known.query[c]);
          for (std::size_t c = 0; c < value_dim; ++c) to[dim + c] += pair.weight * static_cast<double>(known.grad_out[c]);
        }
      });
    };
    while_alive(transport_, [&] { team_.run(problem_.key_heads, one, [] {}); });
    const std::vector<double> sums = summed(std::move(expected));
    for (std::size_t head = 0; head < heads; ++head) {
      const auto got = std::span<const double>(numbers).subspan(head * 2 * both + both, both);
      const auto wanted = std::span<const double>(sums).subspan(head * both, both);
      key_error = error_of(got.first(dim), wanted.first(dim), largest_key, key_error);
      value_error = error_of(got.last(value_dim), wanted.last(value_dim), largest_value, value_error);
    }
  }
  result.key_error = share(key_error, largest_key), result.value_error = share(value_error, largest_value);
  result.rows += std::ssize(sample);
}

}  // namespace

GradientCheck check_gradients(Transport& transport, Team& team, const Problem& problem, std::span<const Range> query_rows,
                              std::span<const Range> key_rows, const GradientOperands& operands,
                              std::span<const std::int64_t> query_sample, std::span<const std::int64_t> key_sample) {
  GradientCheck result;
  result.limit = gradient_limit(problem.type);
  Checker checker(transport, team, problem, query_rows, key_rows, operands);
  checker.queries(query_sample, result);
  checker.keys(key_sample, result);
  const std::pair<const char*, double> errors[] = {
      {"queries", result.query_error}, {"keys", result.key_error}, {"values", result.value_error}};
  for (const auto& [name, error] : errors) {
    if (error <= result.limit) continue;
    result.failure = std::string("gradients of ") + name + " are off by " + std::to_string(error) + " of the largest, at most " +
                     std::to_string(result.limit) + " is allowed";
  }
  return result;
}

}  // namespace gyre
