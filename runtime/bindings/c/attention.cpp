#include "runtime/attention.hpp"

#include <utility>

#include "comm/agreement.hpp"
#include "runtime/bindings/c/errors.hpp"
#include "runtime/bindings/c/handles.hpp"
#include "runtime/bindings/c/structs.hpp"
#include "runtime/bindings/names.hpp"

namespace gyre {
namespace {

// Of version 1 of gyre.h.
constexpr std::size_t kFirstProblem = 80, kFirstOptions = 120, kFirstDescription = 56;
static_assert(sizeof(gyre_problem) >= kFirstProblem && sizeof(gyre_options) >= kFirstOptions &&
              sizeof(gyre_description) >= kFirstDescription);

const gyre_problem kDefaultProblem{.size = 0,
                                   .query_tokens = 0,
                                   .key_tokens = 0,
                                   .query_heads = 1,
                                   .key_heads = 1,
                                   .head_dim = 64,
                                   .value_dim = 64,
                                   .query_offset = GYRE_ENDS_MEET,
                                   .scale = 0,
                                   .softcap = 0,
                                   .mask = "full",
                                   .dtype = GYRE_F32,
                                   .reserved = 0,
                                   .alibi = 0,
                                   .sinks = 0,
                                   .dropout = 0,
                                   .dropout_seed = 0,
                                   .rope_base = 0,
                                   .rope_layout = GYRE_ROPE_HALF,
                                   .rope_dims = 0,
                                   .rope_scaling = GYRE_ROPE_UNSCALED,
                                   .reserved2 = 0,
                                   .rope_scale = 0,
                                   .rope_original = 0,
                                   .dual_chunk = 0,
                                   .dual_chunk_local = 0,
                                   .dual_chunk_original = 0,
                                   .chosen = nullptr};

gyre_options default_options() {
  gyre_options options{};
  options.strategy = options.partition = options.sharing = "auto";
  options.backward = "none";
  options.isa = options.machine = "";
  options.threads = options.prefetch = 1;
  options.deadline_seconds = Options{}.deadline_seconds;
  return options;
}

static_assert(GYRE_ROPE_INTERLEAVED == static_cast<int>(RotaryLayout::interleaved) &&
              GYRE_ROPE_YARN == static_cast<int>(RotaryScaling::yarn) && GYRE_ROPE_NTK == static_cast<int>(RotaryScaling::ntk));

void require_flag(int value, int most, const char* name) {
  if (value < 0 || value > most)
    throw std::invalid_argument(std::string(name) + " is " + std::to_string(value) + "; give a number from 0 to " +
                                std::to_string(most));
}

void name(std::string& target, const char* given) {
  if (given != nullptr) target = given;
}

std::vector<Chunk> chunks_of(const gyre_chunk* first, std::size_t count, const char* name) {
  if (first == nullptr && count > 0)
    throw std::invalid_argument(std::string(name) + " is null and has " + std::to_string(count) + " chunks; give them, or none");
  std::vector<Chunk> chunks;
  for (std::size_t index = 0; index < count; ++index) chunks.push_back({{first[index].begin, first[index].end}, first[index].rank});
  return chunks;
}

void read_score(const gyre_problem& given, Problem& problem) {
  if (given.scale != 0) problem.scale = given.scale;
  if (given.softcap != 0) problem.softcap = given.softcap;
  require_flag(given.alibi, 1, "gyre_problem.alibi");
  problem.bias = given.alibi != 0 ? PositionBias::alibi : PositionBias::none;
  require_flag(given.sinks, 1, "gyre_problem.sinks");
  problem.sinks = given.sinks != 0 ? SinkLogits::learned : SinkLogits::none;
  if (given.dropout == 0 && given.dropout_seed != 0)
    throw std::invalid_argument("gyre_problem.dropout_seed is " + std::to_string(given.dropout_seed) +
                                " and gyre_problem.dropout is 0; give a probability, or no seed");
  if (given.dropout != 0) problem.dropout = Dropout{.probability = given.dropout, .seed = given.dropout_seed};
}

/// What is left zero is not there; what is there and belongs to nothing is refused.
void read_positions(const gyre_problem& given, Problem& problem) {
  require_flag(given.rope_layout, GYRE_ROPE_INTERLEAVED, "gyre_problem.rope_layout");
  require_flag(given.rope_scaling, GYRE_ROPE_YARN, "gyre_problem.rope_scaling");
  require_flag(given.reserved2, 0, "gyre_problem.reserved2");
  const bool wanted = given.rope_layout != 0 || given.rope_dims != 0 || given.rope_scaling != 0;
  if (given.rope_base == 0 && wanted)
    throw std::invalid_argument(
        "gyre_problem.rope_base is 0 and other fields of rotary positions are not; give a base, or zeros for none");
  if (given.rope_scaling == GYRE_ROPE_UNSCALED && given.rope_scale != 0)
    throw std::invalid_argument(
        "gyre_problem.rope_scale is given and gyre_problem.rope_scaling says that nothing is scaled; give both");
  if (given.rope_scaling != GYRE_ROPE_YARN && given.rope_original != 0)
    throw std::invalid_argument("gyre_problem.rope_original is " + std::to_string(given.rope_original) +
                                ", which is of YaRN alone; set gyre_problem.rope_scaling to GYRE_ROPE_YARN, or give 0");
  if (given.rope_base == 0) return;
  Rotary rotary{.base = given.rope_base,
                .layout = static_cast<RotaryLayout>(given.rope_layout),
                .dims = given.rope_dims,
                .scaling = static_cast<RotaryScaling>(given.rope_scaling),
                .original_tokens = given.rope_original};
  if (rotary.scaling != RotaryScaling::none) rotary.scale = given.rope_scale;
  problem.rotary = rotary;
}

void read_dual_chunk(const gyre_problem& given, Problem& problem) {
  if (given.dual_chunk == 0 && (given.dual_chunk_local != 0 || given.dual_chunk_original != 0))
    throw std::invalid_argument("gyre_problem.dual_chunk is 0 and what belongs to it is not; give a chunk, or zeros for none");
  if (given.dual_chunk == 0) return;
  problem.dual_chunk = DualChunk{.chunk = given.dual_chunk, .local = given.dual_chunk_local};
  if (given.dual_chunk_original != 0) problem.dual_chunk->original_tokens = given.dual_chunk_original;
}

void read(const gyre_problem& given, Problem& problem, NamedChoices& names) {
  problem.query_tokens = given.query_tokens, problem.key_tokens = given.key_tokens;
  problem.query_heads = given.query_heads, problem.key_heads = given.key_heads;
  problem.head_dim = given.head_dim, problem.value_dim = given.value_dim;
  if (given.query_offset != GYRE_ENDS_MEET) problem.query_offset = given.query_offset;
  read_score(given, problem);
  read_positions(given, problem);
  read_dual_chunk(given, problem);
  name(names.mask, given.mask);
  require_flag(static_cast<int>(given.dtype), GYRE_F16, "gyre_problem.dtype");
  names.dtype = to_string(static_cast<Type>(given.dtype));
  require_flag(given.reserved, 0, "gyre_problem.reserved");
}

void read(const gyre_options& given, Options& options, NamedChoices& names) {
  name(names.strategy, given.strategy);
  name(names.partition, given.partition);
  name(names.backward, given.backward);
  name(names.sharing, given.sharing);
  name(names.machine, given.machine);
  name(options.isa, given.isa);
  options.threads = given.threads, options.prefetch = given.prefetch;
  options.unit_tokens = given.unit_tokens, options.deadline_seconds = given.deadline_seconds;
  require_flag(given.integrity, 1, "gyre_options.integrity");
  options.integrity = given.integrity != 0 ? Integrity::checked : Integrity::unchecked;
  require_flag(given.reserved, 0, "gyre_options.reserved");
}

/// A layout of the caller's own, in place of a partition by name.
void read_chunks(const gyre_options& given, Options& options) {
  std::vector<Chunk> queries = chunks_of(given.query_chunks, given.query_chunk_count, "gyre_options.query_chunks");
  std::vector<Chunk> keys = chunks_of(given.key_chunks, given.key_chunk_count, "gyre_options.key_chunks");
  if (queries.empty() && keys.empty()) return;
  if (options.partition.kind != PartitionChoice::Kind::automatic)
    throw std::invalid_argument("partition is '" + options.partition.text() + "' and chunks are given; give one of them");
  if (queries.empty()) throw std::invalid_argument("chunks of keys are given and none of queries; give those too");
  options.partition = PartitionChoice::layout(std::move(queries), std::move(keys));
}

/// Pairs that heads chose of the mask, in its place.
void read_chosen(const gyre_problem& given, Problem& problem) {
  if (given.chosen == nullptr) return;
  if (given.chosen->from != problem.mask.text())
    throw std::invalid_argument("gyre_problem.chosen was chosen from the mask '" + given.chosen->from +
                                "', and gyre_problem.mask is '" + problem.mask.text() + "'; give the mask that it was chosen from");
  problem.mask = given.chosen->problem.mask;
}

std::vector<gyre_range> in_c(const std::vector<Range>& rows) {
  std::vector<gyre_range> ranges;
  ranges.reserve(rows.size());
  for (const Range& range : rows) ranges.push_back({range.begin, range.end});
  return ranges;
}

std::int64_t tokens_of(const std::vector<gyre_range>& rows) {
  std::int64_t tokens = 0;
  for (const gyre_range& range : rows) tokens += range.end - range.begin;
  return tokens;
}

gyre_attention* create(const std::shared_ptr<Ranks>& ranks, const gyre_problem* given_problem, const gyre_options* given_options) {
  Problem problem;
  Options options;
  together(ranks->transport(), [&] {
    const gyre_options defaults = default_options();
    NamedChoices names;
    const gyre_problem asked = known(given_problem, kFirstProblem, "gyre_problem");
    read(asked, problem, names);
    const gyre_options ours = given_options == nullptr ? defaults : known(given_options, kFirstOptions, "gyre_options");
    read(ours, options, names);
    apply(names, problem, options);
    read_chosen(asked, problem);
    read_chunks(ours, options);
  });
  options.threads = ranks->threads(options.threads);
  Attention attention(ranks->transport(), problem, options);
  auto queries = in_c(attention.query_rows()), keys = in_c(attention.key_rows());
  std::string strategy = to_string(attention.strategy()), why = attention.why();
  return new gyre_attention{ranks,          std::move(attention), std::move(queries), std::move(keys), std::move(strategy),
                            std::move(why), std::move(problem),   options.threads};
}

/// A null attention has none.
const gyre_range* ranges_of(const std::vector<gyre_range>* rows, std::size_t* count) {
  const std::size_t there = rows == nullptr ? 0 : rows->size();
  if (count != nullptr) *count = there;
  return there == 0 ? nullptr : rows->data();
}

}  // namespace
}  // namespace gyre

extern "C" {

gyre_status gyre_problem_init(gyre_problem* problem, size_t size) {
  return gyre::guarded([&] {
    gyre::require_given(problem, "gyre_problem");
    gyre::require_size(size, gyre::kFirstProblem, "gyre_problem");
    gyre::tell(gyre::kDefaultProblem, problem, size);
  });
}

gyre_status gyre_options_init(gyre_options* options, size_t size) {
  return gyre::guarded([&] {
    gyre::require_given(options, "gyre_options");
    gyre::require_size(size, gyre::kFirstOptions, "gyre_options");
    gyre::tell(gyre::default_options(), options, size);
  });
}

gyre_status gyre_attention_create(gyre_communicator* ranks, const gyre_problem* problem, const gyre_options* options,
                                  gyre_attention** result) {
  return gyre::guarded([&] {
    gyre::require_given(ranks, "gyre_communicator");
    gyre::require_given(result, "result");
    *result = nullptr;
    *result = gyre::create(ranks->ranks, problem, options);
  });
}

void gyre_attention_free(gyre_attention* attention) {
  (void)gyre::guarded([&] { delete attention; });
}

const gyre_range* gyre_attention_query_rows(const gyre_attention* attention, size_t* count) {
  return gyre::ranges_of(attention == nullptr ? nullptr : &attention->query_rows, count);
}

const gyre_range* gyre_attention_key_rows(const gyre_attention* attention, size_t* count) {
  return gyre::ranges_of(attention == nullptr ? nullptr : &attention->key_rows, count);
}

gyre_status gyre_attention_describe(const gyre_attention* attention, gyre_description* description) {
  return gyre::guarded([&] {
    gyre::require_given(attention, "gyre_attention");
    gyre::require_given(description, "gyre_description");
    const gyre_description ours{.size = 0,
                                .query_tokens = gyre::tokens_of(attention->query_rows),
                                .key_tokens = gyre::tokens_of(attention->key_rows),
                                .strategy = attention->strategy.c_str(),
                                .why = attention->why.c_str(),
                                .isa = attention->attention.isa(),
                                .arena_bytes = attention->attention.arena_bytes()};
    gyre::tell(ours, description, gyre::kFirstDescription, "gyre_description");
  });
}
}
