#include "support/problems.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "comm/loopback_transport.hpp"
#include "kernels/convert.hpp"
#include "kernels/reference_rotary.hpp"
#include "support/drawn_blocks.hpp"

namespace gyre::test {

std::int64_t draw(Random& random, std::int64_t least, std::int64_t most) {
  return least + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(most - least + 1));
}

namespace {

std::string random_documents(Random& random, std::int64_t tokens) {
  std::string text;
  while (tokens > 0) {
    const std::int64_t length = std::min(tokens, draw(random, 1, 1 + draw(random, 1, 90)));
    text += (text.empty() ? "documents(" : ",") + std::to_string(length);
    tokens -= length;
  }
  return text + ")";
}

std::string random_table(Random& random, const Problem& problem) {
  const auto block = [&] { return draw(random, 0, 1) == 0 ? draw(random, 1, 70) : 16; };
  const auto blocks = [](std::int64_t tokens, std::int64_t in_block) { return (tokens + in_block - 1) / in_block; };
  const auto seed = static_cast<std::uint64_t>(draw(random, 0, 1'000'000));
  const int heads = draw(random, 0, 1) == 0 ? 1 : problem.query_heads;
  const std::int64_t queries = block(), keys = draw(random, 0, 1) == 0 ? queries : block();
  switch (draw(random, 0, 5)) {
    case 0:
      return "columns(" + DrawnBlocks{seed, heads, 1, problem.key_tokens}.name() + ")";
    case 1:
      return "diagonals(" + DrawnBlocks{seed, heads, 1, blocks(problem.key_tokens, keys)}.name() + "," + std::to_string(keys) + ")";
    case 2:
      return "slices(" + DrawnSlices{seed, draw(random, 1, 5), problem.query_tokens, problem.key_tokens}.name() + ")";
    default:
      const DrawnBlocks drawn{seed, heads, blocks(problem.query_tokens, queries), blocks(problem.key_tokens, keys)};
      return "blocks(" + drawn.name() + "," + std::to_string(queries) + "," + std::to_string(keys) + ")";
  }
}

std::string random_primitive(Random& random, const Problem& problem) {
  const std::int64_t key_tokens = problem.key_tokens;
  const auto number = [&](std::int64_t least, std::int64_t most) { return std::to_string(draw(random, least, most)); };
  switch (draw(random, 0, 11)) {
    case 0:
      return "full";
    case 1:
      return "window(" + number(0, 60) + ")";
    case 2:
      return "window(" + number(0, 60) + "," + number(0, 40) + ")";
    case 3:
      return "sinks(" + number(0, 20) + ")";
    case 4:
      return "prefix(" + number(0, 80) + ")";
    case 5:
      return "dilated(" + number(1, 30) + "," + number(1, 9) + ")";
    case 6:
      return "strided(" + number(1, 17) + ")";
    case 8:
    case 9:
      return random_table(random, problem);
    case 7:
      return key_tokens > 0 ? random_documents(random, key_tokens) : "causal";
    default:
      return "causal";
  }
}

}  // namespace

std::string random_mask(Random& random, const Problem& problem) {
  std::string text = random_primitive(random, problem);
  for (std::int64_t more = draw(random, 0, 2); more > 0; --more) {
    text = "(" + text + ")" + (draw(random, 0, 1) ? " & " : " | ") + random_primitive(random, problem);
  }
  return text;
}

namespace {

/// Chunks of any lengths on any ranks, in any order.
std::vector<Chunk> random_chunks(Random& random, std::int64_t tokens, int ranks) {
  std::vector<Chunk> chunks;
  for (std::int64_t begin = 0; begin < tokens; begin = chunks.back().tokens.end) {
    const std::int64_t end = std::min(tokens, begin + draw(random, 1, 1 + draw(random, 1, 120)));
    chunks.push_back({{begin, end}, static_cast<std::int32_t>(draw(random, 0, ranks - 1))});
  }
  std::shuffle(chunks.begin(), chunks.end(), random);
  return chunks;
}

PartitionChoice random_partition(Random& random, const Problem& problem, int ranks) {
  const char* kPartitions[] = {"contiguous", "zigzag", "zigzag_documents", "striped", "striped(7)", "balanced", "auto"};
  const std::int64_t kind = draw(random, 0, ranks == 0 ? 6 : 8);
  if (kind < 7) return PartitionChoice::parse(kPartitions[kind]);
  return PartitionChoice::layout(random_chunks(random, problem.query_tokens, ranks),
                                 draw(random, 0, 1) ? random_chunks(random, problem.key_tokens, ranks) : std::vector<Chunk>{});
}

}  // namespace

Rotary random_rotary(Random& random, int head_dim) {
  Rotary rotary;
  rotary.base = std::array{2.0, 100.0, 10000.0, 500000.0}[draw(random, 0, 3)];
  if (draw(random, 0, 1) == 0) rotary.layout = RotaryLayout::interleaved;
  if (head_dim % 2 == 1 || draw(random, 0, 1) == 0) rotary.dims = 2 * static_cast<int>(draw(random, 1, head_dim / 2));
  rotary.scaling =
      std::array{RotaryScaling::none, RotaryScaling::linear, RotaryScaling::ntk, RotaryScaling::yarn}[draw(random, 0, 3)];
  if (rotary.scaling == RotaryScaling::ntk && rotary.turned_dims(head_dim) < 4) rotary.scaling = RotaryScaling::none;
  if (rotary.scaling != RotaryScaling::none) rotary.scale = std::array{1.0, 1.5, 8.0}[draw(random, 0, 2)];
  if (rotary.scaling == RotaryScaling::yarn) rotary.original_tokens = draw(random, 1, 200);
  return rotary;
}

DualChunk random_dual_chunk(Random& random) {
  DualChunk dual_chunk{.chunk = draw(random, 1, 120)};
  dual_chunk.local = draw(random, 0, dual_chunk.chunk - 1);
  if (draw(random, 0, 2) == 0) dual_chunk.original_tokens = draw(random, 1, 200);
  return dual_chunk;
}

StrategyChoice random_strategy(Random& random, int ranks) {
  constexpr Strategy kAny[] = {
      Strategy::ring,   Strategy::bidirectional_ring, Strategy::all_gather, Strategy::pass_query, Strategy::ulysses, Strategy::tree,
      Strategy::hybrid, Strategy::double_ring};
  const Strategy kind = kAny[draw(random, 0, ranks > 0 ? 7 : 5)];
  if (kind != Strategy::hybrid && kind != Strategy::double_ring) return kind;
  int group = 0;
  while (group == 0 || ranks % group != 0) group = static_cast<int>(draw(random, 1, ranks));
  return {kind, group};
}

Job random_job(Random& random, int ranks) {
  Job job;
  Problem& problem = job.problem;
  const std::int64_t longest = draw(random, 0, 3) == 0 ? 12 : 320;
  problem.key_tokens = draw(random, 0, 20) == 0 ? 0 : draw(random, 1, longest);
  problem.query_tokens = draw(random, 0, 1) ? problem.key_tokens : draw(random, 0, longest);
  if (draw(random, 0, 2) == 0) problem.query_offset = draw(random, -40, 60);
  problem.key_heads = static_cast<int>(draw(random, 1, 3));
  problem.query_heads = problem.key_heads * static_cast<int>(draw(random, 1, 4));
  constexpr int kDims[] = {1, 3, 8, 16, 20, 33, 64};
  problem.head_dim = kDims[draw(random, 0, 6)];
  problem.value_dim = draw(random, 0, 1) ? problem.head_dim : kDims[draw(random, 0, 6)];
  problem.type = std::array{Type::f32, Type::bf16, Type::f16}[draw(random, 0, 2)];
  if (draw(random, 0, 2) == 0) problem.softcap = std::array{0.5, 7.0, 50.0}[draw(random, 0, 2)];
  Random extras = random;
  if (draw(extras, 0, 3) == 0) problem.bias = PositionBias::alibi;
  if (draw(extras, 0, 3) == 0) problem.sinks = SinkLogits::learned;
  if (draw(extras, 0, 3) == 0) problem.dropout = {.probability = 0.3, .seed = extras()};
  if (draw(extras, 0, 2) == 0 && problem.head_dim > 1) problem.rotary = random_rotary(extras, problem.head_dim);
  if (problem.rotary && draw(extras, 0, 1) == 0) problem.dual_chunk = random_dual_chunk(extras);
  const std::string mask = random_mask(random, problem);
  problem.mask = Mask::parse(mask, drawn_files());
  job.options.partition = random_partition(random, problem, ranks);
  job.options.unit_tokens = draw(random, 0, 3) == 0 ? 0 : draw(random, 1, 40);
  job.options.threads = static_cast<int>(draw(random, 1, 2));
  job.options.strategy = random_strategy(random, ranks);
  job.options.prefetch = static_cast<int>(draw(random, 1, 4));
  if (draw(random, 0, 1) == 0) job.options.piece_bytes = draw(random, 1, 20'000);
  job.options.integrity = draw(random, 0, 3) == 0 ? Integrity::checked : Integrity::unchecked;
  job.text = std::to_string(problem.query_tokens) + " queries, " + std::to_string(problem.key_tokens) + " keys, heads " +
             std::to_string(problem.query_heads) + "/" + std::to_string(problem.key_heads) + ", dims " +
             std::to_string(problem.head_dim) + "/" + std::to_string(problem.value_dim) + ", " + to_string(problem.type) +
             (problem.softcap ? ", softcap " + std::to_string(*problem.softcap) : "") +
             (problem.bias == PositionBias::alibi ? ", alibi" : "") + (problem.sinks == SinkLogits::learned ? ", sinks" : "") +
             (problem.dropout ? ", dropout" : "") + (problem.rotary ? ", rotary " + to_string(*problem.rotary) : "") +
             (problem.dual_chunk ? ", dual chunk " + to_string(*problem.dual_chunk) : "") + ", first query at " +
             std::to_string(problem.first_query_position()) + ", unit " + std::to_string(job.options.unit_tokens) + ", " +
             job.options.partition.text() + ", " + to_string(job.options.strategy) + ", " + std::to_string(job.options.prefetch) +
             " ahead, pieces of " + std::to_string(job.options.piece_bytes) + " bytes, mask " + mask;
  return job;
}

Tensors random_tensors(const Problem& problem, std::uint64_t seed, double size) {
  Random random(seed);
  std::normal_distribution<float> normal(0, static_cast<float>(size));
  const auto fill = [&](std::int64_t tokens, int heads, int dim) {
    std::vector<float> tensor(static_cast<std::size_t>(tokens) * heads * dim);
    std::generate(tensor.begin(), tensor.end(), [&] { return normal(random); });
    return tensor;
  };
  Tensors tensors;
  tensors.queries = fill(problem.query_tokens, problem.query_heads, problem.head_dim);
  tensors.keys = fill(problem.key_tokens, problem.key_heads, problem.head_dim);
  tensors.values = fill(problem.key_tokens, problem.key_heads, problem.value_dim);
  if (problem.sinks == SinkLogits::learned) tensors.sinks = fill(1, problem.query_heads, 1);
  return tensors;
}

Result::Result(const Problem& problem)
    : out(static_cast<std::size_t>(problem.query_tokens) * problem.query_heads * problem.value_dim, std::nanf("")),
      lse(static_cast<std::size_t>(problem.query_tokens) * problem.query_heads, std::nanf("")) {}

bool Result::operator==(const Result& other) const {
  const auto same = [](const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
  };
  return same(out, other.out) && same(lse, other.lse);
}

std::vector<float> gather(const std::vector<float>& tensor, std::span<const Range> rows, std::size_t width) {
  std::vector<float> local;
  for (const Range& range : rows) {
    local.insert(local.end(), tensor.begin() + static_cast<std::ptrdiff_t>(range.begin * width),
                 tensor.begin() + static_cast<std::ptrdiff_t>(range.end * width));
  }
  return local;
}

void scatter(const std::vector<float>& local, std::span<const Range> rows, std::size_t width, std::vector<float>& tensor) {
  auto from = local.begin();
  for (const Range& range : rows) {
    const auto count = static_cast<std::ptrdiff_t>(range.size() * width);
    std::copy(from, from + count, tensor.begin() + static_cast<std::ptrdiff_t>(range.begin * width));
    from += count;
  }
}

RankRows::RankRows(const Job& job, const Tensors& tensors, const Transport& transport) : problem_(job.problem) {
  const Layout layout(job.problem, job.options, transport.ranks());
  const auto key_ranges = rows_of(layout.key_units, layout.keys, transport.rank());
  query_ranges_ = rows_of(layout.query_units, layout.queries, transport.rank());
  const auto width = [](int heads, int dim) { return static_cast<std::size_t>(heads) * dim; };
  sinks_ = tensors.sinks;
  queries_ = gather(tensors.queries, query_ranges_, width(problem_.query_heads, problem_.head_dim));
  keys_ = gather(tensors.keys, key_ranges, width(problem_.key_heads, problem_.head_dim));
  values_ = gather(tensors.values, key_ranges, width(problem_.key_heads, problem_.value_dim));
  const std::size_t rows = queries_.size() / problem_.head_dim;
  out_.assign(rows * problem_.value_dim, std::nanf(""));
  lse_.assign(rows, std::nanf(""));
}

Operands RankRows::operands() const {
  const Problem& p = problem_;
  const auto query_tokens = static_cast<std::int64_t>(lse_.size()) / p.query_heads;
  const auto key_tokens = static_cast<std::int64_t>(keys_.size()) / (p.key_heads * p.head_dim);
  return {.queries = {queries_.data(), query_tokens, p.query_heads, p.head_dim},
          .keys = {keys_.data(), key_tokens, p.key_heads, p.head_dim},
          .values = {values_.data(), key_tokens, p.key_heads, p.value_dim},
          .out = {out_.data(), query_tokens, p.query_heads, p.value_dim},
          .lse = lse_.data(),
          .sinks = sinks_.empty() ? nullptr : sinks_.data()};
}

void RankRows::write_to(Result& result) const {
  scatter(out_, query_ranges_, static_cast<std::size_t>(problem_.query_heads) * problem_.value_dim, result.out);
  scatter(lse_, query_ranges_, static_cast<std::size_t>(problem_.query_heads), result.lse);
}

void run_rank(Transport& transport, const Job& job, const Tensors& tensors, Result& result, int calls) {
  const RankRows rows(job, tensors, transport);
  Attention attention(transport, job.problem, job.options);
  for (int call = 0; call < calls; ++call) attention.forward(rows.operands());
  rows.write_to(result);
}

Result run_loopback_job(const Job& job, const Tensors& tensors, int ranks, int ranks_per_node) {
  Result result(job.problem);
  run_loopback(
      ranks, [&](Transport& transport) { run_rank(transport, job, tensors, result); }, ranks_per_node);
  return result;
}

Tensors rounded(const Tensors& tensors, Type type) {
  Tensors result = tensors;
  for (std::vector<float>* tensor : {&result.queries, &result.keys, &result.values}) {
    for (float& value : *tensor) {
      if (type == Type::bf16) value = to_float(to_bf16(value));
      if (type == Type::f16) value = to_float(to_f16(value));
    }
  }
  return result;
}

CellTensors as_in_cells(const Problem& p, const Tensors& tensors) {
  CellTensors result{rounded(tensors, p.type), {}};
  if (!p.rotary) return result;
  const auto turned = [&](const std::vector<float>& tensor, std::int64_t tokens, int heads, auto&& position_of) {
    std::vector<std::int64_t> positions;
    for (std::int64_t token = 0; token < tokens; ++token) positions.push_back(position_of(token));
    return reference_turned(Rows<const float>(tensor.data(), tokens, heads, p.head_dim), *p.rotary, positions, p.type);
  };
  for (int form = 0; form < p.query_forms(); ++form) {
    (form == 0 ? result.queries : result.further[form - 1]) =
        turned(tensors.queries, p.query_tokens, p.query_heads,
               [&](std::int64_t token) { return reference_query_position(p.dual_chunk, p.first_query_position() + token, form); });
  }
  result.keys = turned(tensors.keys, p.key_tokens, p.key_heads,
                       [&](std::int64_t token) { return reference_key_position(p.dual_chunk, token); });
  return result;
}

Errors compare(const Problem& p, const Tensors& unrounded, const Result& result, std::span<const Range> rows, std::int64_t step) {
  const CellTensors tensors = as_in_cells(p, unrounded);
  const std::int64_t chunk_tokens = p.dual_chunk ? p.dual_chunk->length() : 0;
  const Rows<const float> keys(tensors.keys.data(), p.key_tokens, p.key_heads, p.head_dim);
  const Rows<const float> values(tensors.values.data(), p.key_tokens, p.key_heads, p.value_dim);
  const Bands bands = p.bands();
  Errors errors;
  double largest_output = 0, largest_error = 0;
  // NaN is the worst error there is, and max() would drop it.
  const auto worse = [](double& worst, double found) { worst = found <= worst ? worst : std::isnan(found) ? HUGE_VAL : found; };
  for (const Range& range : rows) {
    for (std::int64_t token = range.begin; token < range.end; token += step) {
      for (int head = 0; head < p.query_heads; ++head) {
        const std::int64_t row = token * p.query_heads + head;
        const float* forms[kMostForms] = {tensors.queries.data() + row * p.head_dim};
        for (int form = 1; form < p.query_forms(); ++form) forms[form] = tensors.further[form - 1].data() + row * p.head_dim;
        ReferencePartial expected = reference_partial(forms, chunk_tokens, p.first_query_position() + token, keys, values,
                                                      head / p.group(), 0, p.score_rule(), bands, head);
        if (p.sinks == SinkLogits::learned) expected.take_sink(double{tensors.sinks[head]});
        const double lse = result.lse[row];
        const double lse_error = expected.lse() == lse ? 0 : std::abs(expected.lse() - lse);
        worse(errors.lse, lse_error);
        if (lse_error > 0) worse(errors.share_of_bound, lse_error / expected.lse_bound());
        for (int channel = 0; channel < p.value_dim; ++channel) {
          const double error = std::abs(expected.out(channel) - double{result.out[row * p.value_dim + channel]});
          worse(largest_error, error);
          largest_output = std::max(largest_output, std::abs(expected.out(channel)));
          if (!(error == 0)) worse(errors.share_of_bound, error / expected.out_bound(channel, p.type));
        }
      }
    }
  }
  errors.out = largest_error == 0 ? 0 : largest_error / largest_output;
  return errors;
}

Errors compare(const Problem& problem, const Tensors& tensors, const Result& result, std::int64_t step) {
  const Range all{0, problem.query_tokens};
  return compare(problem, tensors, result, std::span(&all, 1), step);
}

}  // namespace gyre::test
