#include "kernels/attend_backward.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <numbers>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "kernels/floats.hpp"
#include "kernels/gradient_keys.hpp"
#include "kernels/lanes.hpp"
#include "kernels/partial.hpp"
#include "kernels/score_terms.hpp"

namespace gyre {
namespace {

void require(bool condition, const std::string& message) {
  if (!condition) throw std::invalid_argument(message);
}

/// Scores of a GradientTile's keys at a time, in units of which words of pairs take one.
constexpr std::int64_t kHalfOfScores = std::int64_t{GradientTile::kKeys} * GradientTile::kRows / 2;

/// Up to GradientTile::kStrips strips of one query cell.
struct Block {
  std::int32_t cell = 0;
  std::int32_t strip = 0;
  std::int32_t strips = 0;
  std::int32_t first_unit = 0;  // the first that it sees
  std::int32_t end_unit = 0;    // it sees none from here on
};

struct HeadBlocks {
  std::int64_t first = 0;  // in `turns`
  std::vector<Block> blocks;
};

struct Task {
  std::int32_t head = 0;
  std::int32_t unit = 0;
  double work = 0;  // rows times keys that they may see
};

/// Where the queries of a cell lie, and their gradients.
struct SeenForm {
  const std::byte* query;
  std::byte* grad_query;
};

/// Drops what is empty, and checks the rest.
void clean(AttendBackwardWork::Head& head) {
  std::erase_if(head.queries, [](const BackwardQueryCell& cell) { return cell.positions.empty(); });
  std::erase_if(head.keys, [](const BackwardKeyCell& cell) { return cell.positions.empty(); });
  for (const BackwardKeyCell& cell : head.keys) {
    require(cell.positions.size() <= kLongestUnit, "a unit of " + std::to_string(cell.positions.size()) +
                                                       " keys is longer than the kernels' limit of " +
                                                       std::to_string(kLongestUnit) + ": choose shorter units");
  }
}

/// How many of a unit's keys lie in one of the ranges.
std::int64_t keys_in(const std::vector<Range>& ranges, Range unit) {
  std::int64_t keys = 0;
  for (const Range range : ranges) {
    keys += std::max(std::int64_t{0}, std::min(range.end, unit.end) - std::max(range.begin, unit.begin));
  }
  return keys;
}

}  // namespace

struct alignas(kAlignment) BackwardScratch::Worker {
  Floats rows;        // a block's strips, as they are and in rows, its terms and its gradient: see Parts
  Floats scores;      // and what becomes of them: weights and slopes
  Floats shares;      // of a query cell in the gradients of the unit's keys
  Floats key_values;  // of the unit, as take_keys lays them out
  std::array<std::uint8_t, kLongestUnit / GradientTile::kKeys> shared;  // panels of keys that have a share
  std::vector<std::uint64_t> visible;
  ScoreTerms terms;  // of the block that is at hand

  std::size_t bytes() const {
    return rows.bytes() + scores.bytes() + shares.bytes() + key_values.bytes() + visible.capacity() * sizeof(std::uint64_t);
  }
};

BackwardScratch::BackwardScratch(int threads) {
  require(threads >= 1, "scratch memory for " + std::to_string(threads) + " threads: give at least 1");
  workers_ = std::vector<Worker>(threads);
}
BackwardScratch::~BackwardScratch() = default;

std::size_t BackwardScratch::bytes() const {
  std::size_t bytes = 0;
  for (const Worker& worker : workers_) bytes += worker.bytes();
  return bytes;
}

struct AttendBackward::State {
  AttendBackwardWork work;
  const KernelTable& kernels;
  std::shared_ptr<BackwardScratch> scratch;
  std::vector<HeadBlocks> heads;
  std::vector<Task> tasks;
  std::vector<double> work_before;  // [tasks + 1] of the tasks before each
  std::atomic<int> tasks_done = 0;
  std::int64_t blocks = 0;
  std::unique_ptr<std::atomic<std::int32_t>[]> turns;  // [blocks] the unit whose share comes next
  std::atomic<bool> abandoned = false;                 // a task has thrown: nobody's turn may come any more

  bool pairs() const { return pair_of(work.shape.type) == 2 && kernels.gradients_pairs != nullptr; }
  bool expands() const { return work.shape.type != Type::f32 && !pairs(); }
  int pair() const { return pairs() ? 2 : 1; }
  std::int64_t query_words() const { return cell_dims(work.shape) / pair() * kStrip; }  // of a strip
  std::int64_t grad_out_words() const { return cell_dims(grad_out_shape(work.shape)) / pair() * kStrip; }

  /// Of a unit, as take_keys lays it out.
  std::int64_t key_words(std::int64_t tokens) const { return round_up(tokens, kStrip) / kStrip * query_words(); }
  std::int64_t value_words(std::int64_t tokens) const {
    return round_up(tokens, kStrip) * (pairs() ? round_up(work.shape.value_dim, 2) / 2 : work.shape.value_dim);
  }

  void append_blocks(int head);
  Lanes lanes_of(int head, const Block& block) const;
  std::int32_t unit_from(int head, const Block& block, const Lanes& lanes, std::int32_t unit) const;
  void reserve();
  GradientTile tile_of(const Task& task, BackwardScratch::Worker& worker) const;
  void take_keys(const BackwardKeyCell& cell, BackwardScratch::Worker& worker, GradientTile& tile) const;
  SeenForm form_seen(const Task& task, const BackwardQueryCell& cell) const;
  void take_rows(const Task& task, const Block& block, BackwardScratch::Worker& worker, GradientTile& tile) const;
  void plan_fetching(const Task& task, std::int64_t index, GradientTile& tile) const;
  bool run_tile(const Task& task, std::int64_t index, BackwardScratch::Worker& worker, GradientTile& tile, bool polls,
                FunctionRef<void()> poll);
  void run_task(const Task& task, BackwardScratch::Worker& worker, bool polls, FunctionRef<void()> poll);
  bool await(std::atomic<std::int32_t>& turn, std::int32_t unit, bool polls, FunctionRef<void()> poll) const;
};

/// Blocks of one head, ascending, with the units that they see.
void AttendBackward::State::append_blocks(int head) {
  const AttendBackwardWork::Head& cells = work.heads[head];
  HeadBlocks& list = heads.emplace_back(HeadBlocks{.first = blocks, .blocks = {}});
  const auto units = static_cast<std::int32_t>(cells.keys.size());
  const std::size_t first_task = tasks.size();
  for (std::int32_t unit = 0; unit < units; ++unit) tasks.push_back({.head = head, .unit = unit});
  std::vector<Range> touched;
  for (std::int32_t cell = 0; cell < std::ssize(cells.queries); ++cell) {
    const auto strips = static_cast<std::int32_t>(query_strips(work.shape, cells.queries[cell].positions.size()));
    for (std::int32_t strip = 0; strip < strips; strip += GradientTile::kStrips) {
      Block block{.cell = cell, .strip = strip, .strips = std::min(strips - strip, GradientTile::kStrips)};
      const Lanes lanes = lanes_of(head, block);
      if (units > 0) {
        work.bands->keys_touched(lanes.hull, {cells.keys.front().positions.begin, cells.keys.back().positions.end}, touched);
        const std::int64_t last = touched.empty() ? cells.keys.front().positions.begin : touched.back().end;
        const auto starts = [](const BackwardKeyCell& key, std::int64_t position) { return key.positions.begin < position; };
        block.end_unit =
            static_cast<std::int32_t>(std::lower_bound(cells.keys.begin(), cells.keys.end(), last, starts) - cells.keys.begin());
        block.first_unit = unit_from(head, block, lanes, 0);
        for (std::int32_t unit = block.first_unit; unit < block.end_unit; ++unit) {
          tasks[first_task + unit].work +=
              static_cast<double>(keys_in(touched, cells.keys[unit].positions)) * block.strips * kStrip;
        }
      }
      list.blocks.push_back(block);
      ++blocks;
    }
  }
}

Lanes AttendBackward::State::lanes_of(int head, const Block& block) const {
  Lanes lanes;
  for (int s = 0; s < block.strips; ++s) {
    lanes.append(work.shape, head, work.heads[head].queries[block.cell].positions, block.strip + s);
  }
  return lanes;
}

/// The first unit from this one on that the block sees; end_unit if there is none.
std::int32_t AttendBackward::State::unit_from(int head, const Block& block, const Lanes& lanes, std::int32_t unit) const {
  const auto empty = [&](std::int32_t u) {
    return work.bands->cover(lanes.hull, work.heads[head].keys[u].positions, lanes.head_hull) == Cover::empty;
  };
  while (unit < block.end_unit && empty(unit)) ++unit;
  return unit;
}

/// Words of a worker's `rows`, in this order.
struct Parts {
  std::int64_t queries, grad_outs, query_rows, grad_out_rows, terms, blind, grad_query, all;
};
static Parts parts_of(const CellShape& shape, std::int64_t query_strip, std::int64_t grad_out_strip) {
  Parts parts{};
  std::int64_t end = 0;
  const auto next = [&](std::int64_t floats) { return std::exchange(end, end + round_up(floats, kStrip)); };
  parts.queries = next(GradientTile::kStrips * query_strip);
  parts.grad_outs = next(GradientTile::kStrips * grad_out_strip);
  parts.query_rows = next(GradientTile::kRows * round_up(shape.head_dim, kStrip));
  parts.grad_out_rows = next(GradientTile::kRows * round_up(shape.value_dim, kStrip));
  parts.terms = next(std::int64_t{2} * GradientTile::kRows);
  parts.blind = next(std::int64_t{2} * kStrip);
  parts.grad_query = next(std::int64_t{GradientTile::kRows} * shape.head_dim);
  parts.all = end;
  return parts;
}

void AttendBackward::State::reserve() {
  std::int64_t longest = 0;
  for (const AttendBackwardWork::Head& head : work.heads) {
    for (const BackwardKeyCell& cell : head.keys) longest = std::max(longest, cell.positions.size());
  }
  const std::int64_t rounded = round_up(longest, kStrip);
  const std::int64_t keys = work.shape.type == Type::f32 ? 0 : key_words(longest);
  const std::int64_t blocks_of_values = expands() ? rounded * round_up(work.shape.value_dim, kChannels) : 0;
  for (BackwardScratch::Worker& worker : scratch->workers_) {
    worker.rows.reserve(parts_of(work.shape, query_words(), grad_out_words()).all);
    worker.scores.reserve((pairs() ? 7 : 4) * kHalfOfScores);
    worker.shares.reserve(grad_sums_floats(work.shape, longest));
    worker.key_values.reserve(keys + value_words(longest) + blocks_of_values);
    worker.visible.resize(std::max(worker.visible.size(), static_cast<std::size_t>(rounded)));
  }
}

/// What all tiles of a task have in common.
GradientTile AttendBackward::State::tile_of(const Task& task, BackwardScratch::Worker& worker) const {
  const CellShape& shape = work.shape;
  const BackwardKeyCell& cell = work.heads[task.head].keys[task.unit];
  const double log2_scale = work.score.scale * std::numbers::log2e;
  GradientTile tile;
  tile.head_dim = shape.head_dim, tile.value_dim = shape.value_dim;
  tile.factor = static_cast<float>(work.score.softcap ? 2 * log2_scale / *work.score.softcap : log2_scale);
  tile.cap = static_cast<float>(work.score.softcap ? *work.score.softcap * std::numbers::log2e : 0);
  tile.scale = static_cast<float>(work.score.scale);
  tile.keys = static_cast<int>(cell.positions.size());
  tile.key_strip = query_words();
  const std::int64_t key_floats = grad_key_floats(shape, tile.keys);
  tile.key_share = worker.shares.get(), tile.value_share = tile.key_share + key_floats;
  worker.shared.fill(0), tile.shared = worker.shared.data();
  tile.key_total = reinterpret_cast<float*>(cell.gradient), tile.value_total = tile.key_total + gradient_at(key_floats);
  const Parts parts = parts_of(shape, query_words(), grad_out_words());
  float* const rows = worker.rows.get();
  tile.queries = rows + parts.query_rows, tile.grad_outs = rows + parts.grad_out_rows;
  tile.row_terms = rows + parts.terms, tile.grad_query = rows + parts.grad_query;
  std::fill_n(rows + parts.blind, kStrip, kBlindLogSumExp);
  std::fill_n(rows + parts.blind + kStrip, kStrip, 0.0F);
  tile.scores = tile.weights = worker.scores.get();
  tile.products = tile.slopes = tile.slope_pairs = tile.scores + 2 * kHalfOfScores;
  if (pairs()) {
    tile.weights = tile.products + 2 * kHalfOfScores;
    tile.slopes = tile.weights + kHalfOfScores, tile.slope_pairs = tile.slopes + kHalfOfScores;
  }
  take_keys(cell, worker, tile);
  return tile;
}

/// The unit's keys and values in the forms that GradientTile wants: whatever is not so already, in this order: keys, values, and
/// values in blocks, if they are expanded.
void AttendBackward::State::take_keys(const BackwardKeyCell& cell, BackwardScratch::Worker& worker, GradientTile& tile) const {
  const CellShape& shape = work.shape;
  const std::int64_t count = cell.positions.size(), rounded = round_up(count, kStrip);
  const std::byte* const value = cell.cell + value_offset_elements(shape, count) * type_bytes(shape.type);
  float* const keys = worker.key_values.get();
  float* const values = shape.type == Type::f32 ? keys : keys + key_words(count);
  tile.key = tile.key_pairs = reinterpret_cast<const float*>(cell.cell), tile.value = values;
  if (pairs()) {
    tile.key_pairs = keys;
    pair_keys(cell.cell, rounded, cell_dims(shape), keys);
    pair_channels(value, rounded, shape.value_dim, values);
    return;
  }
  const float* value_blocks = reinterpret_cast<const float*>(value);
  if (expands()) {
    float* const expanded = values + value_words(count);
    kernels.expand(shape.type, kStrip, cell.cell, rounded * cell_dims(shape), 1.0F, keys);
    kernels.expand(shape.type, kChannels, value, rounded * round_up(shape.value_dim, kChannels), 1.0F, expanded);
    tile.key = tile.key_pairs = keys, value_blocks = expanded;
  }
  strips_of_values(value_blocks, rounded, shape.value_dim, values);
}

/// In the form that the task's keys see.
SeenForm AttendBackward::State::form_seen(const Task& task, const BackwardQueryCell& cell) const {
  const std::int64_t keys = work.heads[task.head].keys[task.unit].positions.begin, tokens = cell.positions.size();
  const int form = form_of(cell.positions.begin, keys, work.chunk_tokens);
  return {.query = cell.query + form * query_form_elements(work.shape, tokens) * type_bytes(work.shape.type),
          .grad_query = cell.grad_query + form * grad_query_form_bytes(work.shape, tokens)};
}

/// The block's rows in strips of words, with where their gradient lies.
void AttendBackward::State::take_rows(const Task& task, const Block& block, BackwardScratch::Worker& worker,
                                      GradientTile& tile) const {
  const CellShape& shape = work.shape;
  const BackwardQueryCell& cell = work.heads[task.head].queries[block.cell];
  const SeenForm form = form_seen(task, cell);
  const Parts parts = parts_of(shape, query_words(), grad_out_words());
  const auto strip = [&](const std::byte* from, const CellShape& of, std::int64_t floats, float* place) {
    if (!expands()) return reinterpret_cast<const float*>(from);
    kernels.expand(of.type, kStrip, from, floats, 1.0F, place);
    return static_cast<const float*>(place);
  };
  const CellShape grad_shape = grad_out_shape(shape);
  tile.strip_count = block.strips;
  for (int s = 0; s < block.strips; ++s) {
    const std::int64_t at = block.strip + s;
    tile.strips[s] = {.query = strip(form.query + at * query_strip_elements(shape) * type_bytes(shape.type), shape, query_words(),
                                     worker.rows.get() + parts.queries + s * query_words()),
                      .grad_out = strip(cell.grad_out + at * query_strip_elements(grad_shape) * type_bytes(shape.type), grad_shape,
                                        grad_out_words(), worker.rows.get() + parts.grad_outs + s * grad_out_words()),
                      .grad_query = reinterpret_cast<float*>(form.grad_query) + at * grad_query_strip_floats(shape)};
    tile.statistics[s] = reinterpret_cast<const float*>(cell.row_statistics) + at * 2 * kStrip;
  }
  for (int s = block.strips; s < GradientTile::kStrips; ++s) {
    tile.strips[s] = tile.strips[0], tile.strips[s].grad_query = nullptr;
    tile.statistics[s] = worker.rows.get() + parts.blind;
  }
}

/// False if it will not come.
bool AttendBackward::State::await(std::atomic<std::int32_t>& turn, std::int32_t unit, bool polls, FunctionRef<void()> poll) const {
  while (turn.load(std::memory_order_acquire) != unit) {
    if (abandoned.load(std::memory_order_relaxed)) return false;
    if (polls) poll();
    std::this_thread::yield();
  }
  return true;
}

/// What the kernel fetches meanwhile: the block's totals, for their turn, and the rows of the block that is probably next.
void AttendBackward::State::plan_fetching(const Task& task, std::int64_t index, GradientTile& tile) const {
  const std::vector<Block>& list = heads[task.head].blocks;
  const AttendBackwardWork::Head& head = work.heads[task.head];
  const CellShape& shape = work.shape;
  const auto piece = [&](const std::byte* cell, const Block& block, std::int64_t strip_bytes) {
    return GradientTile::Piece{.begin = cell + block.strip * strip_bytes, .bytes = block.strips * strip_bytes};
  };
  tile.fetch[0] = piece(form_seen(task, head.queries[list[index].cell]).grad_query, list[index],
                        grad_query_strip_floats(shape) * std::int64_t{sizeof(float)});
  tile.fetch[1] = tile.fetch[2] = {};
  if (index == 0) return;
  const BackwardQueryCell& next = head.queries[list[index - 1].cell];
  tile.fetch[1] = piece(form_seen(task, next).query, list[index - 1], query_strip_elements(shape) * type_bytes(shape.type));
  tile.fetch[2] = piece(next.grad_out, list[index - 1], query_strip_elements(grad_out_shape(shape)) * type_bytes(shape.type));
}

/// One block against a task's unit. False if the pass is abandoned.
bool AttendBackward::State::run_tile(const Task& task, std::int64_t index, BackwardScratch::Worker& worker, GradientTile& tile,
                                     bool polls, FunctionRef<void()> poll) {
  const AttendBackwardWork::Head& head = work.heads[task.head];
  const Block& block = heads[task.head].blocks[index];
  const Lanes lanes = lanes_of(task.head, block);
  const Sight sight = sight_of(*work.bands, lanes, head.keys[task.unit].positions, work.shape.residues, worker.visible);
  if (sight.cover == Cover::empty) return true;
  // What is covered may be covered by a head that has no row in this block: then nothing is to do but to pass the turn on.
  const bool seen = !sight.strips.empty();
  if (seen) {
    tile.visible = sight.visible;
    if (!work.score.slopes.empty() || work.score.dropout) {
      const std::int64_t first_key = head.keys[task.unit].positions.begin;
      worker.terms.take_rows(work.score, lanes);
      worker.terms.take_unit(work.score, lanes, first_key);
      worker.terms.show(work.score, first_key, tile);
    }
    take_rows(task, block, worker, tile);
    plan_fetching(task, index, tile);
    (pairs() ? kernels.gradients_pairs : kernels.gradients)(tile);
  }
  std::atomic<std::int32_t>& turn = turns[heads[task.head].first + index];
  if (!await(turn, task.unit, polls, poll)) return false;
  if (seen) kernels.fold_grad_query(tile);
  turn.store(unit_from(task.head, block, lanes, task.unit + 1), std::memory_order_release);
  if (polls) poll();
  return true;
}

/// A unit of keys: its share of every query cell, the last cell first.
void AttendBackward::State::run_task(const Task& task, BackwardScratch::Worker& worker, bool polls, FunctionRef<void()> poll) {
  const std::vector<Block>& list = heads[task.head].blocks;
  GradientTile tile = tile_of(task, worker);
  bool shared = false;
  for (std::int64_t index = std::ssize(list) - 1; index >= 0; --index) {
    if (task.unit >= list[index].first_unit && task.unit < list[index].end_unit) {
      if (!run_tile(task, index, worker, tile, polls, poll)) return;
      shared = true;
    }
    if (shared && (index == 0 || list[index - 1].cell != list[index].cell)) {
      kernels.fold_grad_keys(tile);
      shared = false;
    }
  }
}

AttendBackward::AttendBackward(AttendBackwardWork work, const KernelTable& kernels, int threads,
                               std::shared_ptr<BackwardScratch> scratch) {
  require(work.bands != nullptr, "backward without bands: give the mask's bands");
  require(work.shape.head_dim >= 1 && work.shape.value_dim >= 1 && work.shape.group >= 1,
          "head dim " + std::to_string(work.shape.head_dim) + ", value dim " + std::to_string(work.shape.value_dim) + ", group " +
              std::to_string(work.shape.group) + ": each must be at least 1");
  require_rule(work.score, std::ssize(work.heads) * work.shape.group);
  require_order(work.score, work.shape.residues);
  if (scratch == nullptr) scratch = std::make_shared<BackwardScratch>(threads);
  require(std::ssize(scratch->workers_) == threads, "scratch memory for " + std::to_string(scratch->workers_.size()) +
                                                        " threads cannot serve " + std::to_string(threads) +
                                                        ": make it for as many");
  state_.reset(new State{.work = std::move(work),
                         .kernels = kernels,
                         .scratch = std::move(scratch),
                         .heads = {},
                         .tasks = {},
                         .work_before = {},
                         .turns = {}});
  for (int head = 0; head < std::ssize(state_->work.heads); ++head) {
    clean(state_->work.heads[head]);
    state_->append_blocks(head);
  }
  // Heads side by side: tasks of different heads never wait for each other.
  std::stable_sort(state_->tasks.begin(), state_->tasks.end(), [](const Task& a, const Task& b) { return a.unit < b.unit; });
  state_->work_before.assign(1, 0.0);
  for (const Task& task : state_->tasks) state_->work_before.push_back(state_->work_before.back() + task.work);
  state_->turns = std::make_unique<std::atomic<std::int32_t>[]>(state_->blocks);
  state_->reserve();
}

AttendBackward::AttendBackward(AttendBackward&&) noexcept = default;
AttendBackward::~AttendBackward() = default;

void AttendBackward::run(Team& team, FunctionRef<void()> poll) {
  const auto workers = static_cast<int>(state_->scratch->workers_.size());
  if (team.size() != workers) {  // not require(): its message would be made, and allocated, on every run
    throw std::invalid_argument("a team of " + std::to_string(team.size()) + " threads, but scratch memory for " +
                                std::to_string(workers) + ": build the pass for as many threads as run it");
  }
  state_->abandoned.store(false, std::memory_order_relaxed);
  state_->tasks_done.store(0, std::memory_order_relaxed);
  for (const HeadBlocks& head : state_->heads) {
    for (std::int64_t block = 0; block < std::ssize(head.blocks); ++block) {
      state_->turns[head.first + block].store(head.blocks[block].first_unit, std::memory_order_relaxed);
    }
  }
  team.run(
      static_cast<int>(state_->tasks.size()),
      [&](int task, int worker) {
        try {
          state_->run_task(state_->tasks[task], state_->scratch->workers_[worker], worker == 0, poll);
          state_->tasks_done.fetch_add(1, std::memory_order_relaxed);
        } catch (...) {
          state_->abandoned.store(true, std::memory_order_relaxed);
          throw;
        }
      },
      poll);
}

std::size_t AttendBackward::scratch_bytes() const {
  return state_->scratch->bytes();
}

double AttendBackward::work() const {
  return state_->work_before.back();
}

double AttendBackward::work_done() const {  // tasks are taken in ascending order
  return state_->work_before[state_->tasks_done.load(std::memory_order_relaxed)];
}

}  // namespace gyre
