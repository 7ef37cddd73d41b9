#include "kernels/backward_case.hpp"

#include <bit>
#include <random>

#include "kernels/convert.hpp"
#include "kernels/gradient.hpp"

namespace gyre::testing {
namespace {

const float kNan = std::bit_cast<float>(0x7fff7fffU);

float rounded(Type type, float x) {
  if (type == Type::bf16) return to_float(to_bf16(x));
  if (type == Type::f16) return to_float(to_f16(x));
  return x;
}

/// [query tokens, query heads, value_dim]
std::vector<float> gradients_of_output(const CaseShape& shape, int heads, const Element& element) {
  std::mt19937_64 random(shape.seed + 1'000'000);
  std::normal_distribution<double> normal(0, shape.size);
  std::vector<float> numbers;
  for (std::int64_t token = 0; token < shape.query_tokens; ++token) {
    for (int head = 0; head < heads; ++head) {
      for (int channel = 0; channel < shape.value_dim; ++channel) {
        const float drawn = rounded(shape.type, static_cast<float>(normal(random)));
        numbers.push_back(element ? rounded(shape.type, element(Operand::grad_out, token, head, channel, drawn)) : drawn);
      }
    }
  }
  return numbers;
}

}  // namespace

BackwardCase::BackwardCase(const CaseShape& shape, Type cells, const Element& element)
    : forward_(shape, cells, Integrity::unchecked, element),
      grad_out_(gradients_of_output(shape, forward_.query_heads(), element)) {
  const Rows<const float> grad_out(grad_out_.data(), shape.query_tokens, forward_.query_heads(), shape.value_dim);
  reference_ = reference_gradients(forward_.queries(), forward_.keys(), forward_.values(), grad_out, shape.query_offset, 0,
                                   forward_.score(), forward_.bands(), Type::f32, Type::f32, forward_.sink_logits());
  if (forward_.cells().type == Type::bf16) {
    rounded_reference_ = reference_gradients(forward_.queries(), forward_.keys(), forward_.values(), grad_out, shape.query_offset,
                                             0, forward_.score(), forward_.bands(), Type::f32, Type::bf16, forward_.sink_logits());
  }
  const std::vector<float> saved_out(reference_.out.begin(), reference_.out.end());
  const std::vector<float> saved_lse(reference_.lse.begin(), reference_.lse.end());
  const Rows<const float> out(saved_out.data(), shape.query_tokens, forward_.query_heads(), shape.value_dim);
  for (int head = 0; shape.sinks && head < forward_.query_heads(); ++head) {
    grad_sinks_.push_back(static_cast<float>(sink_gradient(cells, grad_out, out, saved_lse.data(), head, forward_.sinks()[head])));
  }
  const auto made = [&](std::vector<Buffer>& list, Role role, std::int64_t tokens) {
    list.emplace_back(cell_bytes(role, forward_.cells(), tokens)).fill(kNan);
    return list.back().data();
  };
  for (int unit = 0; unit < forward_.query_units().count(); ++unit) {
    const Range range = forward_.query_units().range(unit);
    for (int head = 0; head < shape.key_heads; ++head) {
      pack_grad_out(forward_.cells(), grad_out, range.begin, range.size(), head, made(grad_outs_, Role::grad_out, range.size()));
      pack_row_statistics(forward_.cells(), grad_out, out, saved_lse.data(), range.begin, range.size(), head,
                          made(statistics_, Role::row_statistics, range.size()));
      made(grad_queries_, Role::grad_query, range.size());
    }
  }
  for (int unit = 0; unit < forward_.key_units().count(); ++unit) {
    for (int head = 0; head < shape.key_heads; ++head) {
      made(grad_key_values_, Role::grad_key_value, forward_.key_units().length(unit));
    }
  }
  clear();
}

void BackwardCase::clear() {
  const auto clear_all = [&](const std::vector<Buffer>& cells, Role role, const Units& units) {
    for (int unit = 0; unit < units.count(); ++unit) {
      for (int head = 0; head < shape().key_heads; ++head) {
        clear_gradient(role, forward_.cells(), units.length(unit), cell(cells, unit, head).data());
      }
    }
  };
  clear_all(grad_queries_, Role::grad_query, forward_.query_units());
  clear_all(grad_key_values_, Role::grad_key_value, forward_.key_units());
}

AttendBackwardWork BackwardCase::work(const std::vector<int>& query_units, const std::vector<int>& key_units) const {
  const AttendWork cells = forward_.work(query_units, key_units);
  AttendBackwardWork work{.shape = cells.shape, .score = cells.score, .bands = cells.bands, .heads = {}};
  for (int head = 0; head < shape().key_heads; ++head) {
    AttendBackwardWork::Head& list = work.heads.emplace_back();
    for (std::size_t k = 0; k < query_units.size(); ++k) {
      list.queries.push_back({.query = cells.heads[head].queries[k].query,
                              .grad_out = cell(grad_outs_, query_units[k], head).data(),
                              .row_statistics = cell(statistics_, query_units[k], head).data(),
                              .grad_query = cell(grad_queries_, query_units[k], head).data(),
                              .positions = cells.heads[head].queries[k].positions});
    }
    for (std::size_t k = 0; k < key_units.size(); ++k) {
      list.keys.push_back({.cell = cells.heads[head].keys[k].cell,
                           .gradient = cell(grad_key_values_, key_units[k], head).data(),
                           .positions = cells.heads[head].keys[k].positions});
    }
  }
  return work;
}

AttendBackwardWork BackwardCase::work() const {
  return work(every_unit(forward_.query_units()), every_unit(forward_.key_units()));
}

void BackwardCase::run(const KernelTable& kernels, int threads) const {
  Team team(threads);
  AttendBackward(work(), kernels, threads).run(team, [] {});
}

FinishedGradients BackwardCase::finish() const {
  FinishedGradients finished{.query = std::vector<float>(reference_.query.value.size(), kNan),
                             .key = std::vector<float>(reference_.key.value.size(), kNan),
                             .value = std::vector<float>(reference_.value.value.size(), kNan)};
  const Rows<float> query(finished.query.data(), shape().query_tokens, forward_.query_heads(), shape().head_dim);
  const Rows<float> key(finished.key.data(), shape().key_tokens, shape().key_heads, shape().head_dim);
  const Rows<float> value(finished.value.data(), shape().key_tokens, shape().key_heads, shape().value_dim);
  for (int head = 0; head < shape().key_heads; ++head) {
    for (int unit = 0; unit < forward_.query_units().count(); ++unit) {
      const Range range = forward_.query_units().range(unit);
      finish_grad_query(forward_.cells(), cell(grad_queries_, unit, head).data(), range.size(), head, query, range.begin);
    }
    for (int unit = 0; unit < forward_.key_units().count(); ++unit) {
      const Range range = forward_.key_units().range(unit);
      finish_grad_key_value(forward_.cells(), cell(grad_key_values_, unit, head).data(), range.size(), head, key, value,
                            range.begin);
    }
  }
  return finished;
}

std::vector<float> BackwardCase::bits() const {
  std::vector<float> bits;
  const CellShape& cells = forward_.cells();
  for (int head = 0; head < shape().key_heads; ++head) {
    for (int unit = 0; unit < forward_.query_units().count(); ++unit) {
      const float* const strips = cell(grad_queries_, unit, head).floats();
      for (std::int64_t row = 0; row < forward_.query_units().length(unit) * cells.group; ++row) {
        const float* const lane = strips + row / kStrip * grad_query_strip_floats(cells) + row % kStrip;
        for (int c = 0; c < 2 * cells.head_dim; ++c) bits.push_back(lane[c * kStrip]);
      }
    }
    for (int unit = 0; unit < forward_.key_units().count(); ++unit) {
      const std::int64_t tokens = forward_.key_units().length(unit);
      const float* const keys = cell(grad_key_values_, unit, head).floats();
      const float* const values = keys + gradient_at(grad_key_floats(cells, tokens));
      const auto append = [&](const float* piece, std::int64_t row, int dims) {
        for (int dim = 0; dim < dims; ++dim) {
          const float* const total = piece + gradient_at(row * round_up(dims, kStrip) + dim);
          bits.insert(bits.end(), {total[0], total[kStrip]});
        }
      };
      for (std::int64_t row = 0; row < tokens; ++row) append(keys, row, cells.head_dim), append(values, row, cells.value_dim);
    }
  }
  return bits;
}

}  // namespace gyre::testing
