// Inputs at the ends of what floats are: huge, tiny, all equal, ever larger; and those that are none, which stay in their row.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernels/attend_case.hpp"
#include "kernels/bounds.hpp"
#include "kernels/shapes.hpp"
#include "support/catch.hpp"

namespace gyre::testing {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::array kTypes{Type::f32, Type::bf16, Type::f16};

/// Blocks of 1 to 4 strips, and rows few enough for the kernels for few rows.
std::vector<CaseShape> shapes_of_extremes() {
  std::vector<CaseShape> list;
  for (const Type type : kTypes) {
    list.push_back({.head_dim = 40,
                    .value_dim = 24,
                    .group = 2,
                    .query_tokens = 70,
                    .key_tokens = 150,
                    .query_unit = 70,
                    .key_unit = 48,
                    .query_offset = 80,
                    .mask = "causal",
                    .type = type});
    list.push_back({.head_dim = 65,
                    .value_dim = 9,
                    .query_tokens = 5,
                    .key_tokens = 400,
                    .query_unit = 5,
                    .key_unit = 200,
                    .query_offset = 397,
                    .mask = "window(390) | sinks(1)",
                    .type = type});
  }
  return list;
}

void check(const CaseShape& shape, const Element& element, double slack = 1e-38) {
  AttendCase attend(shape, element);
  const std::vector<ReferencePartial> reference = references(attend);
  for (const KernelTable* kernels : available_kernels()) {
    const Worst worst = compare(attend, reference, *kernels, 1, slack);
    INFO(kernels->name << ": " << shape.text());
    CHECK(worst.out_share <= share_limit(*kernels));
    CHECK(worst.lse_share <= share_limit(*kernels));
  }
}

}  // namespace

TEST_CASE("inputs of size 10,000 stay within the bounds, whichever of queries, keys and values they are") {
  const auto times = [](float queries, float keys, float values) {
    return [=](Operand operand, std::int64_t, int, int, float drawn) {
      return drawn * (operand == Operand::query ? queries : (operand == Operand::key ? keys : values));
    };
  };
  for (CaseShape shape : shapes_of_extremes()) {
    shape.size = 1;
    check(shape, times(1e4F, 1e-4F, 1e4F));
    check(shape, times(1e-4F, 1e4F, 1e4F));
    check(shape, times(1e4F, 1, 1e4F));
    check(shape, times(1e4F, 1e4F, 1e4F));  // scores of 1e8: one key takes all
  }
}

TEST_CASE("a row whose maximum moves with every key, up or down, stays within the bounds") {
  for (const CaseShape& shape : shapes_of_extremes()) {
    for (const float step : {0.05F, 3.0F, 100.0F, -0.05F, -3.0F, -100.0F}) {
      INFO("steps of " << step);
      // Scores are the first channel's product and a little.
      check(shape, [&](Operand operand, std::int64_t token, int, int channel, float drawn) {
        if (operand == Operand::value) return drawn;
        if (channel > 0) return 0.1F * drawn;
        return operand == Operand::query ? std::sqrt(static_cast<float>(shape.head_dim)) : step * static_cast<float>(token);
      });
    }
  }
}

TEST_CASE("equal scores of any size average the values") {
  for (const CaseShape& shape : shapes_of_extremes()) {
    for (const float query : {0.0F, 1.0F, -30.0F, 1000.0F}) {
      INFO("queries of " << query);
      check(shape, [&](Operand operand, std::int64_t, int, int, float drawn) {
        return operand == Operand::value ? drawn : (operand == Operand::query ? query : 0.75F);
      });
    }
  }
}

TEST_CASE("a thousand units of equal values stay within the bounds, which sums without compensation leave") {
  for (const std::int64_t rows : {5, 50}) {
    CaseShape shape{.head_dim = 4, .value_dim = 8, .query_tokens = rows, .key_tokens = 16384, .query_unit = rows, .key_unit = 16};
    check(shape, [](Operand operand, std::int64_t, int, int, float) { return operand == Operand::value ? 0.1F : 0.0F; });
  }
}

TEST_CASE("denormals are numbers like any other, but where pairs of bf16 are multiplied") {
  for (const CaseShape& shape : shapes_of_extremes()) {
    const float tiny = shape.type == Type::f16 ? 0x1p-20F : 0x1p-140F;
    for (const Operand denormal : {Operand::query, Operand::key, Operand::value}) {
      const Element element = [&](Operand operand, std::int64_t, int, int, float drawn) {
        return operand == denormal ? drawn * tiny : drawn;
      };
      AttendCase attend(shape, element);
      const std::vector<ReferencePartial> reference = references(attend);
      for (const KernelTable* kernels : available_kernels()) {
        INFO(kernels->name << ": " << shape.text());
        const double lost = rounds_weights(shape, *kernels) ? 1e-38 : static_cast<double>(shape.key_tokens) * 0x1p-149;
        const Worst worst = compare(attend, reference, *kernels, 1, lost);
        CHECK(worst.out_share <= share_limit(*kernels));
        CHECK(worst.lse_share <= share_limit(*kernels));
      }
    }
  }
}

TEST_CASE("which zero an input is changes no bit but the sign of a zero") {
  for (const CaseShape& shape : shapes_of_extremes()) {
    const auto finished_with = [&](float zero, const KernelTable& kernels) {
      AttendCase attend(shape, [&](Operand operand, std::int64_t token, int, int channel, float drawn) {
        if (operand == Operand::value && channel == 0) return zero;
        return (token + channel + static_cast<int>(operand)) % 3 == 0 ? zero : drawn;
      });
      attend.run(kernels);
      return attend.finish();
    };
    for (const KernelTable* kernels : available_kernels()) {
      INFO(kernels->name << ": " << shape.text());
      const Finished plus = finished_with(0.0F, *kernels), minus = finished_with(-0.0F, *kernels);
      CHECK(plus.out == minus.out);  // where 0 and -0 are equal
      CHECK(same_bits(plus.lse, minus.lse));
      bool zero = true;
      for (std::size_t at = 0; at < plus.out.size(); at += shape.value_dim) zero = zero && plus.out[at] == 0;
      CHECK(zero);
    }
  }
}

TEST_CASE("a row that sees one key has its value, and its score as log-sum-exp, whatever the score") {
  for (CaseShape shape : shapes_of_extremes()) {
    for (const char* mask : {"window(0)", "prefix(1)"}) {
      for (const double size : {1e-3, 1.5, 100.0}) {
        shape.mask = mask, shape.size = size;
        check(shape, {});
      }
    }
  }
}

namespace {

/// A query row that is spoiled, in one channel or in all.
struct Spoiled {
  std::int64_t token = 0;
  int head = 0;
  int channel = -1;  // -1: all
  float with = kNan;
};

Element spoiling(const Spoiled& spoiled) {
  return [=](Operand operand, std::int64_t token, int head, int channel, float drawn) {
    const bool row = operand == Operand::query && token == spoiled.token && head == spoiled.head;
    return row && (spoiled.channel < 0 || channel == spoiled.channel) ? spoiled.with : drawn;
  };
}

/// Whether the partials of all rows but the spoiled one are the same to the bit.
bool others_are_the_same(const AttendCase& attend, const Spoiled& spoiled, std::vector<float> a, std::vector<float> b) {
  const std::size_t floats = partial_strip_floats(attend.cells()) / kStrip;
  const int group = attend.shape().group;
  std::size_t row = 0;  // as partial_bits has them
  for (int unit = 0; unit < attend.query_units().count(); ++unit) {
    const Range range = attend.query_units().range(unit);
    for (int key_head = 0; key_head < attend.shape().key_heads; ++key_head) {
      for (std::int64_t token = range.begin; token < range.end; ++token) {
        for (int head = key_head * group; head < (key_head + 1) * group; ++head, ++row) {
          if (token != spoiled.token || head != spoiled.head) continue;
          std::fill_n(a.begin() + static_cast<std::ptrdiff_t>(row * floats), floats, 0.0F);
          std::fill_n(b.begin() + static_cast<std::ptrdiff_t>(row * floats), floats, 0.0F);
        }
      }
    }
  }
  return same_bits(a, b);
}

/// Whether a row's result shows that it is none.
bool shows(const AttendCase& attend, const Spoiled& spoiled) {
  const Finished finished = attend.finish();
  const std::size_t row = static_cast<std::size_t>(spoiled.token) * attend.query_heads() + spoiled.head;
  const auto begin = finished.out.begin() + static_cast<std::ptrdiff_t>(row) * attend.shape().value_dim;
  return !std::isfinite(finished.lse[row]) ||
         !std::all_of(begin, begin + attend.shape().value_dim, [](float x) { return std::isfinite(x); });
}

void check_confined(const CaseShape& shape, const Spoiled& spoiled) {
  AttendCase whole(shape), hurt(shape, spoiling(spoiled));
  for (const KernelTable* kernels : available_kernels()) {
    for (const int strips : {1, 2, 4}) {
      INFO(kernels->name << ", blocks of " << strips << " strips: " << shape.text() << ", token " << spoiled.token << ", head "
                         << spoiled.head << ", channel " << spoiled.channel << " " << spoiled.with);
      whole.clear(), hurt.clear();
      whole.run(*kernels, 1, strips), hurt.run(*kernels, 1, strips);
      CHECK(others_are_the_same(whole, spoiled, whole.partial_bits(), hurt.partial_bits()));
      if (std::isnan(spoiled.with)) CHECK(shows(hurt, spoiled));
    }
  }
}

}  // namespace

TEST_CASE("a query row that is NaN or infinite spoils no other row, among many or few") {
  std::uint64_t seed = 1;
  for (const Type type : kTypes) {
    for (const float with : {kNan, kInfinity, -kInfinity}) {
      for (const double softcap : {0.0, 5.0}) {
        for (const std::int64_t unit : {1, 2, 3, 5, 8, 40}) {  // few rows, and blocks of many
          CaseShape shape{.head_dim = 33,
                          .value_dim = 16,
                          .group = unit < 5 ? 2 : 1,
                          .key_heads = 2,
                          .query_tokens = 40,
                          .key_tokens = 90,
                          .query_unit = unit,
                          .key_unit = 40,
                          .query_offset = 50};
          shape.mask = seed % 2 == 0 ? "causal" : "full";
          shape.softcap = softcap, shape.type = type, shape.seed = seed++;
          const auto head = static_cast<int>(seed % static_cast<std::uint64_t>(shape.group * shape.key_heads));
          check_confined(shape,
                         {static_cast<std::int64_t>(seed % 40), head, seed % 3 == 0 ? -1 : static_cast<int>(seed % 33), with});
        }
      }
    }
  }
}

}  // namespace gyre::testing
