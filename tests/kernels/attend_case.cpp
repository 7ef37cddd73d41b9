#include "kernels/attend_case.hpp"

#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/convert.hpp"
#include "kernels/pack.hpp"
#include "support/drawn_blocks.hpp"

namespace gyre::testing {
namespace {

const float kNan = std::bit_cast<float>(0x7fff7fffU);  // in halves too
constexpr int kGap = 2;                                // elements of NaN after each row

float rounded(float number, Type type) {
  if (type == Type::bf16) return to_float(to_bf16(number));
  if (type == Type::f16) return to_float(to_f16(number));
  return number;
}

}  // namespace

std::string CaseShape::text() const {
  return "head dim " + std::to_string(head_dim) + ", value dim " + std::to_string(value_dim) + ", group " + std::to_string(group) +
         (rows == RowOrder::by_head ? " by head" : "") + ", stride " + std::to_string(stride) + ", key heads " +
         std::to_string(key_heads) + ", queries " + std::to_string(query_tokens) + " by " + std::to_string(query_unit) + " from " +
         std::to_string(query_offset) + ", keys " + std::to_string(key_tokens) + " by " + std::to_string(key_unit) + ", " + mask +
         ", size " + std::to_string(size) + ", outliers " + std::to_string(outliers) + ", softcap " + std::to_string(softcap) +
         (alibi ? ", alibi" : "") + ", dropout " + std::to_string(dropout) + (sinks ? ", sinks" : "") + ", " + to_string(type) +
         ", seed " + std::to_string(seed);
}

std::vector<int> every_unit(const Units& units) {
  std::vector<int> all(units.count());
  std::iota(all.begin(), all.end(), 0);
  return all;
}

AttendCase::AttendCase(const CaseShape& shape, Type cells, Integrity integrity, const Element& element)
    : shape_(shape),
      cell_shape_{.head_dim = shape.head_dim,
                  .value_dim = shape.value_dim,
                  .group = shape.group,
                  .rows = shape.rows,
                  .residues = {.stride = shape.stride},
                  .type = cells,
                  .integrity = integrity},
      query_units_(shape.query_tokens, shape.query_unit),
      key_units_(shape.key_tokens, shape.key_unit),
      mask_(Mask::parse(shape.mask, test::drawn_files())),
      bands_(mask_.bands_at(shape.query_offset)) {
  std::mt19937_64 random(shape.seed);
  queries_ = random_rows(random, shape.query_tokens, query_heads(), shape.head_dim);
  keys_ = random_rows(random, shape.key_tokens, shape.key_heads, shape.head_dim);
  values_ = random_rows(random, shape.key_tokens, shape.key_heads, shape.value_dim);
  std::normal_distribution<float> normal(0, static_cast<float>(shape.size * shape.size));
  for (int head = 0; shape.sinks && head < query_heads(); ++head) sinks_.push_back(normal(random));
  if (element) {
    replace(queries_, Operand::query, shape.query_tokens, query_heads(), shape.head_dim, element);
    replace(keys_, Operand::key, shape.key_tokens, shape.key_heads, shape.head_dim, element);
    replace(values_, Operand::value, shape.key_tokens, shape.key_heads, shape.value_dim, element);
  }
  for (int unit = 0; unit < query_units_.count(); ++unit) {
    const Range range = query_units_.range(unit);
    for (int head = 0; head < shape.key_heads; ++head) {
      query_cells_.emplace_back(cell_bytes(Role::query, cell_shape_, range.size())).fill(kNan);
      partials_.emplace_back(cell_bytes(Role::partial, cell_shape_, range.size()));
      pack_query(cell_shape_, rows(queries_, shape.query_tokens, query_heads(), shape.head_dim), range.begin, range.size(), head,
                 query_cells_.back().data());
    }
  }
  for (int unit = 0; unit < key_units_.count(); ++unit) {
    const Range range = key_units_.range(unit);
    for (int head = 0; head < shape.key_heads; ++head) {
      key_cells_.emplace_back(cell_bytes(Role::key_value, cell_shape_, range.size())).fill(kNan);
      pack_key_value(cell_shape_, rows(keys_, shape.key_tokens, shape.key_heads, shape.head_dim),
                     rows(values_, shape.key_tokens, shape.key_heads, shape.value_dim), range.begin, range.size(), head,
                     key_cells_.back().data());
    }
  }
  clear();
}

ScoreRule AttendCase::score() const {
  ScoreRule rule{.scale = 1 / std::sqrt(static_cast<double>(shape_.head_dim))};
  if (shape_.softcap != 0) rule.softcap = shape_.softcap;
  if (shape_.dropout > 0) rule.dropout = {.probability = shape_.dropout, .seed = shape_.seed};
  if (shape_.alibi) rule.slopes = alibi_slopes(query_heads());
  return rule;
}

void AttendCase::clear() {
  for (int unit = 0; unit < query_units_.count(); ++unit) {
    for (int head = 0; head < shape_.key_heads; ++head) {
      cell(partials_, unit, head).fill(kNan);
      clear_partial(cell_shape_, query_units_.length(unit), cell(partials_, unit, head).data());
    }
  }
}

AttendWork AttendCase::work(const std::vector<int>& query_units, const std::vector<int>& key_units) const {
  AttendWork work{.shape = cell_shape_, .score = score(), .bands = &bands_, .heads = {}};
  for (int head = 0; head < shape_.key_heads; ++head) {
    AttendWork::Head& list = work.heads.emplace_back();
    for (const int unit : query_units) {
      list.queries.push_back({cell(query_cells_, unit, head).data(), cell(partials_, unit, head).data(),
                              query_units_.range(unit) + shape_.query_offset});
    }
    for (const int unit : key_units) list.keys.push_back({cell(key_cells_, unit, head).data(), key_units_.range(unit)});
  }
  return work;
}

AttendWork AttendCase::work() const {
  return work(every_unit(query_units_), every_unit(key_units_));
}

void AttendCase::run(const KernelTable& kernels, int threads, int strips_per_block) const {
  Team team(threads);
  Attend(work(), kernels, threads, strips_per_block).run(team, [] {});
}

Finished AttendCase::finish() const {
  Finished finished{.out = std::vector<float>(shape_.query_tokens * query_heads() * shape_.value_dim, kNan),
                    .lse = std::vector<float>(shape_.query_tokens * query_heads(), kNan)};
  const Rows<float> out(finished.out.data(), shape_.query_tokens, query_heads(), shape_.value_dim);
  for (int unit = 0; unit < query_units_.count(); ++unit) {
    const Range range = query_units_.range(unit);
    for (int head = 0; head < shape_.key_heads; ++head) {
      finish_partial(cell_shape_, cell(partials_, unit, head).data(), range.size(), head, out, finished.lse.data(), range.begin,
                     sinks());
    }
  }
  return finished;
}

std::vector<float> AttendCase::partial_bits() const {
  std::vector<float> bits;
  for (int unit = 0; unit < query_units_.count(); ++unit) {
    for (int head = 0; head < shape_.key_heads; ++head) {
      const float* const partial = cell(partials_, unit, head).floats();
      for (std::int64_t row = 0; row < query_units_.length(unit) * shape_.group; ++row) {
        const float* const lane = partial + row / kStrip * partial_strip_floats(cell_shape_) + row % kStrip;
        for (std::int64_t c = 0; c < partial_strip_floats(cell_shape_); c += kStrip) bits.push_back(lane[c]);
      }
    }
  }
  return bits;
}

ReferencePartial AttendCase::reference(std::int64_t token, int head) const {
  ReferencePartial row = reference_partial(
      rows(queries_, shape_.query_tokens, query_heads(), shape_.head_dim).row(token, head), token + shape_.query_offset,
      rows(keys_, shape_.key_tokens, shape_.key_heads, shape_.head_dim),
      rows(values_, shape_.key_tokens, shape_.key_heads, shape_.value_dim), head / shape_.group, 0, score(), bands_, head);
  if (shape_.sinks) row.take_sink(static_cast<double>(sinks_[head]));
  return row;
}

Rows<const float> AttendCase::rows(const std::vector<float>& data, std::int64_t tokens, int heads, int dim) {
  Rows<const float> view(data.data(), tokens, heads, dim);
  view.head_stride = dim + kGap;
  view.token_stride = std::int64_t{heads} * view.head_stride;
  view.data += kMargin * view.token_stride;
  return view;
}

std::vector<float> AttendCase::random_rows(std::mt19937_64& random, std::int64_t tokens, int heads, int dim) const {
  std::normal_distribution<double> normal(0, shape_.size);
  std::vector<float> data((tokens + 2 * kMargin) * heads * (dim + kGap), kNan);
  const Rows<const float> view = rows(data, tokens, heads, dim);
  for (std::int64_t token = 0; token < tokens; ++token) {
    for (int head = 0; head < heads; ++head) {
      float* const row = data.data() + (view.row(token, head) - data.data());
      for (int d = 0; d < dim; ++d) {
        row[d] = static_cast<float>(normal(random));
        if (shape_.outliers > 0 && std::bernoulli_distribution(shape_.outliers)(random)) row[d] *= 20;
        row[d] = rounded(row[d], shape_.type);
      }
    }
  }
  return data;
}

void AttendCase::replace(std::vector<float>& data, Operand operand, std::int64_t tokens, int heads, int dim,
                         const Element& element) const {
  const Rows<const float> view = rows(data, tokens, heads, dim);
  for (std::int64_t token = 0; token < tokens; ++token) {
    for (int head = 0; head < heads; ++head) {
      float* const row = data.data() + (view.row(token, head) - data.data());
      for (int d = 0; d < dim; ++d) row[d] = rounded(element(operand, token, head, d, row[d]), shape_.type);
    }
  }
}

}  // namespace gyre::testing
