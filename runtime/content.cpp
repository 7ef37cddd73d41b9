#include "runtime/content.hpp"

namespace gyre {

Content::Content(const Layout& layout, Role role, std::span<const CellRun> runs) : role_(role), runs_(runs), begins_{0} {
  begins_.reserve(runs.size() + 1);
  for (const CellRun& run : runs) begins_.push_back(begins_.back() + layout.run_bytes(role, run));
}

std::optional<std::int64_t> Content::offset(const Layout& layout, std::uint32_t unit, std::uint16_t head) const {
  for (std::size_t index = 0; index < runs_.size(); ++index) {
    const CellRun& run = runs_[index];
    if (unit < run.unit || unit >= run.unit + run.units || head < run.head || head >= run.head + run.heads) continue;
    const CellRun before{.unit = run.unit, .units = unit - run.unit, .head = run.head, .heads = run.heads};
    return begins_[index] + layout.run_bytes(role_, before) + (head - run.head) * layout.cell_bytes(role_, static_cast<int>(unit));
  }
  return std::nullopt;
}

std::optional<std::int64_t> Content::offset(const Layout& layout, const CellRun& run) const {
  const auto first = offset(layout, run.unit, run.head);
  const std::uint32_t last_unit = run.unit + run.units - 1;
  const auto last = offset(layout, last_unit, static_cast<std::uint16_t>(run.head + run.heads - 1));
  if (!first || !last) return std::nullopt;
  const std::int64_t bytes = *last + layout.cell_bytes(role_, static_cast<int>(last_unit)) - *first;
  return bytes == layout.run_bytes(role_, run) ? first : std::nullopt;
}

}  // namespace gyre
