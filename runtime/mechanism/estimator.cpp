#include "runtime/mechanism/estimator.hpp"

#include <algorithm>

#include "comm/heartbeat.hpp"

namespace gyre {

void Estimator::each(std::int64_t tasks, FunctionRef<void(int task, int worker)> body) const {
  Heartbeat& heartbeat = transport.heartbeat();
  const auto one = [&](int task, int worker) {
    body(task, worker);
    if (worker == 0) heartbeat.beat();
  };
  team.run(static_cast<int>(tasks), one, [&] { heartbeat.beat(); });
}

void pack_panels(const Estimator& estimator, std::span<const float> keys, int dims, AlignedFloats& into) {
  const std::int64_t count = std::ssize(keys) / dims;
  float* const panels = into.resize(panels_of(count) * kStrip * dims);
  estimator.each(panels_of(count), [&](int panel, int) {
    const std::int64_t first = std::int64_t{panel} * kStrip;
    pack_panel(keys.data() + first * dims, dims, static_cast<int>(std::min<std::int64_t>(kStrip, count - first)), dims,
               panels + first * dims);
  });
}

void take_greatest(const float* scores, std::int64_t count, std::int64_t wanted, std::vector<std::int32_t>& indices) {
  indices.resize(static_cast<std::size_t>(count));
  std::iota(indices.begin(), indices.end(), 0);
  if (wanted >= count) return;
  std::nth_element(indices.begin(), indices.begin() + wanted, indices.end(),
                   [&](std::int32_t a, std::int32_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
  indices.resize(static_cast<std::size_t>(wanted));
}

void ChosenRows::show(Transport& transport, Range heads, BlockTable& table) {
  const std::vector<std::uint64_t> all = gather_table<std::uint64_t>(transport, rows_, shape_.rows, width_, words_);
  for (std::int64_t head = heads.begin; head < heads.end; ++head) {
    for (std::int64_t row = 0; row < shape_.rows; ++row)
      table.show(static_cast<int>(head), row,
                 std::span(all).subspan(static_cast<std::size_t>(row * width_), static_cast<std::size_t>(width_)));
  }
  std::fill(words_.begin(), words_.end(), std::uint64_t{0});
}

}  // namespace gyre
