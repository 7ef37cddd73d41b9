#include "runtime/mechanism/native_rows.hpp"

#include <algorithm>
#include <optional>

#include "kernels/convert.hpp"

namespace gyre {
namespace {

constexpr std::int64_t kRows = 64, kValues = 1 << 16;  // of a task

/// One token's heads.
void turn_back(const Turner& turner, const TypedRows& from, std::int64_t row, std::vector<float>& heads) {
  std::vector<double> sum(static_cast<std::size_t>(from.dim));
  for (int head = 0; head < from.heads; ++head) {
    std::ranges::fill(sum, 0.0);
    float* const gradient = heads.data() + std::int64_t{head} * from.dim;
    convert(from.row(row, head), from.type, gradient, Type::f32, from.dim);
    turner.add_turned_back(gradient, from.dim, sum.data());
    std::ranges::transform(sum, gradient, [](double value) { return static_cast<float>(value); });
  }
}

}  // namespace

void Sums::add(const Estimator& estimator, const Sums& other) {
  const std::int64_t count = std::ssize(values_);
  estimator.each((count + kValues - 1) / kValues, [&](int task, int) {
    for (auto at = static_cast<std::size_t>(task * kValues); at < static_cast<std::size_t>(std::min(count, (task + 1) * kValues));
         ++at)
      values_[at] += other.values_[at];
  });
}

TurnedRows::TurnedRows(const Estimator& estimator, const RowMap& held, const TypedRows& given, const RotaryTable* rotary)
    : view_(given) {
  if (rotary == nullptr) return;
  const RowsOnRanks rows{.rows = given, .held = held, .rotary = rotary};
  copy_ = fetch_rows(estimator.transport, rows, {0, given.heads}, estimator.problem.type, held);
  view_ = TypedRows(copy_.data(), given.tokens, given.heads, given.dim);
}

void write_gradients(const Estimator& estimator, const Sums& sums, std::span<const Range> tokens, const RotaryTable* rotary,
                     const TypedOutRows& into) {
  const TypedRows from = sums.rows();
  const std::vector<std::int64_t> positions = listed(tokens);
  estimator.each((from.tokens + kRows - 1) / kRows, [&](int task, int) {
    std::vector<float> heads(static_cast<std::size_t>(from.heads) * static_cast<std::size_t>(from.dim));
    std::optional<Turner> turner;
    std::int64_t position = -1;  // where it stands
    for (std::int64_t row = task * kRows; row < std::min(from.tokens, (task + 1) * kRows); ++row) {
      const std::int64_t wanted = positions[static_cast<std::size_t>(row)];
      if (rotary == nullptr) {
        convert(from.row(row, 0), Type::f32, heads.data(), Type::f32, std::ssize(heads));
      } else {
        if (turner && wanted == position + 1) {
          turner->advance();
        } else {
          turner.emplace(*rotary, Stretch{.first = wanted});
        }
        position = wanted;
        turn_back(*turner, from, row, heads);
      }
      for (int head = 0; head < into.heads; ++head)
        convert(heads.data() + std::int64_t{head} * into.dim, Type::f32, into.row(row, head), into.type, into.dim);
    }
  });
}

}  // namespace gyre
