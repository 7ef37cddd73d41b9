// Attend, backward: gradients of queries, keys and values of one rank's cells, given the gradient of the output.
//
//   p_ij = exp(s_ij - lse_i)      dp_ij = dO_i . v_j      ds_ij = p_ij (dp_ij - D_i)  (times 1 - (score / cap)^2 with a cap)
//   dv_j += sum_i p_ij dO_i       dk_j += scale sum_i ds_ij q_i       dq_i += scale sum_j ds_ij k_j
//
// lse and D = dO . O are those of the whole row, over all keys of the sequence, so that shares of different keys simply add:
// what backward adds to gradient cells is right whatever part of the rows and keys a rank has at hand.
//
// Numerics (the design page's). dq: each (row, unit of keys) accumulates from zero and is then added to the row's total; dk, dv:
// each (key, unit of queries) likewise. Additions to totals are compensated. Units of keys come in ascending order, units of
// queries and the blocks of 64 rows that they are cut into in descending order; so bits depend on units and their order alone: not
// on tiles, threads, or what neighbours see. The chains are in cpu/gradient-inl.hpp. Words of bf16 are multiplied as they are where
// kernels have such instructions (dispatch.hpp); weights and slopes are then rounded to bf16, and sums, log-sum-exp and D are fp32
// all the same. Other cells of 16 bits are expanded to fp32: keys and values once a run, queries and gradients of outputs for every
// unit of keys.
//
// Inputs must be finite, as attend.hpp says. Reference: Dao, FlashAttention-2 (2307.08691), algorithm 2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/cell.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/dual_chunk.hpp"
#include "kernels/score.hpp"
#include "kernels/team.hpp"
#include "partition/bands.hpp"

namespace gyre {

/// A query unit of one key/value head. Positions on the key axis.
struct BackwardQueryCell {
  const std::byte* query = nullptr;
  const std::byte* grad_out = nullptr;
  const std::byte* row_statistics = nullptr;
  std::byte* grad_query = nullptr;  // is added to
  Range positions;
};

/// A key/value unit of one key/value head.
struct BackwardKeyCell {
  const std::byte* cell = nullptr;
  std::byte* gradient = nullptr;  // is added to
  Range positions;
};

/// What one pass does: for each key/value head, every query cell against every key cell, as far as the bands let them. Built once,
/// run many times; addresses are fixed.
struct AttendBackwardWork {
  struct Head {
    std::vector<BackwardQueryCell> queries;  // ascending positions: the order of accumulation, reversed
    std::vector<BackwardKeyCell> keys;       // ascending positions: the order of accumulation
  };
  CellShape shape;
  ScoreRule score{};
  const Bands* bands = nullptr;
  std::vector<Head> heads;        // head h serves the query heads [h group, (h + 1) group) of the bands
  std::int64_t chunk_tokens = 0;  // as AttendWork has it; a form's gradient is that form's of the cell
};

/// Scratch memory of a team's workers; passes that never run at the same time may share one.
class BackwardScratch {
 public:
  explicit BackwardScratch(int threads);
  ~BackwardScratch();
  BackwardScratch(const BackwardScratch&) = delete;
  BackwardScratch& operator=(const BackwardScratch&) = delete;
  std::size_t bytes() const;

 private:
  friend class AttendBackward;
  struct Worker;
  std::vector<Worker> workers_;
};

/// Construction allocates; running does not.
class AttendBackward {
 public:
  /// scratch: made for `threads` workers; null makes an own one. Throws std::invalid_argument on a unit longer than kLongestUnit
  /// and on counts out of range. work.bands must outlive this.
  AttendBackward(AttendBackwardWork work, const KernelTable& kernels, int threads,
                 std::shared_ptr<BackwardScratch> scratch = nullptr);
  AttendBackward(AttendBackward&&) noexcept;
  ~AttendBackward();

  /// Tasks are (unit of keys, head), ascending. A task owns the gradients of its unit and goes through the blocks of rows that see
  /// it, last first, so that the tasks of a causal mask start together. A block takes the shares of its units in their order: a
  /// task that is early waits for those before it, which others are at. `poll` is called by the calling thread after each of its
  /// tiles (64 rows against a unit) and while it waits. team.size() must be `threads`.
  void run(Team& team, FunctionRef<void()> poll);

  std::size_t scratch_bytes() const;  // counts shared scratch in full

  /// As Attend's: how much there is to do, and how much of it a run that is going on has done. From any thread.
  double work() const;
  double work_done() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gyre
