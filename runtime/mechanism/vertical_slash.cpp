#include "runtime/mechanism/vertical_slash.hpp"

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <utility>

namespace gyre {
namespace {

// Weights and masses travel, and are added, as integers: sums of them have no order. A row's weights add up to at most 2^31 x 2^32,
// the masses of a column or bin to at most 64 x 2^40 each.
constexpr double kWeightOne = 0x1p32, kMassOne = 0x1p40;
constexpr std::int64_t kRows = VerticalSlash::kQueries;
constexpr std::int64_t kTaskKeys = 512;
constexpr std::int64_t kForced = std::numeric_limits<std::int64_t>::max();

struct Candidate {
  std::int64_t mass = -1;  // -1: none
  std::int64_t index = 0;
  bool before(const Candidate& other) const { return mass != other.mass ? mass > other.mass : index < other.index; }
};

std::vector<Candidate> greatest(std::vector<Candidate> candidates, std::int64_t wanted) {
  const auto first = [](const Candidate& a, const Candidate& b) { return a.before(b); };
  if (wanted < std::ssize(candidates)) {
    std::nth_element(candidates.begin(), candidates.begin() + wanted, candidates.end(), first);
    candidates.resize(static_cast<std::size_t>(wanted));
  }
  return candidates;
}

/// What a worker adds up over its tasks, and where it has products.
struct Work {
  std::vector<std::int64_t> weights, bins;
  AlignedFloats products;  // [kRows, kTaskKeys]
};

/// Stretches of queries that choose together: the chunks of dual chunk attention, or all queries.
struct Chunks {
  std::int64_t tokens = 0, length = 0;

  explicit Chunks(const Problem& problem)
      : tokens(problem.key_tokens), length(problem.dual_chunk ? problem.dual_chunk->length() : problem.key_tokens) {}
  std::int64_t count() const { return (tokens + length - 1) / length; }
  Range of(std::int64_t chunk) const { return Range{chunk * length, (chunk + 1) * length} & Range{0, tokens}; }
  /// Keys that a chunk's queries see in their form: of its own chunk, of the one before, of those before that.
  Range keys_of(std::int64_t chunk, int form) const {
    if (form == 0) return of(chunk);
    return form == 1 ? Range{std::max<std::int64_t>(chunk - 1, 0) * length, chunk * length}
                     : Range{0, std::max<std::int64_t>(chunk - 1, 0) * length};
  }
};

/// What is asked of one head: where the last queries of a chunk look.
struct Look {
  int head = 0;
  std::int64_t chunk = 0;
};

/// The sum, or the maximum, of every rank's numbers, on every rank. Collective.
template <class Number, class Join>
void join_over_ranks(Transport& transport, std::vector<Number>& numbers, Join&& join) {
  std::vector<Number> all(numbers.size() * static_cast<std::size_t>(transport.ranks()));
  transport.all_gather(std::as_bytes(std::span(numbers)), std::as_writable_bytes(std::span(all)));
  std::copy_n(all.begin(), numbers.size(), numbers.begin());
  for (std::size_t index = numbers.size(); index < all.size(); ++index) {
    Number& number = numbers[index % numbers.size()];
    number = join(number, all[index]);
  }
}

/// The last queries of heads and chunks with this rank's keys: their scores, and what becomes of them. Several at a time, since
/// each of the exchanges between ranks costs a wait.
class LastQueries {
 public:
  LastQueries(const Estimator& estimator, std::int64_t bins);

  /// As many as a memory of 64 MB takes of scores, on the rank with most keys; at least 1.
  std::int64_t most_looks() const;
  /// Collective.
  void look(std::span<const Look> looks);
  /// This rank's keys that a look sees, ascending, and their masses for the index-th of those that were taken.
  std::span<const std::int64_t> positions(const Look& look) const;
  std::span<const std::int64_t> columns(std::size_t index) const {
    return std::span(columns_).subspan(index * positions_.size(), positions_.size());
  }
  /// Masses of bins, of all ranks' keys.
  std::span<const std::int64_t> bins(std::size_t index) const {
    return std::span(bins_).subspan(index * static_cast<std::size_t>(bin_count_), static_cast<std::size_t>(bin_count_));
  }

 private:
  std::int64_t parts() const { return (std::ssize(positions_) + kTaskKeys - 1) / kTaskKeys; }
  static Range keys_of(std::int64_t part) { return {part * kTaskKeys, (part + 1) * kTaskKeys}; }
  Range queries_of(const Look& look) const {
    const Range chunk = chunks_.of(look.chunk);
    return {std::max(chunk.begin, chunk.end - kRows), chunk.end};
  }
  /// body(row, query, keys, worker) for each query of the looks and some of the keys that it sees, a look's part at a time.
  template <class Body>
  void each(Body&& body) {
    estimator_.each(std::ssize(looks_) * parts(), [&](int task, int worker) {
      const std::int64_t index = task / parts();
      const Range queries = queries_of(looks_[static_cast<std::size_t>(index)]);
      for (std::int64_t query = queries.begin; query < queries.end; ++query)
        body(index * kRows + query - queries.begin, query, seen(query) & keys_of(task % parts()), worker);
    });
  }
  /// Of this rank's keys those that a query sees.
  Range seen(std::int64_t query) const { return {0, std::ranges::upper_bound(positions_, query) - positions_.begin()}; }
  float* scores_of(std::int64_t row) { return scores_.data() + row * stride_; }
  void fetch_queries();
  std::vector<float> queries_in(const Look& look, int form) const;
  void take_keys(int key_head);
  void score(std::int64_t index);
  std::vector<float> row_maxima();
  std::vector<std::int64_t> row_weights(const std::vector<float>& maxima);
  void add_masses(const std::vector<std::int64_t>& totals);

  const Estimator& estimator_;
  Chunks chunks_;
  int forms_ = 1;
  std::int64_t bin_count_ = 0;
  std::vector<std::int64_t> positions_;
  std::int64_t stride_ = 0;
  std::span<const Look> looks_;              // that are taken together
  Range heads_;                              // of these
  std::map<std::int64_t, int> rows_;         // of the first of a chunk's queries
  std::vector<std::vector<float>> queries_;  // by form: [rows, heads, dim]
  AlignedFloats panels_;                     // keys of a key head
  int packed_ = -1;                          // which
  AlignedFloats scores_;                     // [looks, kRows, stride]; then weights
  std::vector<Work> work_;                   // by worker
  std::vector<std::int64_t> columns_, bins_;
};

LastQueries::LastQueries(const Estimator& estimator, std::int64_t bins)
    : estimator_(estimator),
      chunks_(estimator.problem),
      forms_(estimator.problem.query_forms()),
      bin_count_(bins),
      positions_(listed(estimator.keys.held[static_cast<std::size_t>(estimator.rank())])),
      stride_(panels_of(std::ssize(positions_)) * kStrip),
      queries_(static_cast<std::size_t>(forms_)),
      work_(static_cast<std::size_t>(estimator.team.size())) {
  for (Work& work : work_) work.products.resize(kRows * kTaskKeys);
}

std::int64_t LastQueries::most_looks() const {
  constexpr std::int64_t kFloats = std::int64_t{16} << 20;
  std::int64_t keys = 1;
  for (const auto& held : estimator_.keys.held) keys = std::max(keys, count_of(held));
  return std::max<std::int64_t>(1, kFloats / (kRows * keys));
}

std::span<const std::int64_t> LastQueries::positions(const Look& look) const {
  return std::span(positions_).first(static_cast<std::size_t>(seen(chunks_.of(look.chunk).end - 1).size()));
}

void LastQueries::look(std::span<const Look> looks) {
  looks_ = looks;
  scores_.resize(std::ssize(looks) * kRows * stride_);
  fetch_queries();
  for (std::int64_t index = 0; index < std::ssize(looks); ++index) {
    take_keys(estimator_.key_head_of(looks[static_cast<std::size_t>(index)].head));
    score(index);
  }
  add_masses(row_weights(row_maxima()));
}

/// Of every head between those that are asked for, in each of their forms, on every rank. The forms of the other chunks' keys stand
/// where distances go on as they are (Qwen's critical ones), not where attention clamps them.
void LastQueries::fetch_queries() {
  const auto [first, last] = std::ranges::minmax(looks_, {}, &Look::head);
  heads_ = {first.head, last.head + 1};
  rows_.clear();
  for (const Look& look : looks_) rows_[look.chunk] = 0;
  std::vector<Range> tokens;
  for (auto& [chunk, row] : rows_) {
    row = static_cast<int>(count_of(tokens));
    tokens.push_back(queries_of({.chunk = chunk}));
  }
  const RowMap everyone(estimator_.queries.held.size(), tokens);
  for (int form = 0; form < forms_; ++form) {
    RowsOnRanks from = estimator_.queries;
    if (form > 0) from.standing.shift = form == 1 ? chunks_.length : estimator_.problem.dual_chunk->chunk;
    queries_[static_cast<std::size_t>(form)] = fetch_rows(estimator_.transport, from, heads_, estimator_.problem.type, everyone);
  }
}

/// [rows, dim]
std::vector<float> LastQueries::queries_in(const Look& look, int form) const {
  const std::int64_t dims = estimator_.problem.head_dim;
  const std::vector<float>& all = queries_[static_cast<std::size_t>(form)];
  std::vector<float> queries;
  for (std::int64_t row = 0; row < queries_of(look).size(); ++row) {
    const auto from = all.begin() + ((rows_.at(look.chunk) + row) * heads_.size() + look.head - heads_.begin) * dims;
    queries.insert(queries.end(), from, from + dims);
  }
  return queries;
}

/// Collective, where these are not the ones that are there.
void LastQueries::take_keys(int key_head) {
  if (std::exchange(packed_, key_head) == key_head) return;
  pack_panels(estimator_, estimator_.fetch_keys(key_head, estimator_.keys.held), estimator_.problem.head_dim, panels_);
}

/// Forms change in the middle of a panel: products are made of whole ones, and taken of keys of the form.
void LastQueries::score(std::int64_t index) {
  const Look& look = looks_[static_cast<std::size_t>(index)];
  const int dims = estimator_.problem.head_dim, rows = static_cast<int>(queries_of(look).size());
  std::vector<std::vector<float>> queries;
  for (int form = 0; form < forms_; ++form) queries.push_back(queries_in(look, form));
  const auto scale = static_cast<float>(estimator_.problem.score_scale());
  estimator_.each(parts(), [&](int part, int worker) {
    for (int form = 0; form < forms_; ++form) {
      const Range at = chunks_.keys_of(look.chunk, form);
      const Range keys = Range{seen(at.begin - 1).end, seen(at.end - 1).end} & keys_of(part);
      if (keys.empty()) continue;
      const std::int64_t first = keys.begin / kStrip * kStrip;
      float* const products = work_[static_cast<std::size_t>(worker)].products.data();
      estimator_.kernels.products({.rows = rows,
                                   .dims = dims,
                                   .panels = panels_of(keys.end - first),
                                   .queries = queries[static_cast<std::size_t>(form)].data(),
                                   .keys = panels_.data() + first * dims,
                                   .products = products,
                                   .stride = kTaskKeys});
      for (std::int64_t row = 0; row < rows; ++row) {
        float* const scores = scores_of(index * kRows + row);
        for (std::int64_t key = keys.begin; key < keys.end; ++key) scores[key] = products[row * kTaskKeys + key - first] * scale;
      }
    }
  });
}

/// Of rows that are no queries: minus infinity.
std::vector<float> LastQueries::row_maxima() {
  std::vector<float> maxima(looks_.size() * kRows, -std::numeric_limits<float>::infinity());
  estimator_.each(std::ssize(maxima), [&](int row, int) {
    const Range queries = queries_of(looks_[static_cast<std::size_t>(row / kRows)]);
    if (row % kRows >= queries.size()) return;
    const float* const scores = scores_of(row);
    const std::int64_t visible = seen(queries.begin + row % kRows).size();
    for (std::int64_t key = 0; key < visible; ++key) maxima[row] = std::max(maxima[row], scores[key]);
  });
  join_over_ranks(estimator_.transport, maxima, [](float a, float b) { return std::max(a, b); });
  return maxima;
}

/// Turns scores to weights; returns the sum of each row's, over all ranks. A row's greatest weight is 1, so that no sum is 0.
std::vector<std::int64_t> LastQueries::row_weights(const std::vector<float>& maxima) {
  for (Work& work : work_) work.weights.assign(maxima.size(), 0);
  each([&](std::int64_t row, std::int64_t, Range keys, int worker) {
    float* const scores = scores_of(row);
    for (std::int64_t key = keys.begin; key < keys.end; ++key) scores[key] = exp_of_fall(scores[key] - maxima[row]);
    std::int64_t sum = 0;
    for (std::int64_t key = keys.begin; key < keys.end; ++key)
      sum += static_cast<std::int64_t>(static_cast<double>(scores[key]) * kWeightOne);
    work_[static_cast<std::size_t>(worker)].weights[row] += sum;
  });
  std::vector<std::int64_t> totals(maxima.size());
  for (const Work& work : work_) std::transform(totals.begin(), totals.end(), work.weights.begin(), totals.begin(), std::plus<>());
  join_over_ranks(estimator_.transport, totals, std::plus<>());
  return totals;
}

void LastQueries::add_masses(const std::vector<std::int64_t>& totals) {
  columns_.assign(looks_.size() * positions_.size(), 0);
  bins_.assign(looks_.size() * static_cast<std::size_t>(bin_count_), 0);
  for (Work& work : work_) work.bins.assign(bins_.size(), 0);
  each([&](std::int64_t row, std::int64_t query, Range keys, int worker) {
    std::int64_t* const bins = work_[static_cast<std::size_t>(worker)].bins.data() + row / kRows * bin_count_;
    std::int64_t* const columns = columns_.data() + row / kRows * std::ssize(positions_);
    const double factor = kWeightOne * kMassOne / static_cast<double>(totals[row]);
    const float* const weights = scores_of(row);
    for (std::int64_t key = keys.begin; key < keys.end; ++key) {
      const auto mass = static_cast<std::int64_t>(static_cast<double>(weights[key]) * factor);
      columns[key] += mass;
      bins[(query - positions_[key]) / VerticalSlash::kBin] += mass;
    }
  });
  for (const Work& work : work_) std::transform(bins_.begin(), bins_.end(), work.bins.begin(), bins_.begin(), std::plus<>());
  join_over_ranks(estimator_.transport, bins_, std::plus<>());
}

/// For each of the looks that were taken, its columns of most mass: each rank gives its own best, which the best of all are among.
/// Collective.
std::vector<std::vector<Candidate>> best_columns(Transport& transport, const LastQueries& last, std::span<const Look> looks,
                                                 std::int64_t wanted) {
  const auto count = static_cast<std::size_t>(wanted);
  std::vector<Candidate> given, all(looks.size() * count * static_cast<std::size_t>(transport.ranks()));
  for (std::size_t look = 0; look < looks.size(); ++look) {
    const std::span<const std::int64_t> positions = last.positions(looks[look]), masses = last.columns(look);
    std::vector<Candidate> mine;
    for (std::size_t key = 0; key < positions.size(); ++key)
      mine.push_back({positions[key] < VerticalSlash::kForcedColumns ? kForced : masses[key], positions[key]});
    mine = greatest(std::move(mine), wanted);
    given.insert(given.end(), mine.begin(), mine.end());
    given.resize((look + 1) * count);
  }
  transport.all_gather(std::as_bytes(std::span(given)), std::as_writable_bytes(std::span(all)));
  std::vector<std::vector<Candidate>> best(looks.size());
  for (std::size_t index = 0; index < all.size(); ++index) {
    if (all[index].mass >= 0) best[index / count % looks.size()].push_back(all[index]);
  }
  for (auto& candidates : best) candidates = greatest(std::move(candidates), wanted);
  return best;
}

/// Where no column of a region was chosen, so many of its keys, evenly spaced.
void fill_region(Range keys, std::vector<Candidate>& columns) {
  constexpr std::int64_t kKeys = 5;
  if (keys.empty() || std::ranges::any_of(columns, [&](const Candidate& column) { return keys.contains(column.index); })) return;
  for (std::int64_t at = 0; at < std::min(kKeys, keys.size()); ++at)
    columns.push_back({.mass = 0, .index = keys.begin + at * keys.size() / std::min(kKeys, keys.size())});
}

std::vector<Candidate> best_bins(std::span<const std::int64_t> masses, std::int64_t wanted) {
  std::vector<Candidate> bins;
  for (std::int64_t bin = 0; bin < std::ssize(masses); ++bin) {
    const bool forced = bin * VerticalSlash::kBin < VerticalSlash::kForcedDiagonals;
    bins.push_back({forced ? kForced : masses[static_cast<std::size_t>(bin)], bin});
  }
  return greatest(std::move(bins), wanted);
}

void show(BlockTable& table, int head, std::int64_t row, const std::vector<Candidate>& chosen) {
  std::vector<std::uint8_t> cells(static_cast<std::size_t>(table.shape().columns));
  for (const Candidate& candidate : chosen) cells[static_cast<std::size_t>(candidate.index)] = 1;
  table.show(head, row, cells);
}

constexpr std::int64_t bins_of(std::int64_t tokens) {
  return (tokens + VerticalSlash::kBin - 1) / VerticalSlash::kBin;
}

/// In which nothing is shown yet.
ColumnsAndDiagonals tables_of(const Estimator& estimator) {
  const Chunks chunks(estimator.problem);
  const int heads = estimator.problem.query_heads;
  BlockTable columns({.query_tokens = chunks.count() == 1 ? kEveryQuery : chunks.length,
                      .key_tokens = 1,
                      .heads = heads,
                      .rows = chunks.count(),
                      .columns = chunks.tokens});
  const BlockTable diagonals({.query_tokens = kEveryQuery,
                              .key_tokens = VerticalSlash::kBin,
                              .heads = heads,
                              .rows = 1,
                              .columns = bins_of(chunks.tokens)});
  return {std::move(columns), std::vector<BlockTable>(static_cast<std::size_t>(chunks.count()), diagonals)};
}

/// Every head's chunks, heads of a key head one behind the other.
std::vector<Look> looks_of(const Estimator& estimator, std::span<const int> heads) {
  std::vector<Look> looks;
  for (const int head : heads) {
    for (std::int64_t chunk = 0; chunk < Chunks(estimator.problem).count(); ++chunk) looks.push_back({head, chunk});
  }
  return looks;
}

}  // namespace

ColumnsAndDiagonals select_vertical_slash(const Estimator& estimator, const VerticalSlash& choice, std::span<const int> heads) {
  const Chunks chunks(estimator.problem);
  ColumnsAndDiagonals tables = tables_of(estimator);
  const std::vector<Look> all = looks_of(estimator, heads);
  LastQueries last(estimator, bins_of(chunks.tokens));
  const auto most = static_cast<std::size_t>(last.most_looks());
  for (std::size_t begin = 0; begin < all.size(); begin += most) {
    const std::span<const Look> looks = std::span(all).subspan(begin, std::min(most, all.size() - begin));
    last.look(looks);
    std::vector<std::vector<Candidate>> columns =
        best_columns(estimator.transport, last, looks, std::min(choice.columns, chunks.tokens));
    for (std::size_t index = 0; index < looks.size(); ++index) {
      const auto [head, chunk] = looks[index];
      for (int form = 0; form < estimator.problem.query_forms(); ++form) fill_region(chunks.keys_of(chunk, form), columns[index]);
      show(tables.columns, head, chunk, columns[index]);
      const std::int64_t bins = bins_of(chunks.of(chunk).end), wanted = std::min(bins_of(choice.diagonals), bins);
      show(tables.diagonals[static_cast<std::size_t>(chunk)], head, 0,
           best_bins(last.bins(index).first(static_cast<std::size_t>(bins)), wanted));
    }
  }
  return tables;
}

}  // namespace gyre
