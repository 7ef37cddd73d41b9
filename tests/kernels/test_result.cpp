// Results: partials of other ranks' keys, on their way into a partial of the same rows.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/attend_case.hpp"
#include "kernels/bounds.hpp"
#include "kernels/pack.hpp"
#include "kernels/partial.hpp"
#include "kernels/result.hpp"
#include "kernels/shapes.hpp"
#include "support/catch.hpp"

namespace gyre::testing {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Calls visit(number, line) for what belongs to no row: the last lanes of a cell's last strip, in each line of 16.
template <class Visit>
void past_the_end(float* cell, std::int64_t strip_floats, std::int64_t rows, const Visit& visit) {
  for (std::int64_t lane = rows; lane < round_up(rows, kStrip); ++lane) {
    for (std::int64_t line = 0; line < strip_floats; line += kStrip) {
      visit(cell[lane / kStrip * strip_floats + line + lane % kStrip], line / kStrip);
    }
  }
}

/// What one rank has of a case's rows: partials and results of its own. What belongs to no row is NaN wherever it may be.
class Side {
 public:
  explicit Side(const AttendCase& attend) : attend_(attend), shape_(attend.cells()) {
    for (int head = 0; head < attend.shape().key_heads; ++head) {
      for (int unit = 0; unit < attend.query_units().count(); ++unit) {
        const std::int64_t tokens = attend.query_units().length(unit);
        partials_.emplace_back(cell_bytes(Role::partial, shape_, tokens)).fill(kNan);
        results_.emplace_back(cell_bytes(Role::result, shape_, tokens)).fill(kNan);
        clear_partial(shape_, tokens, partials_.back().data());
      }
    }
  }

  void attend(const KernelTable& kernels, const std::vector<int>& key_units) {
    AttendWork work = attend_.work(every_unit(attend_.query_units()), key_units);
    std::size_t next = 0;
    for (AttendWork::Head& head : work.heads) {
      for (QueryCell& cell : head.queries) cell.partial = partials_[next++].data();
    }
    Team team(1);
    Attend(std::move(work), kernels, 1).run(team, [] {});
  }

  void settle() {
    bool empty = true;
    each([&](std::size_t at, std::int64_t tokens, int, std::int64_t) {
      const std::int64_t rows = tokens * shape_.group, maximum = round_up(shape_.value_dim, kChannels);
      const auto poison = [](float& number, std::int64_t) { number = kNan; };
      past_the_end(partials_[at].floats(), partial_strip_floats(shape_), rows, poison);
      settle_partial(shape_, partials_[at].data(), tokens, results_[at].data());
      past_the_end(results_[at].floats(), result_strip_floats(shape_), rows,
                   [&](float& number, std::int64_t line) { empty = empty && number == (line == maximum ? kEmptyMaximum : 0.0F); });
      past_the_end(results_[at].floats(), result_strip_floats(shape_), rows, poison);
    });
    CHECK(empty);
  }

  void take(const KernelTable& kernels, const Side& other) {
    each([&](std::size_t at, std::int64_t tokens, int, std::int64_t) {
      combine(kernels, shape_, tokens, other.results_[at].data(), partials_[at].data());
    });
  }

  Finished finish(Role role) const {
    const int heads = attend_.query_heads(), value_dim = shape_.value_dim;
    const std::int64_t tokens = attend_.shape().query_tokens;
    Finished finished{.out = std::vector<float>(tokens * heads * value_dim, kNan), .lse = std::vector<float>(tokens * heads, kNan)};
    const Rows<float> out(finished.out.data(), tokens, heads, value_dim);
    each([&](std::size_t at, std::int64_t count, int head, std::int64_t first) {
      if (role == Role::partial)
        finish_partial(shape_, partials_[at].data(), count, head, out, finished.lse.data(), first, attend_.sinks());
      if (role == Role::result)
        finish_result(shape_, results_[at].data(), count, head, out, finished.lse.data(), first, attend_.sinks());
    });
    return finished;
  }

  /// The numbers of rows, row by row.
  std::vector<float> bits(Role role) const {
    std::vector<float> bits;
    const std::int64_t floats = role == Role::partial ? partial_strip_floats(shape_) : result_strip_floats(shape_);
    each([&](std::size_t at, std::int64_t tokens, int, std::int64_t) {
      const float* const cell = (role == Role::partial ? partials_ : results_)[at].floats();
      for (std::int64_t row = 0; row < tokens * shape_.group; ++row) {
        for (std::int64_t c = 0; c < floats; c += kStrip) bits.push_back(cell[row / kStrip * floats + row % kStrip + c]);
      }
    });
    return bits;
  }

 private:
  /// Calls visit(index of the cell, its tokens, head, first token).
  template <class Visit>
  void each(const Visit& visit) const {
    std::size_t at = 0;
    for (int head = 0; head < attend_.shape().key_heads; ++head) {
      for (int unit = 0; unit < attend_.query_units().count(); ++unit, ++at) {
        visit(at, attend_.query_units().length(unit), head, attend_.query_units().range(unit).begin);
      }
    }
  }

  const AttendCase& attend_;
  CellShape shape_;
  std::vector<Buffer> partials_, results_;  // [key/value head][unit]
};

/// Key units in so many parts: neighbours, or dealt out.
std::vector<std::vector<int>> parts_of(const AttendCase& attend, int parts, bool dealt) {
  std::vector<std::vector<int>> units(parts);
  const int count = attend.key_units().count();
  for (int unit = 0; unit < count; ++unit) units[dealt ? unit % parts : unit * parts / count].push_back(unit);
  return units;
}

/// Attends each part of the keys on a side of its own.
std::vector<Side> sides_of(const AttendCase& attend, const KernelTable& kernels, const std::vector<std::vector<int>>& parts) {
  std::vector<Side> sides;
  for (const std::vector<int>& units : parts) sides.emplace_back(attend).attend(kernels, units);
  return sides;
}

/// One side's result into the other's partial.
void merge(const KernelTable& kernels, Side& into, Side& from) {
  from.settle();
  into.take(kernels, from);
}

void check_bounds(const AttendCase& attend, const Side& side, const std::vector<ReferencePartial>& reference,
                  const KernelTable& kernels) {
  const Worst worst = compare(attend, side.finish(Role::partial), reference, kernels);
  CHECK(worst.out_share <= share_limit(kernels));
  CHECK(worst.lse_share <= share_limit(kernels));
}

/// Two halves of the keys, combined in either order, against the reference.
void check_halves(const CaseShape& shape, const Element& element = {}) {
  const AttendCase attend(shape, element);
  const std::vector<ReferencePartial> reference = references(attend);
  for (const KernelTable* kernels : available_kernels()) {
    for (const bool dealt : {false, true}) {
      INFO(kernels->name << (dealt ? ", dealt" : ", halves") << ": " << shape.text());
      const std::vector<std::vector<int>> parts = parts_of(attend, 2, dealt);
      std::vector<Side> one = sides_of(attend, *kernels, parts), other = sides_of(attend, *kernels, parts);
      merge(*kernels, one[0], one[1]);
      check_bounds(attend, one[0], reference, *kernels);
      merge(*kernels, other[1], other[0]);
      check_bounds(attend, other[1], reference, *kernels);
    }
  }
}

}  // namespace

TEST_CASE("a partial that is settled, also if it is then combined into a clear one, finishes with the partial's bits") {
  std::vector<CaseShape> shapes = shapes_of_bits();
  for (std::uint64_t seed = 1; seed <= 20; ++seed) shapes.push_back(random_shape(2000 + seed));
  for (const CaseShape& shape : shapes) {
    const AttendCase attend(shape);
    for (const KernelTable* kernels : available_kernels()) {
      INFO(kernels->name << ": " << shape.text());
      Side side(attend), clear(attend);
      side.attend(*kernels, every_unit(attend.key_units()));
      const Finished expected = side.finish(Role::partial);
      merge(*kernels, clear, side);
      for (const Finished& finished : {side.finish(Role::result), clear.finish(Role::partial)}) {
        CHECK(same_bits(expected.out, finished.out));
        CHECK(same_bits(expected.lse, finished.lse));
      }
      clear.settle();
      CHECK(same_bits(side.bits(Role::result), clear.bits(Role::result)));
    }
  }
}

TEST_CASE("results of single units, combined in order, give the bits of one attend over all of them") {
  for (const CaseShape& shape : shapes_of_bits()) {
    const bool columns = shape.mask.find("columns") != std::string::npos || shape.mask.find(",1)") != std::string::npos;
    if (columns) continue;  // whose gathered keys are folded by themselves
    const AttendCase attend(shape);
    for (const KernelTable* kernels : available_kernels()) {
      INFO(kernels->name << ": " << shape.text());
      Side whole(attend), combined(attend);
      whole.attend(*kernels, every_unit(attend.key_units()));
      for (const int unit : every_unit(attend.key_units())) {
        Side part(attend);
        part.attend(*kernels, {unit});
        merge(*kernels, combined, part);
      }
      CHECK(same_bits(whole.bits(Role::partial), combined.bits(Role::partial)));
    }
  }
}

TEST_CASE("two halves of the keys, combined in either order, stay within the bounds on random shapes and masks") {
  for (std::uint64_t seed = 1; seed <= 25; ++seed) check_halves(random_shape(3000 + seed));
}

namespace {

/// Halves of 64 and 36 keys: queries at -10 to -1 see none, those up to 63 the first, up to 73 both, up to 79 the second.
CaseShape halves_seen_differently(Type type) {
  return {.head_dim = 24,
          .value_dim = 20,
          .group = 3,
          .key_heads = 2,
          .query_tokens = 90,
          .key_tokens = 100,
          .query_unit = 33,
          .key_unit = 32,
          .query_offset = -10,
          .mask = "causal & window(10)",
          .type = type};
}

}  // namespace

TEST_CASE("halves of which rows see one, both or none, at scores so far apart that one underflows, stay within the bounds") {
  for (const Type type : {Type::f32, Type::bf16, Type::f16}) {
    for (const float step : {0.0F, 0.05F, 3.0F, 100.0F, -0.05F, -3.0F, -100.0F}) {
      INFO("steps of " << step);
      // Scores are the first channel's product and a little: they rise or fall from key to key.
      check_halves(halves_seen_differently(type), [=](Operand operand, std::int64_t token, int, int channel, float drawn) {
        if (operand == Operand::value || step == 0) return drawn;
        if (channel > 0) return 0.1F * drawn;
        return operand == Operand::query ? 4.9F : step * static_cast<float>(token);
      });
    }
  }
}

TEST_CASE("halves of inputs of size 10,000 stay within the bounds") {
  for (const auto& [of_scores, of_values] : {std::pair{1.0F, 1e4F}, {100.0F, 1.0F}, {1e4F, 1e4F}, {1e-4F, 1e-4F}}) {
    check_halves(halves_seen_differently(Type::f32),
                 [scores = of_scores, values = of_values](Operand operand, std::int64_t, int, int, float drawn) {
                   return drawn * (operand == Operand::value ? values : scores);
                 });
  }
}

TEST_CASE("eight parts of the keys stay within the bounds, combined in a chain, in the opposite one, or in a tree") {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    CaseShape shape = random_shape(4000 + seed);
    shape.key_tokens += 200, shape.key_unit = 1 + static_cast<std::int64_t>(seed) * 7;
    const AttendCase attend(shape);
    const std::vector<ReferencePartial> reference = references(attend);
    for (const KernelTable* kernels : available_kernels()) {
      INFO(kernels->name << ": " << shape.text());
      const std::vector<std::vector<int>> parts = parts_of(attend, 8, seed % 2 == 0);
      std::vector<Side> chain = sides_of(attend, *kernels, parts), opposite = sides_of(attend, *kernels, parts),
                        tree = sides_of(attend, *kernels, parts);
      for (int part = 1; part < 8; ++part) merge(*kernels, chain[0], chain[part]);
      for (int part = 7; part > 0; --part) merge(*kernels, opposite[part - 1], opposite[part]);
      for (int apart = 1; apart < 8; apart *= 2) {
        for (int part = 0; part < 8; part += 2 * apart) merge(*kernels, tree[part], tree[part + apart]);
      }
      for (const Side* side : {chain.data(), opposite.data(), tree.data()}) check_bounds(attend, *side, reference, *kernels);
    }
  }
}

namespace {

/// One half's result into the other's partial.
Finished halves_finished(const AttendCase& attend, const KernelTable& kernels, int into) {
  std::vector<Side> sides = sides_of(attend, kernels, parts_of(attend, 2, false));
  merge(kernels, sides[into], sides[1 - into]);
  return sides[into].finish(Role::partial);
}

}  // namespace

TEST_CASE("a query row that is NaN or infinite spoils no other row on its way through results") {
  const CaseShape shape = halves_seen_differently(Type::f32);
  const AttendCase whole(shape);
  for (const float with : {kNan, kInfinity, -kInfinity}) {
    for (const std::int64_t token : {40, 78, 85}) {  // sees keys of the first half, of both, of the second
      const AttendCase hurt(shape, [&](Operand operand, std::int64_t at, int head, int channel, float drawn) {
        return operand == Operand::query && at == token && head == 1 && channel == 3 ? with : drawn;
      });
      const std::size_t row = token * whole.query_heads() + 1;
      const std::ptrdiff_t begin = static_cast<std::ptrdiff_t>(row) * shape.value_dim, end = begin + shape.value_dim;
      for (const KernelTable* kernels : available_kernels()) {
        for (const int into : {0, 1}) {
          INFO(kernels->name << ", " << with << ", token " << token << ", into half " << into);
          const Finished expected = halves_finished(whole, *kernels, into);
          Finished found = halves_finished(hurt, *kernels, into);
          const bool shows = !std::isfinite(found.lse[row]) || !std::all_of(found.out.begin() + begin, found.out.begin() + end,
                                                                            [](float x) { return std::isfinite(x); });
          CHECK((shows || !std::isnan(with)));
          std::copy(expected.out.begin() + begin, expected.out.begin() + end, found.out.begin() + begin);
          found.lse[row] = expected.lse[row];
          CHECK(same_bits(expected.out, found.out));
          CHECK(same_bits(expected.lse, found.lse));
        }
      }
    }
  }
}

}  // namespace gyre::testing
