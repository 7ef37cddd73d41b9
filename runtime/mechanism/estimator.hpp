// What estimators share: the rows that they score, the team that scores them, and small arithmetic whose bits depend on nothing
// else.
//
// An estimator gives the same selection on any number of ranks and for any placement of rows: a score is one chain of multiply-adds
// over the channels of its two rows, wherever that is computed; maxima are exact; what is summed over ranks is integers; of equal
// scores the one with the lower index comes first.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "comm/transport.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/team.hpp"
#include "partition/block_table.hpp"
#include "runtime/mechanism/row_exchange.hpp"
#include "runtime/problem.hpp"

namespace gyre {

/// Queries and keys on all ranks, and who works on them.
struct Estimator {
  Transport& transport;
  Team& team;
  const KernelTable& kernels;
  const Problem& problem;
  RowsOnRanks queries, keys;

  std::int64_t tokens() const { return problem.key_tokens; }
  int rank() const { return transport.rank(); }
  int key_head_of(int head) const { return head / problem.group(); }
  /// Of one head, of the tokens that ranks want: [tokens, dim]. Collective.
  std::vector<float> fetch_queries(int head, const RowMap& wanted) const {
    return fetch_rows(transport, queries, {head, head + 1}, problem.type, wanted);
  }
  std::vector<float> fetch_keys(int key_head, const RowMap& wanted) const {
    return fetch_rows(transport, keys, {key_head, key_head + 1}, problem.type, wanted);
  }
  /// body(task, worker) for each task, on the team; other ranks hear meanwhile that this one lives.
  void each(std::int64_t tasks, FunctionRef<void(int task, int worker)> body) const;
};

/// [keys][dim] as panels for the products kernel. `into` grows.
void pack_panels(const Estimator& estimator, std::span<const float> keys, int dims, AlignedFloats& into);

/// The indices below `count` by falling score, those of equal scores ascending; the first `wanted` of them, in that order or not.
void take_greatest(const float* scores, std::int64_t count, std::int64_t wanted, std::vector<std::int32_t>& indices);

/// e^x of an x that is not above 0, within 2e-6 of it down to x = -20; 1 at 0, 0 from e^-86 on. Products and sums of fp32 alone, so
/// that it has the same bits with any library of mathematics; no branch, so that compilers make vectors of it.
inline float exp_of_fall(float x) {
  constexpr auto kMost = std::bit_cast<std::int32_t>(124.0F);  // of -x in log2 units
  const std::int32_t unlimited = std::bit_cast<std::int32_t>(x * 1.44269504F) & 0x7fffffff;
  const float t = -std::bit_cast<float>(std::min(unlimited, kMost));
  const int whole = static_cast<int>(t - 0.5F);  // to the nearest: t is not above 0
  const float f = t - static_cast<float>(whole);
  float power = 1.5403530e-4F;  // 2^f, by its series
  power = power * f + 1.3333558e-3F;
  power = power * f + 9.6181291e-3F;
  power = power * f + 5.5504109e-2F;
  power = power * f + 2.4022651e-1F;
  power = power * f + 6.9314718e-1F;
  power = power * f + 1.0F;
  const float result = power * std::bit_cast<float>((whole + 127) << 23);
  const std::int32_t kept = (unlimited - kMost - 1) >> 31;  // all bits, or none: of a choice compilers make a branch
  return std::bit_cast<float>(std::bit_cast<std::int32_t>(result) & kept);
}

/// Chosen columns of the rows that a rank owns, as bits, and the way into a table that every rank has.
class ChosenRows {
 public:
  /// rows: of the table, by the rank that chooses for them.
  ChosenRows(const BlockShape& shape, const RowMap& rows, int rank)
      : shape_(shape),
        rows_(rows),
        width_((shape.columns + 63) / 64),
        words_(static_cast<std::size_t>(count_of(rows[static_cast<std::size_t>(rank)]) * width_)) {}

  /// index: of an own row, counted from this rank's first. From any thread, a row from one at a time.
  void choose(std::int64_t index, std::int64_t column) {
    words_[static_cast<std::size_t>(index * width_ + column / 64)] |= std::uint64_t{1} << column % 64;
  }
  /// Every rank's rows become those of a head, or of each of some, and are forgotten here. Collective.
  void show(Transport& transport, int head, BlockTable& table) { show(transport, {head, head + 1}, table); }
  void show(Transport& transport, Range heads, BlockTable& table);

 private:
  BlockShape shape_;
  const RowMap& rows_;
  std::int64_t width_;
  std::vector<std::uint64_t> words_;
};

}  // namespace gyre
