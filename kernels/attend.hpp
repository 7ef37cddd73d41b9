// Attend: queries of one rank over some key/value cells, accumulated into partials.
//
// Numerics (the design page's): the score x is in log2 units; the maximum m is an integer, taken per (row, unit of keys);
// p = scalef(exp2(x - round(x)), round(x) - m); each (row, unit) accumulates from zero by fixed chains of fused multiply-adds and
// is then added to the partial, rescaled by exact powers of two. So the bits of a row depend on its units and their order alone:
// not on the block of rows it sits in, on skipped tiles, on threads, or on how the sequence is sharded between attends.
// Cells of 16 bits are expanded to fp32 before anything is computed, unless the processor multiplies pairs of bf16: a block's
// queries once, times the scale, a unit's keys and values once for the blocks of a task (192 rows). (Instruction sets with fused
// multiply-adds agree to the bit, but for pairs; "portable" rounds twice and differs.)
//
// Queries, keys and values must be finite, and scores within 1e30. A query that is not spoils its row alone; where it is
// NaN, the row's output or log-sum-exp is no number either. A key or value that is not spoils the rows that see it, and may spoil
// rows that do not: a row's neighbours in a block share the panel of 8 keys, where an invisible key has weight 0.
//
// References: Dao et al., FlashAttention (2205.14135); Milakov & Gimelshein, online normalizer (1805.02867).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/cell.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/dual_chunk.hpp"
#include "kernels/floats.hpp"
#include "kernels/score.hpp"
#include "kernels/team.hpp"
#include "partition/bands.hpp"

namespace gyre {

class UnitQueue;

/// A query unit of one key/value head, with its partial. Positions on the key axis.
struct QueryCell {
  const std::byte* query = nullptr;
  std::byte* partial = nullptr;
  Range positions;
};

/// A key/value unit of one key/value head.
struct KeyCell {
  const std::byte* cell = nullptr;
  Range positions;
};

/// What one attend does: for each key/value head, every query cell against every key cell, as far as the bands let them.
/// Built once, run many times; addresses are fixed.
struct AttendWork {
  /// Heads need not have the same units.
  struct Head {
    std::vector<QueryCell> queries;  // ascending positions
    std::vector<KeyCell> keys;       // ascending positions: the order of accumulation
  };
  CellShape shape;
  ScoreRule score{};
  const Bands* bands = nullptr;
  std::vector<Head> heads;  // head h serves the query heads [h group, (h + 1) group) of the bands
  /// Of dual chunk attention, whose queries have three forms: positions are cut into chunks of so many tokens, cells of queries and
  /// of keys lie in one each, and how far apart those are says which form is multiplied with the keys (form_of). 0: one form.
  std::int64_t chunk_tokens = 0;
};

/// Scratch memory of a team's workers. Attends that never run at the same time may share one, so that a ring of a thousand stages
/// needs it once. Grows to the largest of them, when they are built.
class AttendScratch {
 public:
  explicit AttendScratch(int threads);
  ~AttendScratch();
  AttendScratch(const AttendScratch&) = delete;
  AttendScratch& operator=(const AttendScratch&) = delete;
  std::size_t bytes() const;

 private:
  friend class Attend;
  struct Worker;
  std::vector<Worker> workers_;
  std::unique_ptr<UnitQueue> queue_;
  Floats gathered_;  // keys of all units, as columns.hpp has them
};

/// Resolved blocks for a piece of work. Construction allocates; running does not.
class Attend {
 public:
  /// strips_per_block: rows taken together, in strips of 16, at most Tile::kMostStrips; 0 takes the kernel's own. It never changes
  /// a bit of the result. scratch: made for `threads` workers; null makes an own one. Throws std::invalid_argument on a unit longer
  /// than kLongestUnit and on counts out of range. work.bands must outlive this.
  Attend(AttendWork work, const KernelTable& kernels, int threads, int strips_per_block = 0,
         std::shared_ptr<AttendScratch> scratch = nullptr);
  Attend(Attend&&) noexcept;
  ~Attend();

  /// Tasks are (head, some neighbouring blocks of query rows), last first; (head, block of up to 16 rows, unit), where there would
  /// be too few of them for the threads (unit_queue.hpp). `poll` is called by the calling thread after each of its
  /// tiles (a block against a unit: 60 us at head dim 64, 0.5 ms at 576, with units of 512 keys) and while it waits for others.
  /// team.size() must be `threads`.
  void run(Team& team, FunctionRef<void()> poll);

  std::size_t scratch_bytes() const;  // counts shared scratch in full

  /// How much there is to do, and how much of it a run that is going on has done: rows times keys that they may see. For displays;
  /// from any thread.
  double work() const;
  double work_done() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gyre
