#include "kernels/attend.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <numbers>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

#include "kernels/attend_blocks.hpp"
#include "kernels/columns.hpp"
#include "kernels/floats.hpp"
#include "kernels/score_terms.hpp"
#include "kernels/unit_queue.hpp"

namespace gyre {
namespace {

/// A block against one unit, where a task is no more than that.
struct UnitTask {
  std::int32_t block = 0;
  std::int32_t key_cell = 0;
};

void require(bool condition, const std::string& message) {
  if (!condition) throw std::invalid_argument(message);
}

/// Keys of a cell that are gathered for some queries of some query heads: their places, and where they lie then.
struct Gathered {
  std::int32_t head = 0;
  std::int32_t cell = 0;
  Range query_heads;
  Range queries;
  std::int64_t begin = 0;  // in the scratch memory's words
  std::vector<std::int16_t> places;
};

/// Drops what is empty, and checks the rest.
void clean(AttendWork::Head& head) {
  std::erase_if(head.queries, [](const QueryCell& cell) { return cell.positions.empty(); });
  std::erase_if(head.keys, [](const KeyCell& cell) { return cell.positions.empty(); });
  for (const KeyCell& cell : head.keys) {
    require(cell.positions.size() <= kLongestUnit, "a unit of " + std::to_string(cell.positions.size()) +
                                                       " keys is longer than the kernels' limit of " +
                                                       std::to_string(kLongestUnit) + ": choose shorter units");
  }
}

}  // namespace

/// A block of the task that a worker is at.
struct ActiveBlock {
  BlockRows rows;
  Tile tile;
  float* queries = nullptr;                  // room for its strips in fp32, where they do not lie so
  std::array<int, Tile::kMostStrips> forms;  // of the strips that are there; -1: none yet
  float* total = nullptr;                    // of few rows, as few_rows.hpp has it
  ScoreTerms terms;
};

struct alignas(kAlignment) AttendScratch::Worker {
  Floats scores;            // [keys of a unit][strips of a block][16]
  Floats queries;           // a task's strips, times the scale
  Floats key_values;        // a cell in fp32, if cells are not
  Floats few;               // of few rows: sums of a unit, then a total for each block of the task
  Range expanded;           // strips of keys in it
  std::int32_t block = -1;  // that is begun, where a task is a unit
  std::vector<ActiveBlock> blocks;
  std::vector<std::uint64_t> visible, columns;
  std::vector<Range> touched;

  std::size_t bytes() const {
    return scores.bytes() + queries.bytes() + key_values.bytes() + few.bytes() +
           (visible.capacity() + columns.capacity()) * sizeof(std::uint64_t) + touched.capacity() * sizeof(Range) +
           blocks.capacity() * sizeof(ActiveBlock);
  }
};

AttendScratch::AttendScratch(int threads) {
  require(threads >= 1, "scratch memory for " + std::to_string(threads) + " threads: give at least 1");
  workers_ = std::vector<Worker>(threads);
  queue_ = std::make_unique<UnitQueue>();
}
AttendScratch::~AttendScratch() = default;

std::size_t AttendScratch::bytes() const {
  std::size_t bytes = queue_->bytes() + gathered_.bytes();
  for (const Worker& worker : workers_) bytes += worker.bytes();
  return bytes;
}

struct Attend::State {
  AttendWork work;
  const KernelTable& kernels;
  std::shared_ptr<AttendScratch> scratch;
  void (*attend)(const Tile& tile) = nullptr;
  void (*attend_few)(const Tile& tile) = nullptr;
  bool expands = false;            // cells to fp32, before the kernel takes them
  float factor = 1;                // of query . key: Tile says what for
  float cap = 0;                   // as Tile has it
  std::vector<QueryBlock> blocks;  // last first in every head
  std::vector<BlockTask> tasks;
  std::vector<UnitTask> units;        // instead of tasks, if there are any: block by block, ascending
  std::vector<Gathered> gathered;     // ascending in head, cell, query heads and queries
  std::optional<Bands::Split> split;  // where there are gathered keys, all of one table
  std::vector<double> work_before;    // [tasks + 1] of the tasks before each
  std::atomic<int> tasks_done = 0;

  bool takes_words() const { return attend == kernels.attend_pairs; }
  bool adds_terms() const { return !work.score.slopes.empty() || work.score.dropout; }
  void reserve(int strips_per_block);
  Range begin_task(const BlockTask& task, AttendScratch::Worker& worker) const;
  void run_task(const BlockTask& task, AttendScratch::Worker& worker, bool polls, FunctionRef<void()> poll) const;
  bool run_tile(ActiveBlock& block, const KeyCell& cell, std::span<const Gathered> columns, AttendScratch::Worker& worker) const;
  Sight run_columns(ActiveBlock& block, const KeyCell& cell, std::span<const Gathered> columns,
                    AttendScratch::Worker& worker) const;
  void run_gathered(ActiveBlock& block, const Gathered& columns, AttendScratch::Worker& worker) const;
  void run_seen(ActiveBlock& block, const Sight& sight) const;
  void find_columns();
  void find_columns(std::int32_t head, Range query_heads, Range queries, std::int64_t& words);
  std::span<const Gathered> columns_in(int head, std::ptrdiff_t cell) const;
  void gather(const Gathered& columns) const;
  int most_few_rows() const { return !gathered.empty() ? 0 : units.empty() ? kernels.most_few_rows : kMostFewRows; }
  void split_into_units(int threads);
  void run_units(Team& team, FunctionRef<void()> poll);
  void run_unit(int index, AttendScratch::Worker& worker, bool polls, FunctionRef<void()> poll) const;
  void fold_unit(int index, const float* sums, float* total) const;
  template <class Move>
  void each_few(const BlockTask& task, AttendScratch::Worker& worker, Move&& move) const;
  const float* key_words(const KeyCell& cell) const;
  void take_queries(const KeyCell& cell, ActiveBlock& block) const;
  void take_keys(const KeyCell& cell, Range strips, AttendScratch::Worker& worker, Tile& tile) const;
};

/// Every task looks once for the keys that it will touch, so that no vector grows later.
void Attend::State::reserve(int strips_per_block) {
  std::int64_t longest = 0;
  std::size_t most_blocks = 0, most_few = 0;
  std::vector<Range> touched;
  Tile tile;
  for (const AttendWork::Head& head : work.heads) {
    for (const KeyCell& cell : head.keys) longest = std::max(longest, cell.positions.size());
  }
  work_before.assign(1, 0.0);
  for (const BlockTask& task : tasks) {
    most_blocks = std::max(most_blocks, static_cast<std::size_t>(task.blocks));
    double work_of_task = 0;
    std::size_t few_blocks = 0;
    Range hull{kNoPosition, -kNoPosition};
    const std::vector<KeyCell>& keys = work.heads[blocks[task.first_block].head].keys;
    for (int index = 0; index < task.blocks && !keys.empty(); ++index) {
      const QueryBlock& block = blocks[task.first_block + index];
      const BlockRows block_rows = resolve(work, block, tile);
      const Range rows = block_rows.lanes.hull;
      few_blocks += few_rows(block_rows, tile, most_few_rows()) > 0;
      hull = {std::min(hull.begin, rows.begin), std::max(hull.end, rows.end)};
      work.bands->keys_touched(rows, {keys.front().positions.begin, keys.back().positions.end}, touched);
      for (const Range range : touched) work_of_task += static_cast<double>(range.size()) * block.strips * kStrip;
    }
    most_few = std::max(most_few, few_blocks);
    if (!keys.empty()) work.bands->keys_touched(hull, {keys.front().positions.begin, keys.back().positions.end}, touched);
    if (units.empty()) work_before.push_back(work_before.back() + work_of_task);
  }
  const std::int64_t rounded = round_up(longest, kStrip), dims = cell_dims(work.shape);
  const std::int64_t sums = few_sums_floats(work.shape.value_dim), total = few_total_floats(work.shape.value_dim);
  for (const UnitTask& unit : units) {
    const double strips = blocks[unit.block].strips;
    const KeyCell& cell = work.heads[blocks[unit.block].head].keys[unit.key_cell];
    work_before.push_back(work_before.back() + static_cast<double>(cell.positions.size()) * strips * kStrip);
  }
  if (!units.empty()) scratch->queue_->reserve(static_cast<int>(scratch->workers_.size()), sums, total);
  for (AttendScratch::Worker& worker : scratch->workers_) {
    worker.blocks.resize(std::max(worker.blocks.size(), most_blocks));
    worker.scores.reserve(rounded * strips_per_block * kStrip);
    if (!takes_words()) worker.queries.reserve(std::ssize(worker.blocks) * strips_per_block * dims * kStrip);
    worker.few.reserve(sums + static_cast<std::int64_t>(most_few) * total);
    if (expands) worker.key_values.reserve(rounded * (dims + round_up(work.shape.value_dim, kChannels)));
    worker.visible.resize(std::max(worker.visible.size(), static_cast<std::size_t>(rounded)));
    if (!gathered.empty()) worker.columns.resize(worker.visible.size());
    worker.touched.reserve(touched.capacity());
  }
}

/// Resolves the task's blocks. Returns the hull of their rows.
Range Attend::State::begin_task(const BlockTask& task, AttendScratch::Worker& worker) const {
  Range hull{kNoPosition, -kNoPosition};
  float* place = worker.queries.get();
  float* next_total = worker.few.get() + few_sums_floats(work.shape.value_dim);
  for (int index = 0; index < task.blocks; ++index) {
    const QueryBlock& block = blocks[task.first_block + index];
    auto& [rows, tile, queries, forms, total, terms] = worker.blocks[index];
    rows = resolve(work, block, tile);
    if (adds_terms()) terms.take_rows(work.score, rows.lanes);
    tile.words = static_cast<int>(takes_words() ? cell_dims(work.shape) / pair_of(work.shape.type) : cell_dims(work.shape));
    tile.value_dim = static_cast<int>(round_up(work.shape.value_dim, kChannels));
    tile.factor = factor, tile.cap = cap;
    tile.scores = worker.scores.get();
    tile.few_rows = few_rows(rows, tile, most_few_rows());
    if (tile.few_rows > 0) {
      tile.sums = worker.few.get(), total = next_total, next_total += few_total_floats(work.shape.value_dim);
    }
    queries = place;
    forms.fill(-1);
    place += block.strips * cell_dims(work.shape) * kStrip;
    hull = {std::min(hull.begin, rows.lanes.hull.begin), std::max(hull.end, rows.lanes.hull.end)};
  }
  return hull;
}

/// The task's blocks against every key cell that they may see, in ascending order: the order in which their rows accumulate.
void Attend::State::run_task(const BlockTask& task, AttendScratch::Worker& worker, bool polls, FunctionRef<void()> poll) const {
  const std::vector<KeyCell>& keys = work.heads[blocks[task.first_block].head].keys;
  if (keys.empty()) return;
  const Range hull = begin_task(task, worker);
  work.bands->keys_touched(hull, {keys.front().positions.begin, keys.back().positions.end}, worker.touched);
  each_few(task, worker, [&](float* partial, int rows, int value_dim, float* total) { take_few(partial, rows, value_dim, total); });
  auto cell = keys.begin();
  for (const Range touched : worker.touched) {
    cell = std::lower_bound(cell, keys.end(), touched.begin,
                            [](const KeyCell& key, std::int64_t position) { return key.positions.end <= position; });
    for (; cell != keys.end() && cell->positions.begin < touched.end; ++cell) {
      worker.expanded = {0, 0};
      const std::span<const Gathered> columns = columns_in(blocks[task.first_block].head, cell - keys.begin());
      for (int index = 0; index < task.blocks; ++index) {
        ActiveBlock& block = worker.blocks[index];
        block.tile.next_key = cell + 1 == keys.end() ? nullptr : key_words(cell[1]);
        if (!run_tile(block, *cell, columns, worker)) continue;
        if (block.tile.few_rows > 0) kernels.fold_few(block.tile.few_rows, block.tile.value_dim, block.tile.sums, block.total);
        if (polls) poll();
      }
    }
  }
  each_few(task, worker, [&](float* partial, int rows, int value_dim, float* total) { give_few(total, rows, value_dim, partial); });
}

/// Instead of tasks, where there are fewer of them than threads want and their blocks have few rows: each block against one unit.
void Attend::State::split_into_units(int threads) {
  if (threads == 1 || !gathered.empty() || std::ssize(blocks) >= std::int64_t{threads} * kTasksPerThread) return;
  if (std::any_of(blocks.begin(), blocks.end(), [](const QueryBlock& block) { return block.strips > 1; })) return;
  Tile tile;
  std::vector<Range> touched;
  for (std::int32_t block = 0; block < std::ssize(blocks); ++block) {
    const std::vector<KeyCell>& keys = work.heads[blocks[block].head].keys;
    if (keys.empty()) continue;
    const Range rows = resolve(work, blocks[block], tile).lanes.hull;
    work.bands->keys_touched(rows, {keys.front().positions.begin, keys.back().positions.end}, touched);
    auto range = touched.begin();
    for (std::int32_t cell = 0; cell < std::ssize(keys); ++cell) {
      while (range != touched.end() && range->end <= keys[cell].positions.begin) ++range;
      if (range != touched.end() && range->begin < keys[cell].positions.end) units.push_back({.block = block, .key_cell = cell});
    }
  }
}

void Attend::State::run_units(Team& team, FunctionRef<void()> poll) {
  for (AttendScratch::Worker& worker : scratch->workers_) worker.block = -1;
  scratch->queue_->begin();
  team.run(
      static_cast<int>(units.size()),
      [&](int unit, int worker) {
        try {
          run_unit(unit, scratch->workers_[worker], worker == 0, poll);
        } catch (...) {
          scratch->queue_->abandon();
          throw;
        }
        tasks_done.fetch_add(1, std::memory_order_relaxed);
      },
      poll);
}

/// One block against one unit; what comes next in this thread is probably as far on as there are threads.
void Attend::State::run_unit(int index, AttendScratch::Worker& worker, bool polls, FunctionRef<void()> poll) const {
  const UnitTask& unit = units[index];
  const auto threads = static_cast<std::ptrdiff_t>(scratch->workers_.size());
  if (worker.block != unit.block) begin_task({.first_block = unit.block, .blocks = 1}, worker), worker.block = unit.block;
  Tile& tile = worker.blocks.front().tile;
  UnitQueue& queue = *scratch->queue_;
  tile.sums = queue.place_for(index, [&] {
    if (polls) poll();
  });
  if (tile.sums == nullptr) return;
  const UnitTask& next = units[std::min(index + threads, std::ssize(units) - 1)];
  tile.next_key = key_words(work.heads[blocks[next.block].head].keys[next.key_cell]);
  worker.expanded = {0, 0};
  const bool seen = run_tile(worker.blocks.front(), work.heads[blocks[unit.block].head].keys[unit.key_cell], {}, worker);
  queue.finish(index, seen, [&](int finished, const float* sums, float* of) { fold_unit(finished, sums, of); });
  if (polls && seen) poll();
}

/// Takes the sums of a unit into its block's rows; null if it has none. Called in ascending order, by one thread at a time.
void Attend::State::fold_unit(int index, const float* sums, float* total) const {
  const std::int32_t at = units[index].block;
  Tile tile;
  const BlockRows block = resolve(work, blocks[at], tile);
  const int rows = few_rows(block, tile, kMostFewRows), value_dim = static_cast<int>(round_up(work.shape.value_dim, kChannels));
  if (index == 0 || units[index - 1].block != at) take_few(tile.strips[0].partial, rows, value_dim, total);
  if (sums != nullptr) kernels.fold_few(rows, value_dim, sums, total);
  if (index + 1 == std::ssize(units) || units[index + 1].block != at) give_few(total, rows, value_dim, tile.strips[0].partial);
}

/// Calls move(partial, rows, value dim, total) for those of the task's blocks that have few rows.
template <class Move>
void Attend::State::each_few(const BlockTask& task, AttendScratch::Worker& worker, Move&& move) const {
  for (int index = 0; index < task.blocks; ++index) {
    const ActiveBlock& block = worker.blocks[index];
    if (block.tile.few_rows > 0) move(block.tile.strips[0].partial, block.tile.few_rows, block.tile.value_dim, block.total);
  }
}

/// A cell's keys as kernels take them, if they lie there as they are.
const float* Attend::State::key_words(const KeyCell& cell) const {
  return expands ? nullptr : reinterpret_cast<const float*>(cell.cell);
}

/// A block's queries in the form that the keys see: in fp32 and times the factor, or where they lie. Keys come in ascending order,
/// so that forms change twice at most.
void Attend::State::take_queries(const KeyCell& cell, ActiveBlock& block) const {
  const std::int64_t elements = cell_dims(work.shape) * kStrip;
  for (int s = 0; s < block.tile.strip_count; ++s) {
    const int form = form_of(block.rows.positions[s], cell.positions.begin, work.chunk_tokens);
    if (std::exchange(block.forms[s], form) == form) continue;
    const std::byte* const strip = block.rows.strips[s] + form * block.rows.form_bytes[s];
    float* const place = block.queries + s * elements;
    if (!takes_words()) kernels.expand(work.shape.type, kStrip, strip, elements, factor, place);
    block.tile.strips[s].query = takes_words() ? reinterpret_cast<const float*>(strip) : place;
  }
}

/// The unit's keys and values: where they lie or, expanded to fp32, in the strips of keys that some row of the task has seen.
void Attend::State::take_keys(const KeyCell& cell, Range strips, AttendScratch::Worker& worker, Tile& tile) const {
  const CellShape& shape = work.shape;
  const std::int64_t tokens = cell.positions.size(), rounded = round_up(tokens, kStrip), dims = cell_dims(shape);
  const std::byte* const value = cell.cell + value_offset_elements(shape, tokens) * type_bytes(shape.type);
  if (!expands) {
    tile.key = reinterpret_cast<const float*>(cell.cell);
    tile.value = reinterpret_cast<const float*>(value);
    return;
  }
  float* const keys = worker.key_values.get();
  float* const values = keys + rounded * dims;
  const auto expand = [&](int width, const std::byte* from, std::int64_t first, std::int64_t count, float* to) {
    kernels.expand(shape.type, width, from + first * type_bytes(shape.type), count, 1.0F, to + first);
  };
  const auto expand_strips = [&](std::int64_t begin, std::int64_t end) {
    if (begin >= end) return;
    expand(kStrip, cell.cell, begin * kStrip * dims, (end - begin) * kStrip * dims, keys);
    for (int channel = 0; channel < tile.value_dim; channel += kChannels) {
      expand(kChannels, value, channel * rounded + begin * kStrip * kChannels, (end - begin) * kStrip * kChannels, values);
    }
  };
  Range& done = worker.expanded;
  if (strips.empty()) strips = done;
  if (done.empty()) done = {strips.begin, strips.begin};
  expand_strips(strips.begin, done.begin);
  expand_strips(done.end, strips.end);
  done = {std::min(done.begin, strips.begin), std::max(done.end, strips.end)};
  tile.key = keys, tile.value = values;
}

/// Whether they are for some of a block's rows.
bool are_for(const Gathered& columns, const Lanes& lanes) {
  return !(columns.query_heads & lanes.head_hull).empty() && !(columns.queries & lanes.hull).empty();
}

/// Of a cell's gathered keys, from the first to the last that are for some of a block's rows.
std::span<const Gathered> for_rows(std::span<const Gathered> columns, const Lanes& lanes) {
  while (!columns.empty() && !are_for(columns.front(), lanes)) columns = columns.subspan(1);
  while (!columns.empty() && !are_for(columns.back(), lanes)) columns = columns.first(columns.size() - 1);
  return columns;
}

/// False if the block sees nothing of the cell. Its gathered keys come first, as parts of their own.
bool Attend::State::run_tile(ActiveBlock& block, const KeyCell& cell, std::span<const Gathered> columns,
                             AttendScratch::Worker& worker) const {
  Tile& tile = block.tile;
  columns = for_rows(columns, block.rows.lanes);
  const Sight sight = columns.empty() ? sight_of(*work.bands, block.rows.lanes, cell.positions, work.shape.residues, worker.visible)
                                      : run_columns(block, cell, columns, worker);
  if (sight.cover == Cover::empty || (columns.empty() && sight.strips.empty())) return false;
  if (sight.strips.empty()) return true;
  take_queries(cell, block);
  if (adds_terms()) {
    block.terms.take_unit(work.score, block.rows.lanes, cell.positions.begin);
    block.terms.show(work.score, cell.positions.begin, tile);
  }
  take_keys(cell, sight.strips, worker, tile);
  tile.keys = tile.unit_keys = static_cast<int>(cell.positions.size());
  run_seen(block, sight);
  return true;
}

/// The gathered keys of a unit. Returns what the block sees of the rest. Mostly its rows share them, all of them see all, and of
/// the rest little. Where a block has rows of several tables' rows, or of two heads, each sees its own part: in the others it sees
/// no key, which changes nothing of it.
Sight Attend::State::run_columns(ActiveBlock& block, const KeyCell& cell, std::span<const Gathered> columns,
                                 AttendScratch::Worker& worker) const {
  const Lanes& lanes = block.rows.lanes;
  const bool shared =
      columns.size() == 1 && columns.front().queries.contains(lanes.hull) && columns.front().query_heads.contains(lanes.head_hull);
  const bool all_see = shared && split && split->columns.cover(lanes.hull, cell.positions) == Cover::full;
  Sight rest = sight_of(all_see ? split->others : *work.bands, lanes, cell.positions, work.shape.residues, worker.visible);
  if (rest.cover == Cover::empty && !all_see) return rest;
  take_queries(cell, block);
  for (const Gathered& some : columns) {
    if (!are_for(some, lanes)) continue;
    const auto count = std::ssize(some.places), rounded = round_up(count, kStrip);
    const std::uint64_t rows = lanes.within(some.queries, some.query_heads);
    std::fill_n(worker.columns.begin(), count, rows);
    std::fill(worker.columns.begin() + count, worker.columns.begin() + rounded, std::uint64_t{0});
    const std::span<std::uint64_t> taken = all_see ? std::span<std::uint64_t>{} : std::span(worker.columns);
    if (rest.cover != Cover::empty)
      rest = take_out(rest, lanes.count, rows, cell.positions.size(), some.places, worker.visible, taken);
    run_gathered(block, some, worker);
  }
  rest.cover = Cover::partial;
  return rest;
}

/// Of which worker.columns says who sees them.
void Attend::State::run_gathered(ActiveBlock& block, const Gathered& columns, AttendScratch::Worker& worker) const {
  Tile& tile = block.tile;
  const std::int64_t count = std::ssize(columns.places);
  tile.key = scratch->gathered_.get() + columns.begin;
  tile.value = tile.key + column_layout(work.shape, count, takes_words()).key_words;
  tile.keys = tile.unit_keys = static_cast<int>(count);
  tile.visible = worker.columns.data();
  attend(tile);
}

/// The part of the tile from the first key that is seen to the last: whatever looks for keys looks there. Terms count keys from the
/// unit's first one, and few rows fetch whole units ahead.
void Attend::State::run_seen(ActiveBlock& block, const Sight& sight) const {
  Tile& tile = block.tile;
  tile.visible = sight.visible;
  if (tile.few_rows > 0) return attend_few(tile);
  if (sight.visible != nullptr && !adds_terms()) {
    const std::int64_t first = sight.strips.begin * kStrip / kWindowKeys * kWindowKeys;
    const int in_word = takes_words() ? pair_of(work.shape.type) : 1;
    tile.keys = static_cast<int>(std::min<std::int64_t>(sight.strips.end * kStrip, tile.unit_keys) - first);
    tile.key += first * tile.words, tile.value += first / in_word * kChannels, tile.visible += first;
  }
  attend(tile);
}

/// Terms count keys from the unit's first one, and places are not tokens in residue order: with them nothing is gathered. Where
/// rows lie by head, each query head has its own keys if the mask shows each others.
void Attend::State::find_columns() {
  if (adds_terms() || work.shape.residues.stride > 1) return;
  const int group = work.shape.group;
  const int together = work.shape.rows == RowOrder::by_head && work.bands->column_heads(kColumns) > 1 ? 1 : group;
  std::int64_t words = 0;
  for (std::int32_t head = 0; head < std::ssize(work.heads); ++head) {
    Range done{-kUnbounded, -kUnbounded};
    for (const QueryCell& cell : work.heads[head].queries) {
      while (done.end < cell.positions.end) {
        done = work.bands->same_columns(std::max(done.end, cell.positions.begin), kColumns);
        for (std::int64_t first = std::int64_t{head} * group; first < std::int64_t{head + 1} * group; first += together) {
          find_columns(head, {first, first + together}, done, words);
        }
      }
    }
  }
  std::ranges::sort(gathered, {},
                    [](const Gathered& of) { return std::tuple(of.head, of.cell, of.query_heads.begin, of.queries.begin); });
  scratch->gathered_.reserve(words);
  if (!gathered.empty()) split = work.bands->split_columns(kColumns, together);
}

/// For queries that are shown the same columns.
void Attend::State::find_columns(std::int32_t head, Range query_heads, Range queries, std::int64_t& words) {
  const std::vector<KeyCell>& keys = work.heads[head].keys;
  for (std::int32_t cell = 0; cell < std::ssize(keys); ++cell) {
    Gathered columns{.head = head,
                     .cell = cell,
                     .query_heads = query_heads,
                     .queries = queries,
                     .begin = words,
                     .places = columns_of(*work.bands, queries.begin, query_heads, keys[cell].positions)};
    if (columns.places.empty() || work.bands->cover(queries, keys[cell].positions, query_heads) == Cover::empty) continue;
    words += round_up(column_layout(work.shape, std::ssize(columns.places), takes_words()).words, kStrip);
    gathered.push_back(std::move(columns));
  }
}

/// Ascending in query heads, then in queries.
std::span<const Gathered> Attend::State::columns_in(int head, std::ptrdiff_t cell) const {
  const auto found = std::ranges::equal_range(gathered, std::pair(head, cell), {},
                                              [](const Gathered& of) { return std::pair<int, std::ptrdiff_t>(of.head, of.cell); });
  return {found.begin(), found.end()};
}

void Attend::State::gather(const Gathered& columns) const {
  const KeyCell& cell = work.heads[columns.head].keys[columns.cell];
  gather_columns(work.shape, cell.cell, cell.positions.size(), columns.places, takes_words(),
                 scratch->gathered_.get() + columns.begin);
}

Attend::Attend(AttendWork work, const KernelTable& kernels, int threads, int strips_per_block,
               std::shared_ptr<AttendScratch> scratch) {
  const bool own = strips_per_block == 0;
  if (own) strips_per_block = kernels.strips_per_block;
  require(strips_per_block >= 1 && strips_per_block <= Tile::kMostStrips,
          std::to_string(strips_per_block) + " strips per block: give 1 to " + std::to_string(Tile::kMostStrips) +
              ", or 0 for the kernel's own");
  require(work.bands != nullptr, "attend without bands: give the mask's bands");
  require(work.shape.head_dim >= 1 && work.shape.value_dim >= 1 && work.shape.group >= 1,
          "head dim " + std::to_string(work.shape.head_dim) + ", value dim " + std::to_string(work.shape.value_dim) + ", group " +
              std::to_string(work.shape.group) + ": each must be at least 1");
  require_rule(work.score, std::ssize(work.heads) * work.shape.group);
  require_order(work.score, work.shape.residues);
  if (scratch == nullptr) scratch = std::make_shared<AttendScratch>(threads);
  require(static_cast<int>(scratch->workers_.size()) == threads, "scratch memory for " + std::to_string(scratch->workers_.size()) +
                                                                     " threads cannot serve " + std::to_string(threads) +
                                                                     ": make it for as many");
  state_.reset(new State{.work = std::move(work),
                         .kernels = kernels,
                         .scratch = std::move(scratch),
                         .blocks = {},
                         .tasks = {},
                         .units = {},
                         .gathered = {},
                         .split = {},
                         .work_before = {}});
  const std::int64_t table_row = strips_of_table_row(state_->work);
  if (own && table_row == Tile::kMostStrips) strips_per_block = Tile::kMostStrips;
  const bool pairs = state_->work.shape.type == Type::bf16 && kernels.attend_pairs != nullptr;
  state_->attend = pairs ? kernels.attend_pairs : kernels.attend;
  state_->attend_few = pairs ? kernels.attend_few_pairs : kernels.attend_few;
  state_->expands = state_->work.shape.type != Type::f32 && !pairs;
  const ScoreRule& score = state_->work.score;
  const double log2_scale = score.scale * std::numbers::log2e;
  state_->factor = static_cast<float>(score.softcap ? 2 * log2_scale / *score.softcap : log2_scale);
  state_->cap = static_cast<float>(score.softcap ? *score.softcap * std::numbers::log2e : 0);
  for (int head = 0; head < std::ssize(state_->work.heads); ++head) {
    clean(state_->work.heads[head]);
    append_blocks(state_->work, head, strips_per_block, table_row, state_->blocks);
  }
  state_->find_columns();
  state_->tasks = tasks_of(state_->blocks, strips_per_block, threads);
  state_->split_into_units(threads);
  state_->reserve(strips_per_block);
}

Attend::Attend(Attend&&) noexcept = default;
Attend::~Attend() = default;

void Attend::run(Team& team, FunctionRef<void()> poll) {
  const auto workers = static_cast<int>(state_->scratch->workers_.size());
  if (team.size() != workers) {  // not require(): its message would be made, and allocated, on every run
    throw std::invalid_argument("a team of " + std::to_string(team.size()) + " threads, but scratch memory for " +
                                std::to_string(workers) + ": build the attend for as many threads as run it");
  }
  state_->tasks_done.store(0, std::memory_order_relaxed);
  if (!state_->units.empty()) return state_->run_units(team, poll);
  if (!state_->gathered.empty()) {
    team.run(
        static_cast<int>(state_->gathered.size()), [&](int at, int) { state_->gather(state_->gathered[at]); }, poll);
  }
  team.run(
      static_cast<int>(state_->tasks.size()),
      [&](int task, int worker) {
        state_->run_task(state_->tasks[task], state_->scratch->workers_[worker], worker == 0, poll);
        state_->tasks_done.fetch_add(1, std::memory_order_relaxed);
      },
      poll);
}

double Attend::work() const {
  return state_->work_before.back();
}

double Attend::work_done() const {  // tasks are taken in ascending order
  return state_->work_before[state_->tasks_done.load(std::memory_order_relaxed)];
}

std::size_t Attend::scratch_bytes() const {
  return state_->scratch->bytes();
}

}  // namespace gyre
