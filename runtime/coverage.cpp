#include "runtime/coverage.hpp"

#include <algorithm>
#include <map>

namespace gyre {
namespace {

bool contains(std::span<const CellRun> runs, Coverage::RowCell cell) {
  const std::uint32_t unit = cell.first;
  const std::uint16_t head = cell.second;
  return std::any_of(runs.begin(), runs.end(), [&](const CellRun& run) {
    return unit >= run.unit && unit < run.unit + run.units && head >= run.head && head < run.head + run.heads;
  });
}

}  // namespace

Coverage::Coverage(std::span<const CellRun> rows, int key_units) {
  std::map<std::uint16_t, std::vector<RowCell>> by_head;
  for (const CellRun& run : rows) {
    for (int head = run.head; head < run.head + run.heads; ++head) {
      for (std::uint32_t unit = run.unit; unit < run.unit + run.units; ++unit) {
        by_head[static_cast<std::uint16_t>(head)].emplace_back(unit, static_cast<std::uint16_t>(head));
      }
    }
  }
  for (auto& [head, cells] : by_head) {
    std::sort(cells.begin(), cells.end());
    groups_.push_back({std::move(cells), std::vector<bool>(key_units)});
  }
}

bool Coverage::Group::add(int key_unit, const Sees& sees) {
  const bool again =
      attended[key_unit] && std::any_of(rows.begin(), rows.end(), [&](const RowCell& row) { return sees(row.first, key_unit); });
  attended[key_unit] = true;
  return !again;
}

const Coverage::Group* Coverage::find(RowCell row) const {
  for (const Group& group : groups_) {
    if (std::binary_search(group.rows.begin(), group.rows.end(), row)) return &group;
  }
  return nullptr;
}

bool Coverage::covers(RowCell row, int key_unit) const {
  const Group* const group = find(row);
  return group != nullptr && group->attended[key_unit];
}

std::optional<int> Coverage::attend(std::span<const CellRun> keys, const Sees& sees) {
  for (Group& group : groups_) {
    const std::uint16_t head = group.rows.front().second;
    for (const CellRun& run : keys) {
      if (head < run.head || head >= run.head + run.heads) continue;
      for (std::uint32_t unit = run.unit; unit < run.unit + run.units; ++unit) {
        if (!group.add(static_cast<int>(unit), sees)) return static_cast<int>(unit);
      }
    }
  }
  return std::nullopt;
}

template <class Wanted>
void Coverage::split(std::size_t index, Wanted&& wanted) {
  Group& group = groups_[index];
  const auto middle = std::stable_partition(group.rows.begin(), group.rows.end(), wanted);
  if (middle == group.rows.begin() || middle == group.rows.end()) return;
  Group rest{{middle, group.rows.end()}, group.attended};
  group.rows.erase(middle, group.rows.end());
  groups_.push_back(std::move(rest));
}

Coverage Coverage::of(std::span<const CellRun> rows) const {
  Coverage kept = *this;
  for (Group& group : kept.groups_) std::erase_if(group.rows, [&](const RowCell& row) { return !contains(rows, row); });
  std::erase_if(kept.groups_, [](const Group& group) { return group.rows.empty(); });
  return kept;
}

std::optional<int> Coverage::combine(const Coverage& other, std::span<const CellRun> rows, const Sees& sees) {
  const Coverage added = other.of(rows);
  for (const Group& theirs : added.groups_) {
    for (std::size_t index = groups_.size(); index-- > 0;) {
      split(index, [&](const RowCell& row) { return std::binary_search(theirs.rows.begin(), theirs.rows.end(), row); });
    }
    for (Group& group : groups_) {
      if (!std::binary_search(theirs.rows.begin(), theirs.rows.end(), group.rows.front())) continue;
      for (std::size_t unit = 0; unit < group.attended.size(); ++unit) {
        if (theirs.attended[unit] && !group.add(static_cast<int>(unit), sees)) return static_cast<int>(unit);
      }
    }
  }
  return std::nullopt;
}

}  // namespace gyre
