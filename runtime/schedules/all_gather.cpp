#include "runtime/schedules/all_gather.hpp"

#include <algorithm>
#include <memory>
#include <vector>

namespace gyre {
namespace {

/// Consecutive units of consecutive heads.
struct Slice {
  int first_unit, end_unit;
  int head, heads;
};

/// Slices of at most two ranks' shares, by heads, then by units.
std::vector<Slice> slices_of(const Layout& layout) {
  const int units = layout.key_units.count();
  const int heads = layout.problem.key_heads;
  const int heads_at_once = std::clamp(2 * heads / layout.ranks, 1, heads);
  const int pieces = std::max(1, layout.ranks / (2 * heads));
  std::vector<Slice> slices;
  for (int head = 0; head < heads; head += heads_at_once) {
    for (int piece = 0; piece < pieces; ++piece) {
      const auto border = [&](int index) { return static_cast<int>(std::int64_t{units} * index / pieces); };
      if (border(piece) == border(piece + 1)) continue;
      slices.push_back({border(piece), border(piece + 1), head, std::min(heads_at_once, heads - head)});
    }
  }
  return slices;
}

/// What one rank brings another in one slice.
struct Parcel {
  int owner;
  std::vector<CellRun> runs;
};

/// Who fetches what from whom. Made once for all ranks.
class AllGather {
 public:
  AllGather(const Layout& layout, int prefetch)
      : layout_(layout), prefetch_(prefetch), slices_(slices_of(layout)), key_units_(units_by_rank(layout.keys)) {
    for (const Slice& slice : slices_) {
      std::vector<int>& owners = owners_.emplace_back();
      for (int unit = slice.first_unit; unit < slice.end_unit; ++unit) owners.push_back(layout.keys.owner(unit));
      std::sort(owners.begin(), owners.end());
      owners.erase(std::unique(owners.begin(), owners.end()), owners.end());
    }
  }

  Program build(int rank) const;

 private:
  /// Cells of the owner within the slice that satisfy a condition: of all its heads together, or head by head where that tells them
  /// apart.
  template <class Wanted>
  std::vector<CellRun> runs_where(int owner, const Slice& slice, Wanted&& wanted) const {
    std::vector<CellRun> all;
    const int heads = layout_.needs.by_unit() ? slice.heads : 1;
    for (int head = slice.head; head < slice.head + slice.heads; head += heads) {
      std::vector<int> units = key_units_[owner];
      std::erase_if(units, [&](int unit) { return unit < slice.first_unit || unit >= slice.end_unit || !wanted(unit, head); });
      const auto runs = runs_of_units(units, heads, head);
      all.insert(all.end(), runs.begin(), runs.end());
    }
    return all;
  }

  /// Those that the rank sees.
  std::vector<CellRun> runs(int owner, int rank, const Slice& slice) const {
    return runs_where(owner, slice, [&](int unit, int head) { return layout_.needs.needs(rank, unit, head); });
  }

  bool owns_some(int rank, int slice) const { return std::binary_search(owners_[slice].begin(), owners_[slice].end(), rank); }

  /// What arrives at a rank, by owners from the next one on, so that not all ask the same owner first.
  std::vector<Parcel> arriving(int rank, int slice) const {
    std::vector<Parcel> parcels;
    const auto take = [&](int owner) {
      if (auto found = runs(owner, rank, slices_[slice]); !found.empty()) parcels.push_back({owner, std::move(found)});
    };
    const auto after = std::upper_bound(owners_[slice].begin(), owners_[slice].end(), rank);
    std::for_each(after, owners_[slice].end(), take);
    std::for_each(owners_[slice].begin(), owns_some(rank, slice) ? std::prev(after) : after, take);
    return parcels;
  }

  /// Own cells, slice by slice: what a message takes of them lies in one piece.
  std::vector<CellRun> own_runs(int rank) const {
    std::vector<CellRun> all;
    for (const Slice& slice : slices_) {
      if (slice.first_unit > 0) continue;  // a head's pieces follow each other anyway
      const Slice whole{0, layout_.key_units.count(), slice.head, slice.heads};
      const auto of_slice = runs_where(rank, whole, [](int, int) { return true; });
      all.insert(all.end(), of_slice.begin(), of_slice.end());
    }
    return all;
  }

  /// Bytes of the k-th parcel of any slice, at most.
  std::vector<std::int64_t> part_bytes(const std::vector<std::vector<Parcel>>& slices) const {
    std::vector<std::int64_t> parts;
    for (const auto& parcels : slices) {
      parts.resize(std::max(parts.size(), parcels.size()), 0);
      for (std::size_t k = 0; k < parcels.size(); ++k) {
        parts[k] = std::max(parts[k], layout_.run_bytes(Role::key_value, parcels[k].runs));
      }
    }
    return parts;
  }

  /// All runs of some parcels, ascending: the order of accumulation.
  static std::vector<CellRun> merged(const std::vector<Parcel>& parcels) {
    std::vector<CellRun> all;
    for (const Parcel& parcel : parcels) all.insert(all.end(), parcel.runs.begin(), parcel.runs.end());
    std::sort(all.begin(), all.end(), [](const CellRun& a, const CellRun& b) { return a.unit < b.unit; });
    return all;
  }

  const Layout& layout_;
  int prefetch_;
  std::vector<Slice> slices_;
  std::vector<std::vector<int>> key_units_;  // [rank]
  std::vector<std::vector<int>> owners_;     // [slice] of its units, ascending
};

Program AllGather::build(int rank) const {
  const int slices = layout_.ranks == 1 ? 0 : static_cast<int>(slices_.size());
  const auto query_runs = runs_of_units(layout_.query_units_of(rank), layout_.problem.key_heads);
  std::vector<std::vector<Parcel>> arrivals;
  arrivals.reserve(slices);
  for (int slice = 0; slice < slices; ++slice) arrivals.push_back(arriving(rank, slice));

  ProgramBuilder builder(rank);
  const SlotId queries = builder.user_slot(true), keys = builder.user_slot(true), values = builder.user_slot(true),
               out = builder.user_slot(false);
  const SlotId query = builder.arena_slot(Role::query, layout_.run_bytes(Role::query, query_runs));
  const SlotId own = builder.arena_slot(Role::key_value, layout_.run_bytes(Role::key_value, own_runs(rank)));
  const SlotId partial = builder.arena_slot(Role::partial, layout_.run_bytes(Role::partial, query_runs));
  std::vector<ProgramBuilder::DividedSlot> arriving_in;  // slice s arrives in [s % size]
  for (int slot = 0; slot < std::min(prefetch_ + 1, slices); ++slot) {
    arriving_in.push_back(builder.divided_slot(Role::key_value, part_bytes(arrivals)));
  }

  // Stage 0 attends what the rank owns, stage s + 1 what slice s brought.
  const auto exchange = [&](int slice) {
    if (slice >= slices) return;
    const auto stage = static_cast<std::uint32_t>(slice + 1);
    for (std::size_t k = 0; k < arrivals[slice].size(); ++k) {
      const Parcel& parcel = arrivals[slice][k];
      builder.add(
          {.op = Op::receive, .out = arriving_in[slice % arriving_in.size()].parts[k], .peer = parcel.owner, .stage = stage},
          parcel.runs);
    }
    if (!owns_some(rank, slice)) return;
    for (int step = 1; step < layout_.ranks; ++step) {  // to those first who ask here first
      const int to = (rank - step + layout_.ranks) % layout_.ranks;
      const auto sent = runs(rank, to, slices_[slice]);
      if (!sent.empty()) builder.add({.op = Op::send, .in = {own, kNoSlot}, .peer = to, .stage = stage}, sent);
    }
  };
  const auto attend = [&](SlotId from, const std::vector<CellRun>& cells, int stage) {
    if (cells.empty()) return;
    builder.add({.op = Op::attend, .out = partial, .in = {query, from}, .stage = static_cast<std::uint32_t>(stage)}, cells);
  };

  builder.add({.function = Function::pack_key_value, .out = own, .in = {keys, values}}, own_runs(rank));
  for (int slice = 0; slice < prefetch_; ++slice) exchange(slice);
  builder.add({.function = Function::pack_query, .out = query, .in = {queries, kNoSlot}}, query_runs);
  builder.add({.function = Function::clear_partial, .out = partial}, query_runs);
  const Slice everything{0, layout_.key_units.count(), 0, layout_.problem.key_heads};
  attend(own, runs(rank, rank, everything), 0);
  for (int slice = 0; slice < slices; ++slice) {
    exchange(slice + prefetch_);
    attend(arriving_in[slice % arriving_in.size()].whole, merged(arrivals[slice]), slice + 1);
  }
  builder.add({.function = Function::finish, .out = out, .in = {partial, kNoSlot}}, query_runs);
  return std::move(builder).take();
}

}  // namespace

Schedule all_gather_schedule(const Layout& layout, int prefetch) {
  return [gather = std::make_shared<const AllGather>(layout, prefetch)](int rank) { return gather->build(rank); };
}

}  // namespace gyre
