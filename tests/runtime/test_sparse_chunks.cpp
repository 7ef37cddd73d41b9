// Vertical-slash selection inside dual chunk attention, beside its definition in float64: every distance is written down, no row is
// ever turned.
#include <cmath>

#include "runtime/mechanism/recall.hpp"
#include "runtime/mechanism/vertical_slash.hpp"
#include "sparse_case.hpp"
#include "support/catch.hpp"
#include "support/gradients.hpp"
#include "support/relative_positions.hpp"

using namespace gyre;
using namespace gyre::test;

namespace {

struct ChunkCase : SparseCase {
  std::int64_t chunk, local, length;

  ChunkCase(std::int64_t tokens, std::int64_t chunk_tokens, std::int64_t local_tokens, std::uint64_t seed)
      : SparseCase(tokens, 4, 2, 16, seed), chunk(chunk_tokens), local(local_tokens), length(chunk - local) {
    problem.rotary = Rotary{.base = 1000, .dims = 12};
    problem.dual_chunk = DualChunk{.chunk = chunk, .local = local};
  }
  std::int64_t chunks() const { return (tokens() + length - 1) / length; }
  /// As attention takes two tokens to be apart, and as selection does: there nothing is clamped.
  RelativePosition clamped() const {
    return [*this](std::int64_t i, std::int64_t j) {
      const std::int64_t apart = i / length - j / length, a = i % length, b = j % length;
      return apart == 0 ? a - b : apart == 1 ? std::min(a + length, chunk) - b : std::min(2 * length - 1, chunk) - b;
    };
  }
  RelativePosition critical() const {
    return [*this](std::int64_t i, std::int64_t j) {
      const std::int64_t apart = i / length - j / length, a = i % length, b = j % length;
      return apart == 0 ? a - b : apart == 1 ? a + length - b : chunk + a - b;
    };
  }
  double score(std::int64_t i, std::int64_t j, int head, const RelativePosition& relative) const {
    const float *const q = query(i, head), *const k = key(j, head);
    const std::vector<double> frequencies = problem.rotary->frequencies(problem.head_dim);
    const std::size_t pairs = frequencies.size();
    double sum = 0;
    for (std::size_t pair = 0; pair < pairs; ++pair) {
      const double angle = static_cast<double>(relative(i, j)) * frequencies[pair];
      const double qx = q[pair], qy = q[pair + pairs], kx = k[pair], ky = k[pair + pairs];
      sum += (qx * kx + qy * ky) * std::cos(angle) + (qx * ky - qy * kx) * std::sin(angle);
    }
    for (std::size_t dim = 2 * pairs; dim < static_cast<std::size_t>(problem.head_dim); ++dim)
      sum += double{q[dim]} * double{k[dim]};
    return sum * problem.score_scale();
  }
  std::vector<double> weights(std::int64_t i, int head, const RelativePosition& relative) const {
    std::vector<double> weights;
    double total = 0;
    for (std::int64_t j = 0; j <= i; ++j) weights.push_back(std::exp(score(i, j, head, relative)));
    for (const double weight : weights) total += weight;
    for (double& weight : weights) weight /= total;
    return weights;
  }
};

/// What the last queries of a chunk look at: by key, and by bins of 64 distances.
struct Looked {
  std::vector<double> columns, bins;
};
Looked look(const ChunkCase& job, std::int64_t chunk, int head) {
  const std::int64_t begin = chunk * job.length, end = std::min(job.tokens(), begin + job.length);
  Looked looked{std::vector<double>(static_cast<std::size_t>(end)), std::vector<double>(static_cast<std::size_t>((end + 63) / 64))};
  for (std::int64_t i = std::max(begin, end - 64); i < end; ++i) {
    const std::vector<double> weights = job.weights(i, head, job.critical());
    for (std::int64_t j = 0; j <= i; ++j) {
      looked.columns[static_cast<std::size_t>(j)] += weights[static_cast<std::size_t>(j)];
      looked.bins[static_cast<std::size_t>((i - j) / 64)] += weights[static_cast<std::size_t>(j)];
    }
  }
  return looked;
}

/// The keys that a region without chosen columns gets, and nothing where it has some: of those the greatest, forced ones first.
std::set<std::int64_t> filled(const ChunkCase& job, std::int64_t chunk, const std::vector<double>& columns, std::int64_t wanted) {
  std::vector<std::int64_t> order;
  for (std::int64_t key = 0; key < std::ssize(columns); ++key) order.push_back(key);
  std::ranges::stable_sort(order, std::ranges::greater{}, [&](std::int64_t key) { return key < 30 ? HUGE_VAL : columns[key]; });
  order.resize(static_cast<std::size_t>(std::min(wanted, std::ssize(order))));
  std::set<std::int64_t> keys;
  const std::int64_t own = chunk * job.length, before = std::max<std::int64_t>(0, own - job.length);
  for (const Range region : {Range{0, before}, Range{before, own}, Range{own, std::ssize(columns)}}) {
    if (region.empty() || std::ranges::any_of(order, [&](std::int64_t key) { return region.contains(key); })) continue;
    for (std::int64_t at = 0; at < 5; ++at) keys.insert(region.begin + at * region.size() / 5);
  }
  return keys;
}

}  // namespace

TEST_CASE("in dual chunks the last queries of every chunk choose for it, as if nothing clamped how far keys are") {
  std::size_t regions_filled = 0;
  for (const auto& [tokens, chunk, local, columns] : {std::tuple{1000, 300, 60, 70}, {777, 150, 1, 31}, {500, 90, 50, 64}}) {
    ChunkCase job(tokens, chunk, local, 31);
    if (chunk == 150) job.problem.dual_chunk->original_tokens = 200;
    const ColumnsAndDiagonals tables = table_of<ColumnsAndDiagonals>(job, [&](const Estimator& given) {
      const RotaryTable rotary(*job.problem.rotary, job.problem.head_dim, given.kernels);
      Estimator estimator = given;
      estimator.queries.rotary = estimator.keys.rotary = &rotary;
      estimator.queries.standing.chunk = estimator.keys.standing.chunk = job.length;
      const std::vector<int> heads{0, 1, 3};
      return select_vertical_slash(estimator, {.columns = columns, .diagonals = 250}, heads);
    });
    REQUIRE(tables.columns.shape() ==
            BlockShape{.query_tokens = job.length, .key_tokens = 1, .heads = 4, .rows = job.chunks(), .columns = tokens});
    REQUIRE(std::ssize(tables.diagonals) == job.chunks());
    for (std::int64_t k = 0; k < job.chunks(); ++k) {
      for (const int head : {0, 1, 3}) {
        INFO(tokens << " tokens, chunk " << k << ", head " << head);
        const Looked looked = look(job, k, head);
        const std::int64_t end = std::ssize(looked.columns);
        const std::set<std::int64_t> extra = filled(job, k, looked.columns, columns);
        std::vector<std::uint8_t> cells(static_cast<std::size_t>(tokens));
        for (std::int64_t key = 0; key < tokens; ++key) cells[key] = tables.columns.visible(head, k, key) && !extra.contains(key);
        for (const std::int64_t key : extra) CHECK(tables.columns.visible(head, k, key));
        regions_filled += extra.size() / 5;
        std::set<std::int64_t> columns_forced, bins_forced;
        for (std::int64_t key = 0; key < std::min<std::int64_t>(30, end); ++key) columns_forced.insert(key);
        for (std::int64_t bin = 0; bin < 2 && bin * 64 < end; ++bin) bins_forced.insert(bin);
        const BlockTable chosen({.query_tokens = kEveryQuery, .key_tokens = 1, .heads = 1, .rows = 1, .columns = tokens}, cells);
        CHECK(takes_greatest(chosen, 0, 0, looked.columns, columns, 1e-5, columns_forced));
        CHECK(takes_greatest(tables.diagonals[k], head, 0, looked.bins, 4, 1e-4, bins_forced));
      }
      CHECK(tables.columns.count(2, k, {0, tokens}) == 0);
    }
  }
  CHECK(regions_filled > 3);
}

TEST_CASE("while keys fit into one chunk, heads choose what they do with plain rotary positions, to the bit") {
  for (const char* text : {"vertical_slash(60,300)", "a_shape(20,100)"}) {
    const std::vector<SparseChoice> choices{parse_sparse_choice(text)};
    ChunkCase job(400, 420, 20, 32);
    SparseCase plain = job;
    plain.problem.dual_chunk.reset();
    CHECK(contents(mask_of(job, choices)) == contents(mask_of(plain, choices)));
    job.problem.dual_chunk->chunk = 419;
    CHECK((contents(mask_of(job, choices)) == contents(mask_of(plain, choices))) == (text[0] == 'a'));
  }
}

TEST_CASE("in dual chunks heads choose the same pairs on 1, 2, 3, 4, 5 and 8 ranks, wherever their rows lie, in f32 and bf16") {
  for (const Type type : {Type::f32, Type::bf16}) {
    for (const auto& [chunk, local] : {std::pair{300, 61}, {140, 7}}) {
      ChunkCase job(1037, chunk, local, 33);
      job.problem.type = type;
      const std::vector<SparseChoice> choices{VerticalSlash{60, 300}, AShape{9, 80}, VerticalSlash{60, 300},
                                              VerticalSlash{40, 128}};
      INFO(to_string(type) << ", chunk " << chunk);
      check_alike_on_ranks(job, choices);
    }
  }
}

TEST_CASE(
    "results and gradients in dual chunks under chosen masks are those of the distances, on ranks that the work is dealt to") {
  // Chunks of 130 and more: columns of a chunk's rows are gathered.
  for (const auto& [tokens, chunk, local] : {std::tuple{420, 160, 29}, {300, 150, 20}, {257, 40, 11}}) {
    ChunkCase sparse(tokens, chunk, local, 34);
    Job job;
    job.problem = sparse.problem;
    job.problem.mask = mask_of(sparse, {parse_sparse_choice("vertical_slash(35,128)")});
    job.options.partition = PartitionChoice::parse("balanced");
    job.options.backward = Backward::keys_travel;
    job.options.unit_tokens = 48;
    const std::vector<float> grad_out = random_grad_out(job.problem, 35, 1);
    Problem plain = job.problem;
    plain.dual_chunk.reset();
    const NaiveResult expected = naive_attention(plain, sparse.tensors, sparse.clamped(), grad_out);
    for (const int ranks : {1, 2, 3, 4, 5, 8}) {
      INFO(tokens << " tokens, " << ranks << " ranks");
      const Result result = run_loopback_job(job, sparse.tensors, ranks, 2);
      CHECK(relative_error(result.out, expected.out) < 5e-6);
      CHECK(relative_error(result.lse, expected.lse) < 5e-6);
      Gradients gradients(job.problem);
      run_loopback(
          ranks, [&](Transport& transport) { run_rank(transport, job, sparse.tensors, grad_out, gradients); }, 2);
      CHECK(relative_error(gradients.queries, expected.queries) < 1e-5);
      CHECK(relative_error(gradients.keys, expected.keys) < 1e-5);
      CHECK(relative_error(gradients.values, expected.values) < 1e-5);
    }
  }
}

TEST_CASE("recall in dual chunks is of the weights that attention has there") {
  ChunkCase job(300, 90, 20, 36);
  job.problem.dual_chunk->original_tokens = 100;
  const Mask kept = mask_of(job, {parse_sparse_choice("vertical_slash(35,128)")});
  const std::vector<std::int64_t> sample{0, 65, 71, 150, 299};
  double mean = 0, least = 1;
  for (const std::int64_t i : sample) {
    for (int head = 0; head < 4; ++head) {
      const std::vector<double> weights = job.weights(i, head, job.clamped());
      double share = 0;
      for (std::int64_t j = 0; j <= i; ++j) share += kept.bands().visible(i, j, head) ? weights[static_cast<std::size_t>(j)] : 0;
      mean += share / 20, least = std::min(least, share);
    }
  }
  check_recall(job, kept, sample, mean, least, 1e-5);  // rows are turned in fp32
}
