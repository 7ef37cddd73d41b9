#include "runtime/mechanism/vertical_slash.hpp"

#include <algorithm>
#include <functional>
#include <limits>

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

/// What a worker adds up over its tasks.
struct Sums {
  std::vector<std::int64_t> weights, bins;
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

/// The last queries of some heads with this rank's keys: their scores, and what becomes of them. Several heads at a time, since
/// each of the exchanges between ranks costs a wait.
class LastQueries {
 public:
  LastQueries(const Estimator& estimator, std::int64_t bins);

  /// As many as a memory of 64 MB takes of scores, on the rank with most keys; at least 1.
  std::int64_t most_heads() const;
  /// Collective.
  void look(std::span<const int> heads);
  /// Masses of this rank's keys for the index-th head, and where they stand.
  std::span<const std::int64_t> columns(std::size_t index) const {
    return std::span(columns_).subspan(index * positions_.size(), positions_.size());
  }
  std::span<const std::int64_t> positions() const { return positions_; }
  /// Masses of bins, of all ranks' keys.
  std::span<const std::int64_t> bins(std::size_t index) const {
    return std::span(bins_).subspan(index * static_cast<std::size_t>(bin_count_), static_cast<std::size_t>(bin_count_));
  }

 private:
  Range keys_of(std::int64_t part) const {
    return Range{part * kTaskKeys, (part + 1) * kTaskKeys} & Range{0, std::ssize(positions_)};
  }
  /// body(first row of the head's, keys, worker) for each head and some keys at a time.
  template <class Body>
  void each(Body&& body) {
    const std::int64_t parts = (std::ssize(positions_) + kTaskKeys - 1) / kTaskKeys;
    estimator_.each(heads_ * parts, [&](int task, int worker) { body(task / parts * rows_, keys_of(task % parts), worker); });
  }
  /// Keys of a range, ascending, that a row sees.
  std::int64_t seen(std::int64_t row, Range keys) const {
    const auto begin = positions_.begin() + keys.begin, end = positions_.begin() + keys.end;
    return std::upper_bound(begin, end, first_ + row % rows_) - begin;
  }
  float* scores_of(std::int64_t row) { return scores_.data() + row * stride_; }
  void score(std::int64_t index, int head, const AlignedFloats& panels);
  std::vector<float> row_maxima();
  std::vector<std::int64_t> row_weights(const std::vector<float>& maxima);
  void add_masses(const std::vector<std::int64_t>& totals);

  const Estimator& estimator_;
  std::int64_t rows_ = 0, first_ = 0;  // of the last queries
  std::int64_t heads_ = 0;             // that are looked at together
  std::int64_t bin_count_ = 0;
  std::vector<std::int64_t> positions_;
  std::int64_t stride_ = 0;
  std::vector<float> queries_;  // [rows, all heads, dim]
  AlignedFloats scores_;        // [heads, rows, stride]; then weights
  std::vector<Sums> sums_;      // by worker
  std::vector<std::int64_t> columns_, bins_;
};

LastQueries::LastQueries(const Estimator& estimator, std::int64_t bins)
    : estimator_(estimator),
      bin_count_(bins),
      positions_(listed(estimator.keys.held[static_cast<std::size_t>(estimator.rank())])),
      sums_(static_cast<std::size_t>(estimator.team.size())) {
  const std::int64_t tokens = estimator.tokens();
  rows_ = std::min(kRows, tokens), first_ = tokens - rows_;
  stride_ = panels_of(std::ssize(positions_)) * kStrip;
  const RowMap everyone(estimator.queries.held.size(), std::vector<Range>{{first_, tokens}});
  const Range heads{0, estimator.problem.query_heads};
  queries_ = fetch_rows(estimator.transport, estimator.queries, heads, estimator.problem.type, everyone);
}

std::int64_t LastQueries::most_heads() const {
  constexpr std::int64_t kFloats = std::int64_t{16} << 20;
  std::int64_t keys = 1;
  for (const auto& held : estimator_.keys.held) keys = std::max(keys, count_of(held));
  return std::max<std::int64_t>(1, kFloats / (rows_ * keys));
}

void LastQueries::look(std::span<const int> heads) {
  heads_ = std::ssize(heads);
  scores_.resize(heads_ * rows_ * stride_);
  AlignedFloats panels;
  int packed = -1;
  for (std::int64_t index = 0; index < heads_; ++index) {
    const int head = heads[static_cast<std::size_t>(index)], key_head = estimator_.key_head_of(head);
    if (key_head != packed)
      pack_panels(estimator_, estimator_.fetch_keys(key_head, estimator_.keys.held), estimator_.problem.head_dim, panels);
    packed = key_head;
    score(index, head, panels);
  }
  add_masses(row_weights(row_maxima()));
}

void LastQueries::score(std::int64_t index, int head, const AlignedFloats& panels) {
  const Problem& problem = estimator_.problem;
  const int dims = problem.head_dim;
  std::vector<float> queries(static_cast<std::size_t>(rows_ * dims));
  for (std::int64_t row = 0; row < rows_; ++row)
    std::copy_n(queries_.data() + (row * problem.query_heads + head) * dims, dims, queries.data() + row * dims);
  const auto scale = static_cast<float>(problem.score_scale());
  estimator_.each((std::ssize(positions_) + kTaskKeys - 1) / kTaskKeys, [&](int part, int) {
    const Range keys = keys_of(part);
    const std::int64_t panels_here = panels_of(keys.size());
    float* const first = scores_of(index * rows_) + keys.begin;
    estimator_.kernels.products({.rows = static_cast<int>(rows_),
                                 .dims = dims,
                                 .panels = panels_here,
                                 .queries = queries.data(),
                                 .keys = panels.data() + keys.begin * dims,
                                 .products = first,
                                 .stride = stride_});
    for (std::int64_t row = 0; row < rows_; ++row) {
      float* const scores = first + row * stride_;
      for (std::int64_t key = 0; key < panels_here * kStrip; ++key) scores[key] *= scale;
      std::fill(scores + seen(row, keys), scores + panels_here * kStrip, -std::numeric_limits<float>::infinity());
    }
  });
}

std::vector<float> LastQueries::row_maxima() {
  std::vector<float> maxima(static_cast<std::size_t>(heads_ * rows_), -std::numeric_limits<float>::infinity());
  estimator_.each(heads_ * rows_, [&](int row, int) {
    const float* const scores = scores_of(row);
    for (std::int64_t key = 0; key < stride_; ++key) maxima[row] = std::max(maxima[row], scores[key]);
  });
  join_over_ranks(estimator_.transport, maxima, [](float a, float b) { return std::max(a, b); });
  return maxima;
}

/// Turns scores to weights; returns the sum of each row's, over all ranks. A row's greatest weight is 1, so that no sum is 0.
std::vector<std::int64_t> LastQueries::row_weights(const std::vector<float>& maxima) {
  for (Sums& sums : sums_) sums.weights.assign(maxima.size(), 0);
  each([&](std::int64_t first, Range keys, int worker) {
    for (std::int64_t row = first; row < first + rows_; ++row) {
      float* const scores = scores_of(row) + keys.begin;
      const std::int64_t visible = seen(row, keys);
      for (std::int64_t key = 0; key < visible; ++key) scores[key] = exp_of_fall(scores[key] - maxima[row]);
      std::int64_t sum = 0;
      for (std::int64_t key = 0; key < visible; ++key)
        sum += static_cast<std::int64_t>(static_cast<double>(scores[key]) * kWeightOne);
      sums_[static_cast<std::size_t>(worker)].weights[row] += sum;
    }
  });
  std::vector<std::int64_t> totals(maxima.size());
  for (const Sums& sums : sums_) std::transform(totals.begin(), totals.end(), sums.weights.begin(), totals.begin(), std::plus<>());
  join_over_ranks(estimator_.transport, totals, std::plus<>());
  return totals;
}

void LastQueries::add_masses(const std::vector<std::int64_t>& totals) {
  columns_.assign(static_cast<std::size_t>(heads_ * std::ssize(positions_)), 0);
  bins_.assign(static_cast<std::size_t>(heads_ * bin_count_), 0);
  for (Sums& sums : sums_) sums.bins.assign(bins_.size(), 0);
  each([&](std::int64_t first, Range keys, int worker) {
    const std::int64_t head = first / rows_;
    std::int64_t* const bins = sums_[static_cast<std::size_t>(worker)].bins.data() + head * bin_count_;
    std::int64_t* const columns = columns_.data() + head * std::ssize(positions_);
    for (std::int64_t row = first; row < first + rows_; ++row) {
      const double factor = kWeightOne * kMassOne / static_cast<double>(totals[row]);
      const float* const weights = scores_of(row);
      for (std::int64_t key = keys.begin; key < keys.begin + seen(row, keys); ++key) {
        const auto mass = static_cast<std::int64_t>(static_cast<double>(weights[key]) * factor);
        columns[key] += mass;
        bins[(first_ + row - first - positions_[key]) / VerticalSlash::kBin] += mass;
      }
    }
  });
  for (const Sums& sums : sums_) std::transform(bins_.begin(), bins_.end(), sums.bins.begin(), bins_.begin(), std::plus<>());
  join_over_ranks(estimator_.transport, bins_, std::plus<>());
}

/// For each of the heads that were looked at, its columns of most mass: each rank gives its own best, which the best of all are
/// among. Collective.
std::vector<std::vector<Candidate>> best_columns(Transport& transport, const LastQueries& last, std::size_t heads,
                                                 std::int64_t wanted) {
  const auto count = static_cast<std::size_t>(wanted);
  std::vector<Candidate> given, all(heads * count * static_cast<std::size_t>(transport.ranks()));
  for (std::size_t head = 0; head < heads; ++head) {
    std::vector<Candidate> mine;
    for (std::size_t key = 0; key < last.positions().size(); ++key) {
      const std::int64_t position = last.positions()[key];
      mine.push_back({position < VerticalSlash::kForcedColumns ? kForced : last.columns(head)[key], position});
    }
    mine = greatest(std::move(mine), wanted);
    given.insert(given.end(), mine.begin(), mine.end());
    given.resize((head + 1) * count);
  }
  transport.all_gather(std::as_bytes(std::span(given)), std::as_writable_bytes(std::span(all)));
  std::vector<std::vector<Candidate>> best(heads);
  for (std::size_t index = 0; index < all.size(); ++index) {
    if (all[index].mass >= 0) best[index / count % heads].push_back(all[index]);
  }
  for (auto& candidates : best) candidates = greatest(std::move(candidates), wanted);
  return best;
}

std::vector<Candidate> best_bins(std::span<const std::int64_t> masses, std::int64_t wanted) {
  std::vector<Candidate> bins;
  for (std::int64_t bin = 0; bin < std::ssize(masses); ++bin) {
    const bool forced = bin * VerticalSlash::kBin < VerticalSlash::kForcedDiagonals;
    bins.push_back({forced ? kForced : masses[static_cast<std::size_t>(bin)], bin});
  }
  return greatest(std::move(bins), wanted);
}

void show(BlockTable& table, int head, const std::vector<Candidate>& chosen) {
  std::vector<std::uint8_t> cells(static_cast<std::size_t>(table.shape().columns));
  for (const Candidate& candidate : chosen) cells[static_cast<std::size_t>(candidate.index)] = 1;
  table.show(head, 0, cells);
}

BlockShape shape_of(const Estimator& estimator, std::int64_t key_tokens) {
  return {.query_tokens = kEveryQuery,
          .key_tokens = key_tokens,
          .heads = estimator.problem.query_heads,
          .rows = 1,
          .columns = (estimator.tokens() + key_tokens - 1) / key_tokens};
}

}  // namespace

ColumnsAndDiagonals select_vertical_slash(const Estimator& estimator, const VerticalSlash& choice, std::span<const int> heads) {
  constexpr std::int64_t kBin = VerticalSlash::kBin;
  ColumnsAndDiagonals tables{BlockTable(shape_of(estimator, 1)), BlockTable(shape_of(estimator, kBin))};
  const std::int64_t bins = tables.diagonals.shape().columns;
  const std::int64_t wanted_columns = std::min(choice.columns, estimator.tokens());
  const std::int64_t wanted_bins = std::min((choice.diagonals + kBin - 1) / kBin, bins);
  LastQueries last(estimator, bins);
  const auto most = static_cast<std::size_t>(last.most_heads());
  for (std::size_t begin = 0; begin < heads.size(); begin += most) {
    const std::span<const int> some = heads.subspan(begin, std::min(most, heads.size() - begin));
    last.look(some);
    const std::vector<std::vector<Candidate>> columns = best_columns(estimator.transport, last, some.size(), wanted_columns);
    for (std::size_t index = 0; index < some.size(); ++index) {
      show(tables.columns, some[index], columns[index]);
      show(tables.diagonals, some[index], best_bins(last.bins(index), wanted_bins));
    }
  }
  return tables;
}

}  // namespace gyre
