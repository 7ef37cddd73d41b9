#include "support/gradients.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "kernels/reference_rotary.hpp"
#include "runtime/schedules/schedules.hpp"

namespace gyre::test {
namespace {

std::size_t elements(std::int64_t tokens, int heads, int dim) {
  return static_cast<std::size_t>(tokens) * heads * dim;
}

void add(GradientErrors& errors, const std::vector<float>& found, const ReferenceGradient& expected, std::span<const Range> rows,
         std::size_t width) {
  double error = 0, largest = 0;
  // NaN is the worst error there is, and max() would drop it.
  const auto worse = [](double& worst, double now) { worst = now <= worst ? worst : std::isnan(now) ? HUGE_VAL : now; };
  for (const double value : expected.value) worse(largest, std::abs(value));
  for (const Range& range : rows) {
    for (std::size_t at = range.begin * width; at < range.end * width; ++at) {
      const double off = std::abs(static_cast<double>(found[at]) - expected.value[at]);
      worse(error, off);
      if (!(off == 0)) worse(errors.share_of_bound, off / (expected.bound[at] + 1e-36));
    }
  }
  if (error > 0) worse(errors.relative, error / largest);
}

/// Gradients of rows that positions have turned become those of the rows themselves. position_of: of a row's token.
template <class PositionOf>
void turn_back(ReferenceGradient& gradient, const Problem& problem, int heads, PositionOf&& position_of) {
  if (!problem.rotary) return;
  const std::size_t dim = problem.head_dim, count = gradient.value.size() / dim;
  for (std::size_t row = 0; row < count; ++row) {
    reference_turn_back(std::span(gradient.value).subspan(row * dim, dim), std::span(gradient.bound).subspan(row * dim, dim),
                        *problem.rotary, position_of(static_cast<std::int64_t>(row) / heads));
  }
}

/// Those of queries: of all their forms together.
void turn_back(ReferenceGradients& gradients, const Problem& p) {
  ReferenceGradient* const forms[] = {&gradients.query, &gradients.further[0], &gradients.further[1]};
  for (int form = 0; form < p.query_forms(); ++form) {
    ReferenceGradient& of_form = *forms[form];
    turn_back(of_form, p, p.query_heads,
              [&](std::int64_t token) { return reference_query_position(p.dual_chunk, p.first_query_position() + token, form); });
    for (std::size_t at = 0; form > 0 && at < of_form.value.size(); ++at) {
      gradients.query.value[at] += of_form.value[at], gradients.query.bound[at] += of_form.bound[at];
    }
  }
  turn_back(gradients.key, p, p.key_heads, [&](std::int64_t token) { return reference_key_position(p.dual_chunk, token); });
}

}  // namespace

Job random_gradient_job(Random& random, int ranks) {
  Job job = random_job(random, ranks);
  constexpr Backward kWays[] = {Backward::automatic, Backward::keys_travel, Backward::queries_travel};
  job.options.backward = kWays[draw(random, 0, 2)];
  while (!can_go_backward(job.options.strategy.kind, job.options.backward)) job.options.strategy = random_strategy(random, ranks);
  job.text += ", of gradients " + to_string(job.options.backward) + " travel, by " + to_string(job.options.strategy);
  return job;
}

Gradients::Gradients(const Problem& p)
    : queries(elements(p.query_tokens, p.query_heads, p.head_dim), std::nanf("")),
      keys(elements(p.key_tokens, p.key_heads, p.head_dim), std::nanf("")),
      values(elements(p.key_tokens, p.key_heads, p.value_dim), std::nanf("")) {}

bool Gradients::operator==(const Gradients& other) const {
  const auto same = [](const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
  };
  return same(queries, other.queries) && same(keys, other.keys) && same(values, other.values) && same(sinks, other.sinks);
}

std::vector<float> random_grad_out(const Problem& problem, std::uint64_t seed, double size) {
  Random random(seed);
  std::normal_distribution<float> normal(0, static_cast<float>(size));
  std::vector<float> grad_out(elements(problem.query_tokens, problem.query_heads, problem.value_dim));
  std::generate(grad_out.begin(), grad_out.end(), [&] { return normal(random); });
  return grad_out;
}

GradientRows::GradientRows(const Job& job, const Tensors& tensors, const std::vector<float>& grad_out, const Transport& transport)
    : problem_(job.problem), rows_(job, tensors, transport), writes_sinks_(transport.rank() == 0) {
  const Layout layout(job.problem, job.options, transport.ranks());
  query_ranges_ = rows_of(layout.query_units, layout.queries, transport.rank());
  key_ranges_ = rows_of(layout.key_units, layout.keys, transport.rank());
  grad_out_ = gather(grad_out, query_ranges_, elements(1, problem_.query_heads, problem_.value_dim));
  forget();
}

void GradientRows::forget() const {
  const Operands rows = rows_.operands();
  queries_.assign(elements(rows.queries.tokens, problem_.query_heads, problem_.head_dim), std::nanf(""));
  keys_.assign(elements(rows.keys.tokens, problem_.key_heads, problem_.head_dim), std::nanf(""));
  sinks_.assign(problem_.sinks == SinkLogits::learned ? problem_.query_heads : 0, std::nanf(""));
  values_.assign(elements(rows.keys.tokens, problem_.key_heads, problem_.value_dim), std::nanf(""));
}

GradientOperands GradientRows::backward() const {
  const Problem& p = problem_;
  const Operands rows = rows_.operands();
  return {.queries = rows.queries,
          .keys = rows.keys,
          .values = rows.values,
          .out = rows.out,
          .lse = rows.lse,
          .grad_out = {grad_out_.data(), rows.queries.tokens, p.query_heads, p.value_dim},
          .grad_queries = {queries_.data(), rows.queries.tokens, p.query_heads, p.head_dim},
          .grad_keys = {keys_.data(), rows.keys.tokens, p.key_heads, p.head_dim},
          .grad_values = {values_.data(), rows.keys.tokens, p.key_heads, p.value_dim},
          .sinks = rows.sinks,
          .grad_sinks = sinks_.empty() ? nullptr : sinks_.data()};
}

void GradientRows::write_to(Gradients& gradients) const {
  const Problem& p = problem_;
  scatter(queries_, query_ranges_, elements(1, p.query_heads, p.head_dim), gradients.queries);
  scatter(keys_, key_ranges_, elements(1, p.key_heads, p.head_dim), gradients.keys);
  scatter(values_, key_ranges_, elements(1, p.key_heads, p.value_dim), gradients.values);
  if (writes_sinks_) gradients.sinks = sinks_;
}

void run_rank(Transport& transport, const Job& job, const Tensors& tensors, const std::vector<float>& grad_out,
              Gradients& gradients, int calls) {
  const GradientRows rows(job, tensors, grad_out, transport);
  Attention attention(transport, job.problem, job.options);
  for (int call = 0; call < calls; ++call) {
    attention.forward(rows.forward());
    rows.forget();
    attention.backward(rows.backward());
  }
  rows.write_to(gradients);
}

GradientErrors compare(const Problem& p, const Tensors& unrounded, const std::vector<float>& grad_out, const Gradients& gradients,
                       std::span<const Range> queries, std::span<const Range> keys) {
  const CellTensors tensors = as_in_cells(p, unrounded);
  const Tensors of_output = rounded({.queries = grad_out, .keys = {}, .values = {}, .sinks = {}}, p.type);
  const Bands bands = p.bands();
  const auto further = [&](int form) {
    return Rows<const float>(tensors.further[form].data(), tensors.further[form].empty() ? 0 : p.query_tokens, p.query_heads,
                             p.head_dim);
  };
  const ReferenceForms forms{.further = {further(0), further(1)}, .chunk_tokens = p.dual_chunk ? p.dual_chunk->length() : 0};
  ReferenceGradients expected =
      reference_gradients(Rows<const float>(tensors.queries.data(), p.query_tokens, p.query_heads, p.head_dim),
                          Rows<const float>(tensors.keys.data(), p.key_tokens, p.key_heads, p.head_dim),
                          Rows<const float>(tensors.values.data(), p.key_tokens, p.key_heads, p.value_dim),
                          Rows<const float>(of_output.queries.data(), p.query_tokens, p.query_heads, p.value_dim),
                          p.first_query_position(), 0, p.score_rule(), bands, p.type, p.type, tensors.sinks, forms);
  turn_back(expected, p);
  GradientErrors errors;
  add(errors, gradients.queries, expected.query, queries, elements(1, p.query_heads, p.head_dim));
  add(errors, gradients.keys, expected.key, keys, elements(1, p.key_heads, p.head_dim));
  add(errors, gradients.values, expected.value, keys, elements(1, p.key_heads, p.value_dim));
  GradientErrors of_sinks;  // a few sums over all rows, whose addends may cancel
  const Range heads{0, std::ssize(gradients.sinks)};
  add(of_sinks, gradients.sinks, expected.sinks, {&heads, 1}, 1);
  errors.share_of_bound = std::max(errors.share_of_bound, of_sinks.share_of_bound);
  return errors;
}

GradientErrors compare(const Problem& problem, const Tensors& tensors, const std::vector<float>& grad_out,
                       const Gradients& gradients) {
  const Range queries{0, problem.query_tokens}, keys{0, problem.key_tokens};
  return compare(problem, tensors, grad_out, gradients, {&queries, 1}, {&keys, 1});
}

}  // namespace gyre::test
