// Placements by counted work.
//
// Placement::balanced: every rank the same work, no rank twice the mean of tokens, neighbours together as far as that is free.
//
//   1. deal runs of neighbouring units, longest processing time first: few long runs, then more and shorter ones, then single
//   units;
//   2. refine: swap units (or move one) between the rank with most work and one with less, until it is even;
//   3. take the first that is even, in work and tokens, or else the most even.
//
// Before them all comes a single run for each rank, cut where the work is: what windows and equal documents want.
//
// Placement::zigzag_documents: every document of 2 x ranks units and more is folded like a zigzag of its own; of which fold goes to
// which rank, work decides. Shorter ones are dealt in runs, longest processing time first.
#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <tuple>

#include "partition/placement.hpp"

namespace gyre {
namespace {

/// Neighbouring units that go to one rank.
struct Run {
  Range units;
  std::int64_t work = 0, tokens = 0;
};

struct Load {
  std::int64_t work = 0, tokens = 0;
  std::int32_t rank = 0;
};
struct LessWork {
  bool operator()(const Load& a, const Load& b) const {
    return std::tie(a.work, a.tokens, a.rank) < std::tie(b.work, b.tokens, b.rank);
  }
};
struct FewerTokens {
  bool operator()(const Load& a, const Load& b) const {
    return std::tie(a.tokens, a.work, a.rank) < std::tie(b.tokens, b.work, b.rank);
  }
};

class Balance {
 public:
  using Owners = std::vector<std::int32_t>;

  Balance(const Units& units, int ranks, std::span<const std::int64_t> work)
      : units_(units),
        ranks_(ranks),
        work_(work),
        total_work_(std::accumulate(work.begin(), work.end(), std::int64_t{0})),
        most_tokens_(2 * units.tokens() / ranks) {}

  /// Folded documents, then runs of the others.
  Owners by_document(std::span<const Range> documents) const {
    Owners owners(units_.count());
    std::vector<Load> loads = no_loads();
    std::vector<Run> runs;
    for (const Range document : documents) {
      if (document.size() >= 2 * std::int64_t{ranks_}) {
        fold(document, loads, owners);
      } else {
        append_runs(document, kDocumentRuns, runs);
      }
    }
    deal_all(std::move(runs), loads, owners);
    return owners;
  }

  Owners best() const {
    Owners best;
    double least = 0;
    for (const int runs_a_rank : {1, 4, 16, 0}) {  // 0: every unit by itself
      Owners owners = runs_a_rank == 1 ? cut_by_work() : dealt(runs_a_rank);
      std::vector<Load> loads = loads_of(owners);
      if (runs_a_rank != 0 && !within(loads, kFewTokens)) continue;
      refine(owners, loads);
      const double found = unevenness(loads);
      if (best.empty() || found < least) best = std::move(owners), least = found;
      if (least <= kEven) break;
    }
    return best;
  }

 private:
  static constexpr int kDocumentRuns = 16;  // pieces of short documents a rank
  static constexpr double kEven = 1.01;     // greatest work over the mean: at most 2% are promised, granularity allowing
  static constexpr double kFewTokens =
      1.25;  // greatest tokens over the mean, of runs: a quarter more memory for a tenth to three quarters less traffic
  static constexpr int kMostSwaps = 64;  // a rank

  /// One run for each rank, each with an equal share of the work.
  Owners cut_by_work() const {
    Owners owners(units_.count());
    std::int64_t before = 0;
    for (int unit = 0; unit < units_.count(); ++unit) {
      const __int128 middle = 2 * static_cast<__int128>(before) + work_[unit];
      const auto rank =
          total_work_ == 0 ? 0 : static_cast<std::int64_t>(middle * ranks_ / (2 * static_cast<__int128>(total_work_)));
      owners[unit] = static_cast<std::int32_t>(std::min<std::int64_t>(rank, ranks_ - 1));
      before += work_[unit];
    }
    return owners;
  }

  /// Appends runs of some units, of at most so much work and so many tokens that a rank gets about `runs_a_rank` of all; 0: of one
  /// unit.
  void append_runs(Range units, int runs_a_rank, std::vector<Run>& runs) const {
    const std::int64_t pieces = std::int64_t{std::max(runs_a_rank, 1)} * ranks_;
    for (std::int64_t unit = units.begin; unit < units.end; ++unit) {
      const Run own{{unit, unit + 1}, work_[unit], units_.length(static_cast<int>(unit))};
      const bool fits = runs_a_rank != 0 && unit > units.begin && runs.back().work + own.work <= total_work_ / pieces &&
                        runs.back().tokens + own.tokens <= units_.tokens() / pieces;
      if (!fits) {
        runs.push_back(own);
      } else {
        runs.back() = {{runs.back().units.begin, unit + 1}, runs.back().work + own.work, runs.back().tokens + own.tokens};
      }
    }
  }

  // Runs longer than the mean share go first, each to a rank of its own; any other always finds room, since ranks without room hold
  // more than the mean each. Runs without work come last, and go by tokens.
  Owners dealt(int runs_a_rank) const {
    std::vector<Run> runs;
    append_runs({0, units_.count()}, runs_a_rank, runs);
    Owners owners(units_.count());
    std::vector<Load> loads = no_loads();
    deal_all(std::move(runs), loads, owners);
    return owners;
  }

  void deal_all(std::vector<Run> order, std::vector<Load>& loads, Owners& owners) const {
    const auto is_long = [&](const Run& run) { return static_cast<__int128>(run.tokens) * ranks_ > units_.tokens(); };
    std::stable_sort(order.begin(), order.end(),
                     [&](const Run& a, const Run& b) { return std::tuple(is_long(a), a.work) > std::tuple(is_long(b), b.work); });
    const auto idle = std::find_if(order.begin(), order.end(), [&](const Run& run) { return run.work == 0 && !is_long(run); });
    deal<LessWork>({order.begin(), idle}, loads, owners);
    deal<FewerTokens>({idle, order.end()}, loads, owners);
  }

  /// A document of many units: folded, and the pair of chunks with most work to the rank that has least.
  void fold(Range units, std::vector<Load>& loads, Owners& owners) const {
    const Range tokens{units_.range(static_cast<int>(units.begin)).begin, units_.range(static_cast<int>(units.end) - 1).end};
    std::vector<Load> folds = no_loads();
    std::vector<std::int32_t> fold_of;
    for (std::int64_t unit = units.begin; unit < units.end; ++unit) {
      const Range own = units_.range(static_cast<int>(unit)) + -tokens.begin;
      const auto chunk = static_cast<std::int32_t>(static_cast<__int128>(own.begin + own.end) * ranks_ / tokens.size());
      fold_of.push_back(chunk < ranks_ ? chunk : 2 * ranks_ - 1 - chunk);
      folds[fold_of.back()].work += work_[unit], folds[fold_of.back()].tokens += own.size();
    }
    std::sort(folds.begin(), folds.end(), [](const Load& a, const Load& b) {
      return std::tuple(-a.work, -a.tokens, a.rank) < std::tuple(-b.work, -b.tokens, b.rank);
    });
    std::sort(loads.begin(), loads.end(), LessWork{});
    std::vector<std::int32_t> rank_of(ranks_);
    for (int index = 0; index < ranks_; ++index) {
      rank_of[folds[index].rank] = loads[index].rank;
      loads[index].work += folds[index].work, loads[index].tokens += folds[index].tokens;
    }
    for (std::int64_t unit = units.begin; unit < units.end; ++unit) owners[unit] = rank_of[fold_of[unit - units.begin]];
  }

  std::vector<Load> no_loads() const {
    std::vector<Load> loads(ranks_);
    for (int rank = 0; rank < ranks_; ++rank) loads[rank].rank = rank;
    return loads;
  }

  /// Gives every run, in the order told, to the rank that is least by `Less` among those with room for it.
  template <class Less>
  void deal(std::span<const Run> order, std::vector<Load>& loads, Owners& owners) const {
    std::set<Load, Less> ranks(loads.begin(), loads.end());
    for (const Run& run : order) {
      const auto has_room = [&](const Load& load) { return load.tokens == 0 || load.tokens + run.tokens <= most_tokens_; };
      const auto found = std::find_if(ranks.begin(), ranks.end(), has_room);
      auto taken = ranks.extract(found == ranks.end() ? ranks.begin() : found);
      Load& load = taken.value();
      load.work += run.work;
      load.tokens += run.tokens;
      std::fill(owners.begin() + run.units.begin, owners.begin() + run.units.end, load.rank);
      ranks.insert(std::move(taken));
    }
    loads.assign(ranks.begin(), ranks.end());
  }

  std::vector<Load> loads_of(const Owners& owners) const {
    std::vector<Load> loads = no_loads();
    for (int unit = 0; unit < units_.count(); ++unit) {
      loads[owners[unit]].work += work_[unit];
      loads[owners[unit]].tokens += units_.length(unit);
    }
    return loads;
  }

  bool within(const std::vector<Load>& loads, double limit) const {
    const auto most = std::max_element(loads.begin(), loads.end(), FewerTokens{});
    return static_cast<double>(most->tokens) * ranks_ <= limit * static_cast<double>(units_.tokens());
  }

  double unevenness(const std::vector<Load>& loads) const {
    if (total_work_ == 0) return 1;
    const auto most = std::max_element(loads.begin(), loads.end(), LessWork{});
    return static_cast<double>(most->work) * ranks_ / static_cast<double>(total_work_);
  }

  /// Between the rank with most work and, from the one with least upwards, the first that a swap helps.
  void refine(Owners& owners, std::vector<Load>& loads) const {
    std::vector<std::vector<int>> held(ranks_);  // [rank]: its units, ascending in work
    for (int unit = 0; unit < units_.count(); ++unit) held[owners[unit]].push_back(unit);
    for (std::vector<int>& of_rank : held) std::sort(of_rank.begin(), of_rank.end(), lighter());
    std::vector<std::int32_t> by_work(ranks_);
    std::iota(by_work.begin(), by_work.end(), 0);
    for (std::int64_t swap = 0; swap < std::int64_t{kMostSwaps} * ranks_ && unevenness(loads) > 1 + (kEven - 1) / 2; ++swap) {
      std::sort(by_work.begin(), by_work.end(), [&](int a, int b) { return LessWork{}(loads[a], loads[b]); });
      const std::int32_t most = by_work.back();
      const bool helped = std::any_of(by_work.begin(), by_work.end() - 1, [&](std::int32_t other) {
        const auto found = best_swap(held[most], held[other], loads[most], loads[other]);
        if (found) apply(*found, most, other, held, loads, owners);
        return found.has_value();
      });
      if (!helped) return;
    }
  }

  struct Swap {
    int given = -1, taken = -1;  // units; taken: -1 for none
  };

  std::function<bool(int, int)> lighter() const {
    return [this](int a, int b) { return std::tie(work_[a], a) < std::tie(work_[b], b); };
  }

  /// What brings two ranks closest together: the difference of the works that change sides is to be half of the gap.
  std::optional<Swap> best_swap(const std::vector<int>& from, const std::vector<int>& to, const Load& high, const Load& low) const {
    const std::int64_t gap = high.work - low.work;
    std::optional<Swap> best;
    std::int64_t least = gap;  // left of the gap
    const auto consider = [&](int given, int taken) {
      const std::int64_t moved = work_[given] - (taken < 0 ? 0 : work_[taken]);
      const std::int64_t tokens = units_.length(given) - (taken < 0 ? 0 : units_.length(taken));
      const std::int64_t left = std::abs(gap - 2 * moved);
      if (left >= least || low.tokens + tokens > most_tokens_ || high.tokens - tokens > most_tokens_) return;
      best = Swap{given, taken}, least = left;
    };
    for (const int given : from) {
      if (work_[given] == 0) continue;
      consider(given, -1);
      constexpr std::ptrdiff_t kNear = 4;  // around the best partner, for the sake of tokens
      const std::int64_t wanted = work_[given] - gap / 2;
      const auto partner =
          std::lower_bound(to.begin(), to.end(), wanted, [&](int unit, std::int64_t work) { return work_[unit] < work; });
      const auto begin = partner - std::min(kNear, partner - to.begin()), end = partner + std::min(kNear, to.end() - partner);
      for (auto taken = begin; taken != end; ++taken) consider(given, *taken);
    }
    return best;
  }

  void apply(const Swap& swap, std::int32_t from, std::int32_t to, std::vector<std::vector<int>>& held, std::vector<Load>& loads,
             Owners& owners) const {
    const auto move = [&](int unit, std::int32_t source, std::int32_t target) {
      held[source].erase(std::lower_bound(held[source].begin(), held[source].end(), unit, lighter()));
      held[target].insert(std::lower_bound(held[target].begin(), held[target].end(), unit, lighter()), unit);
      loads[source].work -= work_[unit], loads[source].tokens -= units_.length(unit);
      loads[target].work += work_[unit], loads[target].tokens += units_.length(unit);
      owners[unit] = target;
    };
    move(swap.given, from, to);
    if (swap.taken >= 0) move(swap.taken, to, from);
  }

  const Units& units_;
  int ranks_;
  std::span<const std::int64_t> work_;
  std::int64_t total_work_, most_tokens_;
};

void require_work(const Units& units, std::span<const std::int64_t> work) {
  if (work.size() != static_cast<std::size_t>(units.count())) {
    throw std::invalid_argument("work is given for " + std::to_string(work.size()) + " units of " + std::to_string(units.count()) +
                                ": give it for each");
  }
}

/// The units of each document; those before the first border and after the last are documents, too.
std::vector<Range> documents_of(const Units& units, std::span<const std::int64_t> borders) {
  std::vector<Range> documents;
  std::int64_t begin = 0;
  for (int unit = 0; unit < units.count(); ++unit) {
    const std::int64_t end = units.range(unit).end;
    if (unit + 1 < units.count() && !std::binary_search(borders.begin(), borders.end(), end)) continue;
    documents.push_back({begin, unit + 1});
    begin = unit + 1;
  }
  return documents;
}

}  // namespace

Placement Placement::zigzag_documents(const Units& units, int ranks, std::span<const std::int64_t> work,
                                      std::span<const std::int64_t> borders) {
  if (ranks < 1) return Placement(ranks, {});  // throws
  require_work(units, work);
  return Placement(ranks, Balance(units, ranks, work).by_document(documents_of(units, borders)));
}

Placement Placement::balanced(const Units& units, int ranks, std::span<const std::int64_t> work) {
  if (ranks < 1) return Placement(ranks, {});  // throws
  require_work(units, work);
  return Placement(ranks, Balance(units, ranks, work).best());
}

}  // namespace gyre
