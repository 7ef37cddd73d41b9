#include "runtime/schedules/circulation.hpp"

#include <algorithm>
#include <utility>

namespace gyre {

Cast::Cast(Travellers travellers) {
  switch (travellers) {
    case Travellers::keys:
      travels = Role::key_value, travelling_gradient = Role::rows, stays = Role::query, sum = Role::partial;
      return;
    case Travellers::keys_with_gradients:
      travels = Role::key_value, travelling_gradient = Role::grad_key_value, stays = Role::backward_query, sum = Role::grad_query;
      return;
    case Travellers::queries_with_gradients:
      travels = Role::backward_query, travelling_gradient = Role::grad_query, stays = Role::key_value, sum = Role::grad_key_value;
      return;
  }
}

namespace {

/// Of travelling cells: the ranks that attend a cell which sees them, or which they see.
Needs needs_of(const Layout& layout, const Cast& cast, const Placement& attending) {
  const Heads heads{layout.problem.key_heads, layout.problem.group()};
  const std::int64_t offset = layout.problem.first_query_position();
  if (of_keys(cast.travels)) return {layout.bands(), layout.query_units, layout.key_units, offset, attending, heads};
  return Needs::of_queries(layout.bands(), layout.query_units, layout.key_units, offset, attending, heads);
}

}  // namespace

Circulation::Circulation(const Layout& a_layout, Travellers travellers)
    : Circulation(a_layout, travellers, of_keys(Cast(travellers).stays) ? a_layout.keys : a_layout.queries) {}

Circulation::Circulation(const Layout& a_layout, Travellers travellers, Placement attended_at)
    : layout(a_layout),
      cast(travellers),
      attending(std::move(attended_at)),
      needs(needs_of(layout, cast, attending)),
      staying_units(units_by_rank(home_of(cast.stays))) {}

namespace {

/// At most, in all the steps of a journey together: what stays visible is about one of them.
constexpr int kPieces = 16;

int pieces_of_a_step(const Layout& layout, Role role, const Journey& journey) {
  std::int64_t bytes = 0;
  for (const auto& units : journey.units)
    bytes += layout.run_bytes(role, runs_of_units(units, static_cast<int>(journey.heads.size())));
  const std::int64_t affordable = bytes / layout.ranks / layout.piece_bytes;
  return static_cast<int>(std::clamp<std::int64_t>(affordable, 1, std::max(1, kPieces / std::max(1, journey.route.steps - 1))));
}

/// The index-th of some equal parts.
std::vector<int> part(const std::vector<int>& units, int index, int parts) {
  const auto border = [&](int i) { return units.begin() + std::ssize(units) * i / parts; };
  return {border(index), border(index + 1)};
}

}  // namespace

/// By heads first, where all travel together: rows of other heads need not be fetched for a piece.
void Circulation::travel(const std::vector<Journey>& journeys) {
  struct Cut {
    int by_heads, by_units;
  };
  std::vector<Cut> cuts;
  for (const Journey& journey : journeys) {
    const int pieces = pieces_of_a_step(layout, cast.travels, journey);
    const int by_heads = needs.by_unit() ? std::min(pieces, static_cast<int>(journey.heads.size())) : 1;
    cuts.push_back({by_heads, pieces / by_heads});
  }
  int most = 0;
  for (const Cut& cut : cuts) most = std::max(most, cut.by_heads * cut.by_units);
  for (int piece = 0; piece < most; ++piece) {
    for (std::size_t index = 0; index < journeys.size(); ++index) {
      const Journey& journey = journeys[index];
      const auto [by_heads, by_units] = cuts[index];
      if (piece >= by_heads * by_units) continue;
      const auto border = [&](int i) { return journey.heads.begin + journey.heads.size() * i / by_heads; };
      std::vector<std::vector<int>> units;
      for (const auto& all : journey.units) units.push_back(part(all, piece % by_units, by_units));
      // The first way's own cells are attended while the first of others arrive, all others' while the last shares come home.
      ways.emplace_back(journey.route, std::move(units), Range{border(piece / by_units), border(piece / by_units + 1)}, needs,
                        journey.first_lane, ways.empty() ? AtHome::first : AtHome::last);
    }
  }
}

}  // namespace gyre
