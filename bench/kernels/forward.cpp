#include "bench/kernels/forward.hpp"

#include <cmath>
#include <optional>
#include <span>
#include <vector>

#include "bench/kernels/axis.hpp"
#include "bench/kernels/data.hpp"
#include "kernels/attend.hpp"
#include "kernels/pack.hpp"
#include "kernels/reference.hpp"

namespace gyre::bench {
namespace {

class Forward : public Subject {
 public:
  Forward(const Shape& shape, Team& team)
      : shape_(shape),
        axis_(shape),
        cell_shape_(cell_shape_of(shape, axis_)),
        team_(team),
        queries_(shape.query_tokens(), shape.query_heads(), shape.head_dim, shape.type, 1),
        keys_(shape.keys, shape.heads, shape.head_dim, shape.type, 2),
        values_(shape.keys, shape.heads, shape.value_dims(), shape.type, 3),
        out_(shape.query_tokens() * shape.query_heads() * shape.value_dims()),
        lse_(shape.query_tokens() * shape.query_heads()),
        work_{.shape = cell_shape_,
              .score = score_of(shape),
              .bands = &axis_.bands,
              .heads = std::vector<AttendWork::Head>(shape.heads)} {
    for (int head = 0; head < shape.heads; ++head) add_cells(head);
    pack();
    attend_.emplace(work_, select_kernels(shape.isa), team.size(), shape.strips);
  }

  void prepare() override {
    for (const AttendWork::Head& head : work_.heads) {
      for (const QueryCell& cell : head.queries) clear_partial(cell_shape_, cell.positions.size(), cell.partial);
    }
  }

  void run() override {
    attend_->run(team_, [] {});
  }

  /// Of 8 rows.
  double error() override {
    finish();
    double worst = 0;
    for (int sample = 0; sample < 8; ++sample) {
      const std::int64_t token = shape_.query_tokens() * (2 * sample + 1) / 16;
      const int head = sample % shape_.query_heads();
      const ReferencePartial reference =
          reference_partial(queries_.rows().row(token, head), shape_.first_query() + token, keys_.rows(), values_.rows(),
                            head / shape_.group, 0, work_.score, axis_.bands, head);
      const float* const out = out_.data() + (token * shape_.query_heads() + head) * shape_.value_dims();
      for (int c = 0; c < shape_.value_dims(); ++c) {
        const double share = std::abs(out[c] - reference.out(c)) / (reference.out_bound(c, shape_.type) + 1e-36);
        if (!(share <= worst)) worst = share;  // keeps NaN
      }
    }
    return worst;
  }

  double flops() const override { return 2 * axis_.pairs(shape_) * (shape_.head_dim + shape_.value_dims()); }
  double bytes() const override { return static_cast<double>(cells_.bytes()); }
  std::vector<std::span<const std::byte>> reads() const override {
    std::vector<std::span<const std::byte>> cells;
    if (shape_.pass != Pass::decode) return cells;
    for (const AttendWork::Head& head : work_.heads) {
      for (const KeyCell& key : head.keys) {
        cells.emplace_back(key.cell, cell_bytes(Role::key_value, cell_shape_, key.positions.size()));
      }
    }
    return cells;
  }

  void pack_and_finish() override {
    pack();
    prepare();
    finish();
  }

 private:
  void add_cells(int head) {
    for (int unit = 0; unit < axis_.query_units.count(); ++unit) {
      const Range range = axis_.query_units.range(unit);
      std::byte* const query = cells_.add(cell_bytes(Role::query, cell_shape_, range.size()));
      std::byte* const partial = cells_.add(cell_bytes(Role::partial, cell_shape_, range.size()));
      work_.heads[head].queries.push_back({query, partial, range + shape_.first_query()});
    }
    for (int unit = 0; unit < axis_.key_units.count(); ++unit) {
      const Range range = axis_.key_units.range(unit);
      work_.heads[head].keys.push_back({cells_.add(cell_bytes(Role::key_value, cell_shape_, range.size())), range});
    }
  }

  void pack() {
    for (int head = 0; head < shape_.heads; ++head) {
      for (const QueryCell& cell : work_.heads[head].queries) {
        const Range range = cell.positions + -shape_.first_query();
        pack_query(cell_shape_, queries_.rows(), range.begin, range.size(), head, const_cast<std::byte*>(cell.query));
      }
      for (const KeyCell& cell : work_.heads[head].keys) {
        pack_key_value(cell_shape_, keys_.rows(), values_.rows(), cell.positions.begin, cell.positions.size(), head,
                       const_cast<std::byte*>(cell.cell));
      }
    }
  }

  void finish() {
    const Rows<float> out(out_.data(), shape_.query_tokens(), shape_.query_heads(), shape_.value_dims());
    for (int head = 0; head < shape_.heads; ++head) {
      for (const QueryCell& cell : work_.heads[head].queries) {
        finish_partial(cell_shape_, cell.partial, cell.positions.size(), head, out, lse_.data(),
                       cell.positions.begin - shape_.first_query());
      }
    }
  }

  Shape shape_;
  Axis axis_;
  CellShape cell_shape_;
  Team& team_;
  RandomRows queries_, keys_, values_;
  std::vector<float> out_, lse_;
  Cells cells_;
  AttendWork work_;
  std::optional<Attend> attend_;
};

}  // namespace

std::unique_ptr<Subject> make_forward(const Shape& shape, Team& team) {
  return std::make_unique<Forward>(shape, team);
}

}  // namespace gyre::bench
