#include "launch/check_gradients.hpp"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <functional>
#include <limits>

#include "comm/agreement.hpp"
#include "comm/while_alive.hpp"
#include "kernels/convert.hpp"
#include "kernels/reference_rotary.hpp"
#include "launch/check.hpp"
#include "launch/rows_in_cells.hpp"

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

/// Numbers that one head of a sampled token has: what its owner knows of it, the gradient that it was given, and the sums that this
/// is compared with.
struct Widths {
  std::size_t heads, known, gradient, sums;
  std::size_t both() const { return known + gradient; }
};

class Checker {
 public:
  Checker(Transport& transport, Team& team, const Problem& problem, std::span<const Range> query_rows,
          std::span<const Range> key_rows, const GradientOperands& operands)
      : transport_(transport),
        team_(team),
        problem_(problem),
        query_rows_(query_rows),
        key_rows_(key_rows),
        queries_(RowsInCells::queries(transport, team, problem, operands.queries, query_rows)),
        keys_(RowsInCells::keys(transport, team, problem, operands.keys, key_rows)),
        operands_(operands),
        rule_(problem.score_rule()),
        bands_(problem.bands()) {}

  void queries(std::span<const std::int64_t> sample, GradientCheck& result);
  void keys(std::span<const std::int64_t> sample, GradientCheck& result);

 private:
  ReferenceRow known_row(std::int64_t row, std::int64_t token, int head, int form) const;
  int form_seen(std::int64_t query, std::int64_t key) const {
    return form_of(query + problem_.first_query_position(), key, chunk_tokens(problem_));
  }
  void from_owner(std::span<const Range> rows, std::int64_t token, std::span<double> numbers,
                  const std::function<void(std::int64_t row)>& fill);
  std::vector<double> summed(std::vector<double> mine);
  void turn_back(std::span<double> gradient, std::span<double> bounds, std::int64_t position) const {
    if (problem_.rotary) reference_turn_back(gradient, bounds, *problem_.rotary, position);
  }
  template <class Tell, class Add, class Compare>
  void each_token_and_head(std::span<const std::int64_t> sample, std::span<const Range> rows, const Widths& widths, Tell&& tell,
                           Add&& add, Compare&& compare);

  Transport& transport_;
  Team& team_;
  const Problem& problem_;
  std::span<const Range> query_rows_, key_rows_;
  const RowsInCells queries_, keys_;
  const GradientOperands& operands_;
  ScoreRule rule_;
  Bands bands_;
};

/// What forward knows of a row, in one of its forms; a row that sees nothing has no log-sum-exp to speak of, and no pairs.
ReferenceRow Checker::known_row(std::int64_t row, std::int64_t token, int head, int form) const {
  ReferenceRow known{.query = row_of(queries_.rows(form), row, head),
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

/// For each head of a sampled token: its owner tells its numbers (tell(row, token, head) -> known, then gradient), every rank adds
/// what its own rows bring (add(token, head, known, sums, bounds)), and their sums over ranks are compared with what the owner got
/// (compare(token, gradient, sums, bounds)). Collective.
template <class Tell, class Add, class Compare>
void Checker::each_token_and_head(std::span<const std::int64_t> sample, std::span<const Range> rows, const Widths& widths,
                                  Tell&& tell, Add&& add, Compare&& compare) {
  const auto part = [](std::span<double> all, std::size_t index, std::size_t size) { return all.subspan(index * size, size); };
  for (const std::int64_t token : sample) {
    std::vector<double> numbers(widths.heads * widths.both());
    const auto of_head = [&](std::size_t head) { return part(numbers, head, widths.both()); };
    from_owner(rows, token, numbers, [&](std::int64_t row) {
      for (std::size_t head = 0; head < widths.heads; ++head) {
        const std::vector<double> told = tell(row, token, static_cast<int>(head));
        std::copy(told.begin(), told.end(), of_head(head).begin());
      }
    });
    std::vector<double> expected(2 * widths.heads * widths.sums);  // then their bounds
    const auto one = [&](int head, int) {
      const auto at = static_cast<std::size_t>(head);
      add(token, head, of_head(at).first(widths.known), part(expected, at, widths.sums),
          part(expected, widths.heads + at, widths.sums));
    };
    while_alive(transport_, [&] { team_.run(static_cast<int>(widths.heads), one, [] {}); });
    expected = summed(std::move(expected));
    for (std::size_t head = 0; head < widths.heads; ++head) {
      compare(token, of_head(head).last(widths.gradient), part(expected, head, widths.sums),
              part(expected, widths.heads + head, widths.sums));
    }
  }
}

void append(std::vector<double>& numbers, std::span<const float> more) {
  numbers.insert(numbers.end(), more.begin(), more.end());
}

std::span<const float> gradient_row(const TypedOutRows& rows, std::int64_t row, int head) {
  return {reinterpret_cast<const float*>(rows.row(row, head)), static_cast<std::size_t>(rows.dim)};
}

void Checker::queries(std::span<const std::int64_t> sample, GradientCheck& result) {
  const auto dim = static_cast<std::size_t>(problem_.head_dim), value_dim = static_cast<std::size_t>(problem_.value_dim);
  const auto forms = static_cast<std::size_t>(problem_.query_forms());
  const Widths widths{.heads = static_cast<std::size_t>(problem_.query_heads),
                      .known = forms * dim + value_dim + 2,
                      .gradient = dim,
                      .sums = forms * dim};
  Judge judge;
  const auto tell = [&](std::int64_t row, std::int64_t token, int head) {
    const ReferenceRow known = known_row(row, token, head, 0);
    std::vector<double> numbers;
    for (int form = 0; form < problem_.query_forms(); ++form) append(numbers, row_of(queries_.rows(form), row, head));
    append(numbers, known.grad_out);
    numbers.push_back(known.lse), numbers.push_back(known.product);
    append(numbers, gradient_row(operands_.grad_queries, row, head));
    return numbers;
  };
  const auto add_keys = [&](std::int64_t token, int head, std::span<const double> told, std::span<double> sums,
                            std::span<double> bounds) {
    std::vector<Row> queries;
    for (std::size_t form = 0; form < forms; ++form) {
      const auto query = told.subspan(form * dim, dim);
      queries.emplace_back(query.begin(), query.end());
    }
    const auto grad_out = told.subspan(forms * dim, value_dim);
    ReferenceRow known{.query = {},
                       .grad_out = Row(grad_out.begin(), grad_out.end()),
                       .position = token + problem_.first_query_position(),
                       .head = head,
                       .lse = told[forms * dim + value_dim],
                       .product = told[forms * dim + value_dim + 1]};
    allow_errors(known);
    each_token(key_rows_, [&](std::int64_t row, std::int64_t key) {
      if (!bands_.visible(known.position, key, head)) return;
      const Row vector = row_of(keys_.rows(), row, head / problem_.group());
      const Row value = row_of(operands_.values, row, head / problem_.group());
      const auto form = static_cast<std::size_t>(form_seen(token, key));
      known.query = queries[form];
      const ReferencePair pair = reference_pair(known, key, vector, value, rule_, problem_.type);
      add(sums.subspan(form * dim, dim), bounds.subspan(form * dim, dim), pair.slope, pair.slope_error, vector);
    });
  };
  const auto compare = [&](std::int64_t token, std::span<const double> got, std::span<double> sums, std::span<double> bounds) {
    for (std::size_t form = 0; form < forms; ++form) {
      const auto of_form = sums.subspan(form * dim, dim), its_bounds = bounds.subspan(form * dim, dim);
      turn_back(of_form, its_bounds,
                reference_query_position(problem_.dual_chunk, token + problem_.first_query_position(), static_cast<int>(form)));
      for (std::size_t c = 0; form > 0 && c < dim; ++c) sums[c] += of_form[c], bounds[c] += its_bounds[c];
    }
    judge.compare(got, sums.first(dim), bounds.first(dim));
  };
  each_token_and_head(sample, query_rows_, widths, tell, add_keys, compare);
  result.query_error = judge.share_of_largest();
  note("queries", judge, result);
  result.rows += std::ssize(sample);
}

void Checker::keys(std::span<const std::int64_t> sample, GradientCheck& result) {
  const auto dim = static_cast<std::size_t>(problem_.head_dim), value_dim = static_cast<std::size_t>(problem_.value_dim);
  const Widths widths{.heads = static_cast<std::size_t>(problem_.key_heads),
                      .known = dim + value_dim,
                      .gradient = dim + value_dim,
                      .sums = dim + value_dim};
  Judge of_keys, of_values;
  const auto tell = [&](std::int64_t row, std::int64_t, int head) {
    std::vector<double> numbers;
    append(numbers, row_of(keys_.rows(), row, head)), append(numbers, row_of(operands_.values, row, head));
    append(numbers, gradient_row(operands_.grad_keys, row, head)), append(numbers, gradient_row(operands_.grad_values, row, head));
    return numbers;
  };
  const auto add_queries = [&](std::int64_t token, int head, std::span<const double> told, std::span<double> sums,
                               std::span<double> bounds) {
    const Row key(told.begin(), told.begin() + static_cast<std::ptrdiff_t>(dim));
    const Row value(told.begin() + static_cast<std::ptrdiff_t>(dim), told.end());
    each_token(query_rows_, [&](std::int64_t row, std::int64_t query) {
      for (int of = head * problem_.group(); of < (head + 1) * problem_.group(); ++of) {
        if (!bands_.visible(query + problem_.first_query_position(), token, of)) continue;
        const ReferenceRow known = known_row(row, query, of, form_seen(query, token));
        const ReferencePair pair = reference_pair(known, token, key, value, rule_, problem_.type);
        add(sums.first(dim), bounds.first(dim), pair.slope, pair.slope_error, known.query);
        add(sums.last(value_dim), bounds.last(value_dim), pair.weight, pair.weight_error, known.grad_out);
      }
    });
  };
  const auto compare = [&](std::int64_t token, std::span<const double> got, std::span<double> sums, std::span<double> bounds) {
    turn_back(sums.first(dim), bounds.first(dim), reference_key_position(problem_.dual_chunk, token));
    of_keys.compare(got.first(dim), sums.first(dim), bounds.first(dim));
    of_values.compare(got.last(value_dim), sums.last(value_dim), bounds.last(value_dim));
  };
  each_token_and_head(sample, key_rows_, widths, tell, add_queries, compare);
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
