#include "bench/kernels/backward.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "bench/kernels/axis.hpp"
#include "bench/kernels/data.hpp"
#include "kernels/attend.hpp"
#include "kernels/attend_backward.hpp"
#include "kernels/gradient.hpp"
#include "kernels/pack.hpp"
#include "kernels/reference.hpp"

namespace gyre::bench {
namespace {

/// Tokens of the pass that is checked: it takes the reference longer than a timed one takes the kernels.
constexpr std::int64_t kCheckedTokens = 96;

class Backward : public Subject {
 public:
  Backward(const Shape& shape, Team& team)
      : shape_(shape),
        axis_(shape),
        cell_shape_(cell_shape_of(shape, axis_)),
        team_(team),
        queries_(shape.keys, shape.query_heads(), shape.head_dim, shape.type, 1),
        keys_(shape.keys, shape.heads, shape.head_dim, shape.type, 2),
        values_(shape.keys, shape.heads, shape.value_dims(), shape.type, 3),
        grad_out_(shape.keys, shape.query_heads(), shape.value_dims(), shape.type, 4),
        work_{.shape = cell_shape_,
              .score = score_of(shape),
              .bands = &axis_.bands,
              .heads = std::vector<AttendBackwardWork::Head>(shape.heads)} {
    forward();
    attend_.emplace(work_, select_kernels(shape.isa), team.size());
  }

  void prepare() override {
    for (const AttendBackwardWork::Head& head : work_.heads) {
      for (const BackwardQueryCell& cell : head.queries) {
        clear_gradient(Role::grad_query, cell_shape_, cell.positions.size(), cell.grad_query);
      }
      for (const BackwardKeyCell& cell : head.keys) {
        clear_gradient(Role::grad_key_value, cell_shape_, cell.positions.size(), cell.gradient);
      }
    }
  }

  void run() override {
    attend_->run(team_, [] {});
  }

  double error() override {
    if (shape_.keys <= kCheckedTokens) return error_of_all();
    Shape small = shape_;
    small.keys = kCheckedTokens;
    small.queries = 0;
    if (!axis_.mask.borders().empty()) small.mask = "causal";
    Backward pass(small, team_);
    pass.prepare();
    pass.run();
    return pass.error();
  }

  double flops() const override { return 2 * axis_.pairs(shape_) * (3 * shape_.head_dim + 2 * shape_.value_dims()); }
  double bytes() const override { return static_cast<double>(cells_.bytes()); }

 private:
  std::byte* cell(Role role, Range range) { return cells_.add(cell_bytes(role, cell_shape_, range.size())); }

  /// Makes all cells, with what a forward pass saves.
  void forward() {
    Cells partials;
    AttendWork work{.shape = cell_shape_,
                    .score = score_of(shape_),
                    .bands = &axis_.bands,
                    .heads = std::vector<AttendWork::Head>(shape_.heads)};
    for (int head = 0; head < shape_.heads; ++head) {
      for (int unit = 0; unit < axis_.key_units.count(); ++unit) {
        const Range range = axis_.key_units.range(unit);
        std::byte *const query = cell(Role::query, range), *const key = cell(Role::key_value, range);
        std::byte* const partial = partials.add(cell_bytes(Role::partial, cell_shape_, range.size()));
        pack_query(cell_shape_, queries_.rows(), range.begin, range.size(), head, query);
        pack_key_value(cell_shape_, keys_.rows(), values_.rows(), range.begin, range.size(), head, key);
        clear_partial(cell_shape_, range.size(), partial);
        work.heads[head].queries.push_back({query, partial, range});
        work.heads[head].keys.push_back({key, range});
      }
    }
    Attend(work, select_kernels(shape_.isa), team_.size()).run(team_, [] {});
    for (int head = 0; head < shape_.heads; ++head) save(work.heads[head], head);
  }

  /// Of one key/value head.
  void save(const AttendWork::Head& from, int head) {
    std::vector<float> out(shape_.keys * shape_.query_heads() * shape_.value_dims()), lse(shape_.keys * shape_.query_heads());
    const Rows<float> out_rows(out.data(), shape_.keys, shape_.query_heads(), shape_.value_dims());
    for (std::size_t unit = 0; unit < from.queries.size(); ++unit) {
      const Range range = from.queries[unit].positions;
      finish_partial(cell_shape_, from.queries[unit].partial, range.size(), head, out_rows, lse.data(), range.begin);
      std::byte *const grad_out = cell(Role::grad_out, range), *const statistics = cell(Role::row_statistics, range);
      pack_grad_out(cell_shape_, grad_out_.rows(), range.begin, range.size(), head, grad_out);
      pack_row_statistics(cell_shape_, grad_out_.rows(), out_rows, lse.data(), range.begin, range.size(), head, statistics);
      work_.heads[head].queries.push_back({.query = from.queries[unit].query,
                                           .grad_out = grad_out,
                                           .row_statistics = statistics,
                                           .grad_query = cell(Role::grad_query, range),
                                           .positions = range});
      work_.heads[head].keys.push_back(
          {.cell = from.keys[unit].cell, .gradient = cell(Role::grad_key_value, range), .positions = range});
    }
  }

  static double worst(const std::vector<float>& found, const ReferenceGradient& reference) {
    double worst = 0;
    for (std::size_t k = 0; k < found.size(); ++k) {
      const double share = std::abs(static_cast<double>(found[k]) - reference.value[k]) / (reference.bound[k] + 1e-36);
      if (!(share <= worst)) worst = share;  // keeps NaN
    }
    return worst;
  }

  double error_of_all() {
    const bool pairs = shape_.type == Type::bf16 && select_kernels(shape_.isa).attend_pairs != nullptr;
    const Type rounded = pairs ? Type::bf16 : Type::f32;
    const ReferenceGradients reference = reference_gradients(queries_.rows(), keys_.rows(), values_.rows(), grad_out_.rows(), 0, 0,
                                                             work_.score, axis_.bands, rounded, rounded);
    std::vector<float> query(reference.query.value.size()), key(reference.key.value.size()), value(reference.value.value.size());
    for (int head = 0; head < shape_.heads; ++head) {
      for (int unit = 0; unit < axis_.key_units.count(); ++unit) {
        const Range range = axis_.key_units.range(unit);
        finish_grad_query(cell_shape_, work_.heads[head].queries[unit].grad_query, range.size(), head,
                          Rows<float>(query.data(), shape_.keys, shape_.query_heads(), shape_.head_dim), range.begin);
        finish_grad_key_value(cell_shape_, work_.heads[head].keys[unit].gradient, range.size(), head,
                              Rows<float>(key.data(), shape_.keys, shape_.heads, shape_.head_dim),
                              Rows<float>(value.data(), shape_.keys, shape_.heads, shape_.value_dims()), range.begin);
      }
    }
    return std::max({worst(query, reference.query), worst(key, reference.key), worst(value, reference.value)});
  }

  Shape shape_;
  Axis axis_;
  CellShape cell_shape_;
  Team& team_;
  RandomRows queries_, keys_, values_, grad_out_;
  Cells cells_;
  AttendBackwardWork work_;
  std::optional<AttendBackward> attend_;
};

}  // namespace

std::unique_ptr<Subject> make_backward(const Shape& shape, Team& team) {
  return std::make_unique<Backward>(shape, team);
}

}  // namespace gyre::bench
