#include "launch/drawn_program.hpp"

#include <algorithm>
#include <cstddef>
#include <map>
#include <utility>

namespace gyre {
namespace {

constexpr std::size_t kMostDrawn = 16, kMostOfNode = 8;
constexpr int kMostLanes = 12;

using Amounts = std::map<int, double>;  // by owner

/// Equal ones, where all amounts are nothing: what no row sees is looked at, too.
std::vector<OwnerShare> shares(const Amounts& amounts) {
  double all = 0;
  for (const auto& [owner, amount] : amounts) all += amount;
  std::vector<OwnerShare> found;
  for (const auto& [owner, amount] : amounts)
    if (amount > 0 || all <= 0) found.push_back({owner, all > 0 ? amount / all : 1.0 / static_cast<double>(amounts.size())});
  return found;
}

/// visit(part, owner): a run in parts of one owner each.
template <class Visit>
void each_owner(const Placement& placement, const CellRun& run, Visit&& visit) {
  const auto owner = [&](std::uint32_t unit, int head) { return placement.owner(static_cast<int>(unit), head); };
  const std::uint16_t heads_at_once = placement.by_unit() ? run.heads : 1;
  for (std::uint16_t head = run.head; head < run.head + run.heads; head = static_cast<std::uint16_t>(head + heads_at_once))
    for (std::uint32_t unit = run.unit, end = unit; unit < run.unit + run.units; unit = end) {
      while (end < run.unit + run.units && owner(end, head) == owner(unit, head)) ++end;
      visit(CellRun{unit, end - unit, head, heads_at_once}, owner(unit, head));
    }
}

bool of_one(const std::vector<OwnerShare>& a, const std::vector<OwnerShare>& b) {
  return a.size() == b.size() && (a.empty() || (a.size() == 1 && a[0].owner == b[0].owner));
}

/// Appends a stretch, or prolongs the last one: a step of several pieces is one stretch, where nothing comes between them.
void append(std::vector<DrawnStretch>& stretches, DrawnStretch stretch) {
  constexpr double kGap = 0.01;  // of a stretch: posting, latency
  if (!stretches.empty()) {
    DrawnStretch& last = stretches.back();
    const bool adjoins = stretch.begin_seconds - last.end_seconds <= kGap * (stretch.end_seconds - last.begin_seconds);
    const bool same = stretch.kind == last.kind && stretch.stage == last.stage && stretch.role == last.role &&
                      stretch.from == last.from && of_one(stretch.owners, last.owners) &&
                      of_one(stretch.query_owners, last.query_owners);
    if (same && adjoins) return void(last.end_seconds = std::max(last.end_seconds, stretch.end_seconds));
  }
  stretches.push_back(std::move(stretch));
}

bool sooner(const DrawnStretch& a, const DrawnStretch& b) {
  return a.begin_seconds < b.begin_seconds;
}

/// Returns how many lanes there are. arriving: as they begin.
int give_lanes(std::vector<DrawnStretch>& arriving) {
  struct Lane {
    int from = -1;
    double end_seconds = 0;
  };
  std::vector<Lane> lanes;
  for (DrawnStretch& stretch : arriving) {
    // What one rank sends follows in order: where its messages overlap, it is by their latency, and they share a lane.
    const auto lane = std::find_if(lanes.begin(), lanes.end(), [&](const Lane& other) {
      return other.end_seconds <= stretch.begin_seconds || other.from == stretch.from;
    });
    stretch.lane = static_cast<int>(lane - lanes.begin());
    if (lane == lanes.end()) lanes.emplace_back();
    Lane& its = lanes[static_cast<std::size_t>(stretch.lane)];
    if (its.from == stretch.from)
      stretch.begin_seconds = std::min(stretch.end_seconds, std::max(stretch.begin_seconds, its.end_seconds));
    its = {stretch.from, stretch.end_seconds};
  }
  return static_cast<int>(std::ssize(lanes));
}

/// What comes from neighbouring ranks at the same time becomes one stretch, and their lane is their own.
std::vector<DrawnStretch> by_sources(const std::vector<DrawnStretch>& arriving, int ranks) {
  std::vector<DrawnStretch> joined;
  std::vector<Amounts> amounts;
  std::vector<std::ptrdiff_t> last(kMostLanes, -1);  // [lane] in joined
  for (const DrawnStretch& stretch : arriving) {
    const auto lane = static_cast<std::size_t>(std::int64_t{stretch.from} * kMostLanes / ranks);
    if (last[lane] < 0 || joined[static_cast<std::size_t>(last[lane])].end_seconds < stretch.begin_seconds) {
      last[lane] = std::ssize(joined);
      joined.push_back(stretch);
      joined.back().lane = static_cast<int>(lane);
      amounts.emplace_back();
    }
    DrawnStretch& whole = joined[static_cast<std::size_t>(last[lane])];
    whole.end_seconds = std::max(whole.end_seconds, stretch.end_seconds);
    if (whole.from != stretch.from) whole.from = -1;
    for (const OwnerShare& part : stretch.owners)
      amounts[static_cast<std::size_t>(last[lane])][part.owner] += part.share * (stretch.end_seconds - stretch.begin_seconds);
  }
  for (std::size_t index = 0; index < joined.size(); ++index) joined[index].owners = shares(amounts[index]);
  return joined;
}

/// One rank's program and what happens to it: instructions know whose cells they handle, and stretches of time come to them.
class Drawing {
 public:
  Drawing(const Predictor::Job& job, int rank) : layout_(job.layout), counts_(job.counts), program_(job.schedule(rank)) {
    std::vector<std::span<const CellRun>> rows(program_.slots.size());  // [slot] that a partial accumulates for
    for (const Instruction& instruction : program_.instructions) {
      DrawnStretch& stretch = of_instruction_.emplace_back();
      stretch.stage = instruction.stage;
      if (instruction.function == Function::clear) rows[instruction.out] = program_.runs_of(instruction);
      if (gyre::attends(instruction.op)) attends(stretch, rows[instruction.out], program_.runs_of(instruction));
      if (instruction.op == Op::receive) arrives(stretch, instruction);
    }
    drawn_.rank = rank;
    drawn_.node = job.nodes[static_cast<std::size_t>(rank)];
  }

  void take(const TimelineEvent& event) {
    DrawnStretch stretch = of_instruction_[event.instruction];
    stretch.begin_seconds = event.begin_seconds;
    stretch.end_seconds = event.end_seconds;
    switch (event.kind) {
      case TimelineEvent::Kind::compute:
        if (stretch.kind == DrawnStretch::Kind::attend) drawn_.computing_seconds += event.end_seconds - event.begin_seconds;
        return append(drawn_.doing, std::move(stretch));
      case TimelineEvent::Kind::wait:
        return append(drawn_.doing, wait(event));
      case TimelineEvent::Kind::flow:
        return append(drawn_.arriving, std::move(stretch));
      case TimelineEvent::Kind::transfer:
        return;  // how long it was awaited says less than when it was on the wire
    }
  }

  DrawnRank finish() && {
    std::stable_sort(drawn_.arriving.begin(), drawn_.arriving.end(), sooner);
    if (give_lanes(drawn_.arriving) > kMostLanes) drawn_.arriving = by_sources(drawn_.arriving, layout_.ranks);
    return std::move(drawn_);
  }

 private:
  DrawnStretch wait(const TimelineEvent& event) const {
    DrawnStretch stretch;
    stretch.kind = DrawnStretch::Kind::wait;
    stretch.begin_seconds = event.begin_seconds;
    stretch.end_seconds = event.end_seconds;
    stretch.stage = of_instruction_[event.instruction].stage;
    return stretch;
  }

  void attends(DrawnStretch& stretch, std::span<const CellRun> all_rows, std::span<const CellRun> all_keys) {
    stretch.kind = DrawnStretch::Kind::attend;
    Amounts keys_of, queries_of;
    const auto add = [&](const CellRun& rows, int queries_owner, const CellRun& keys, int keys_owner) {
      const int heads = std::min(rows.head + rows.heads, keys.head + keys.heads) - std::max(rows.head, keys.head);
      if (heads <= 0) return;
      const double pairs = heads * counts_.pairs({rows.unit, std::int64_t{rows.unit} + rows.units},
                                                 {keys.unit, std::int64_t{keys.unit} + keys.units});
      keys_of[keys_owner] += pairs;
      queries_of[queries_owner] += pairs;
    };
    for (const CellRun& rows : all_rows)
      each_owner(layout_.queries, rows, [&](const CellRun& query_part, int queries_owner) {
        for (const CellRun& keys : all_keys)
          each_owner(layout_.keys, keys,
                     [&](const CellRun& key_part, int keys_owner) { add(query_part, queries_owner, key_part, keys_owner); });
      });
    stretch.owners = shares(keys_of);
    stretch.query_owners = shares(queries_of);
  }

  void arrives(DrawnStretch& stretch, const Instruction& instruction) {
    stretch.kind = DrawnStretch::Kind::arrive;
    stretch.role = program_.slots[instruction.out].role;
    stretch.from = instruction.peer;
    const Placement& placement = of_keys(stretch.role) ? layout_.keys : layout_.queries;
    Amounts bytes_of;
    for (const CellRun& run : program_.runs_of(instruction))
      each_owner(placement, run, [&](const CellRun& part, int owner) {
        bytes_of[owner] += static_cast<double>(layout_.run_bytes(stretch.role, part));
      });
    stretch.owners = shares(bytes_of);
  }

  const Layout& layout_;
  PairCounts& counts_;
  Program program_;
  std::vector<DrawnStretch> of_instruction_;
  DrawnRank drawn_;
};

}  // namespace

std::vector<int> ranks_to_draw(std::span<const int> nodes) {
  std::map<int, std::vector<int>> of_node;
  for (int rank = 0; rank < std::ssize(nodes); ++rank) of_node[nodes[static_cast<std::size_t>(rank)]].push_back(rank);
  std::vector<int> drawn;
  for (const auto& [node, ranks] : of_node) {
    const std::size_t count = of_node.size() == 1 ? kMostDrawn : nodes.size() <= kMostDrawn ? ranks.size() : kMostOfNode;
    if (drawn.size() + std::min(count, ranks.size()) > kMostDrawn) break;
    drawn.insert(drawn.end(), ranks.begin(), ranks.begin() + static_cast<std::ptrdiff_t>(std::min(count, ranks.size())));
  }
  return drawn;
}

DrawnProgram drawn_program(const Predictor::Job& job) {
  DrawnProgram drawn;
  drawn.nodes.assign(job.nodes.begin(), job.nodes.end());
  std::vector<int> place(job.nodes.size(), -1);  // [rank] of drawings
  std::vector<Drawing> drawings;
  for (const int rank : ranks_to_draw(job.nodes)) {
    place[static_cast<std::size_t>(rank)] = static_cast<int>(drawings.size());
    drawings.emplace_back(job, rank);
  }
  const Simulation simulation = job.simulate([&](int rank, const TimelineEvent& event) {
    const int at = place[static_cast<std::size_t>(rank)];
    if (at >= 0) drawings[static_cast<std::size_t>(at)].take(event);
  });
  drawn.seconds = simulation.seconds();
  for (Drawing& drawing : drawings) {
    drawn.ranks.push_back(std::move(drawing).finish());
    drawn.borrowed_bytes += simulation.ranks[static_cast<std::size_t>(drawn.ranks.back().rank)].bytes_borrowed;
  }
  return drawn;
}

}  // namespace gyre
