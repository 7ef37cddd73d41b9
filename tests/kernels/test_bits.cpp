// The bits of a row depend on its units and their order alone.
#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/attend_case.hpp"
#include "kernels/shapes.hpp"
#include "support/catch.hpp"

namespace gyre::testing {
namespace {

std::vector<float> bits_of(AttendCase& attend, const KernelTable& kernels, int threads, int strips_per_block) {
  attend.clear();
  attend.run(kernels, threads, strips_per_block);
  return attend.partial_bits();
}

}  // namespace

TEST_CASE("threads and strips per block change no bit") {
  for (const CaseShape& shape : shapes_of_bits()) {
    AttendCase attend(shape);
    for (const KernelTable* kernels : available_kernels()) {
      INFO(kernels->name << ": " << shape.text());
      const std::vector<float> expected = bits_of(attend, *kernels, 1, 0);
      bool same = true;
      for (const int threads : {1, 2, 3}) {
        for (const int strips : {1, 2, 3, 4}) same = same && same_bits(expected, bits_of(attend, *kernels, threads, strips));
      }
      CHECK(same);
    }
  }
}

TEST_CASE("a few rows alone have the bits that they have among others") {
  for (CaseShape shape : shapes_of_bits()) {
    for (const int tokens : {1, 2, 3, 8}) {
      if (tokens * shape.group > kMostFewRows) continue;
      shape.query_unit = tokens, shape.seed += 100;
      shape.type = std::array{Type::f32, Type::bf16, Type::f16}[shape.seed % 3];
      AttendCase attend(shape);
      for (const KernelTable* kernels : available_kernels()) {
        INFO(kernels->name << ": " << shape.text());
        const std::vector<float> among_others = bits_of(attend, *kernels, 1, 2);
        CHECK(same_bits(among_others, bits_of(attend, *kernels, 1, 1)));
      }
    }
  }
}

TEST_CASE("splitting the keys over several attends changes no bit") {
  for (const CaseShape& shape : shapes_of_bits()) {
    AttendCase attend(shape);
    Team team(1);
    for (const KernelTable* kernels : available_kernels()) {
      INFO(kernels->name << ": " << shape.text());
      const std::vector<float> expected = bits_of(attend, *kernels, 1, 0);
      attend.clear();
      const auto scratch = std::make_shared<AttendScratch>(1);
      for (int unit = 0; unit < attend.key_units().count(); unit += 2) {
        std::vector<int> units{unit};
        if (unit + 1 < attend.key_units().count()) units.push_back(unit + 1);
        Attend(attend.work(every_unit(attend.query_units()), units), *kernels, 1, 0, scratch).run(team, [] {});
      }
      CHECK(same_bits(expected, attend.partial_bits()));
    }
  }
}

TEST_CASE("which query cells sit together changes no bit") {
  for (const CaseShape& shape : shapes_of_bits()) {
    AttendCase attend(shape);
    Team team(1);
    for (const KernelTable* kernels : available_kernels()) {
      INFO(kernels->name << ": " << shape.text());
      const std::vector<float> expected = bits_of(attend, *kernels, 1, 0);
      attend.clear();
      std::vector<int> some[2];  // every third, and the others
      for (const int unit : every_unit(attend.query_units())) some[unit % 3 == 0].push_back(unit);
      for (const std::vector<int>& units : some) {
        Attend(attend.work(units, every_unit(attend.key_units())), *kernels, 1, 4).run(team, [] {});
      }
      CHECK(same_bits(expected, attend.partial_bits()));
    }
  }
}

TEST_CASE("heads may have different query and key units, and their rows have the same bits") {
  const auto keep = [](auto& cells, std::size_t begin, std::size_t end) {
    cells = {cells.begin() + static_cast<std::ptrdiff_t>(std::min(begin, cells.size())),
             cells.begin() + static_cast<std::ptrdiff_t>(std::min(end, cells.size()))};
  };
  for (CaseShape shape : shapes_of_bits()) {
    shape.key_heads = 3, shape.mask = shape.mask.find("drawn") != std::string::npos ? "strided(3) | window(2)" : shape.mask;
    for (const std::int64_t unit : {shape.query_unit, std::int64_t{16} / shape.group}) {  // the latter: few rows
      shape.query_unit = unit, shape.query_tokens = std::min<std::int64_t>(shape.query_tokens, 9 * unit);
      AttendCase attend(shape);
      for (const KernelTable* kernels : available_kernels()) {
        for (const int threads : {1, 2}) {
          INFO(kernels->name << ", threads " << threads << ": " << shape.text());
          const std::vector<float> expected = bits_of(attend, *kernels, threads, 0);
          attend.clear();
          // Head 0: the first three units of queries, then the others. Head 1: all at once, over the keys in two parts. Head 2:
          // nothing, then everything.
          AttendWork first = attend.work(), second = attend.work();
          keep(first.heads[0].queries, 0, 3), keep(second.heads[0].queries, 3, 99);
          keep(first.heads[1].keys, 0, 2), keep(second.heads[1].keys, 2, 99);
          keep(first.heads[2].queries, 0, 0);
          Team team(threads);
          for (AttendWork* work : {&first, &second}) Attend(std::move(*work), *kernels, threads).run(team, [] {});
          CHECK(same_bits(expected, attend.partial_bits()));
        }
      }
    }
  }
}

TEST_CASE("keys that a row does not see change no bit of it") {
  for (const KernelTable* kernels : available_kernels()) {
    // The rows of tokens 100..147 see keys 0..147 alone, whether the keys behind them are there or not.
    CaseShape shape{.head_dim = 32,
                    .value_dim = 16,
                    .query_tokens = 48,
                    .key_tokens = 192,
                    .query_unit = 48,
                    .key_unit = 64,
                    .query_offset = 100,
                    .mask = "causal",
                    .size = 30};
    AttendCase attend(shape);
    const std::vector<float> expected = bits_of(attend, *kernels, 1, 3);
    Team team(1);
    for (const int strips : {1, 3}) {
      attend.clear();
      AttendWork work = attend.work();
      const Mask all_but_late = Mask::causal() & Mask::prefix(148);
      work.bands = &all_but_late.bands();
      Attend(work, *kernels, 1, strips).run(team, [] {});
      INFO(kernels->name);
      CHECK(same_bits(expected, attend.partial_bits()));
    }
  }
}

TEST_CASE("a row that sees nothing of a unit keeps its partial bit for bit") {
  for (const KernelTable* kernels : available_kernels()) {
    AttendCase attend({.head_dim = 8,
                       .value_dim = 8,
                       .query_tokens = 16,
                       .key_tokens = 32,
                       .query_unit = 16,
                       .key_unit = 16,
                       .query_offset = 16,
                       .mask = "causal & prefix(16) | window(0) & strided(1)"});
    AttendWork first = attend.work({0}, {0});
    AttendWork second = attend.work({0}, {1});
    Team team(1);
    Attend(first, *kernels, 1).run(team, [] {});
    // A numerator of minus zero is the value that an addition of zero would change.
    float* const numerator = reinterpret_cast<float*>(second.heads[0].queries[0].partial);
    for (int lane = 0; lane < kStrip; ++lane) numerator[lane] = -0.0F;
    const std::vector<float> before = attend.partial_bits();
    const Mask odd = Mask::parse("window(0) & prefix(24)");  // rows 8..15 of the strip see nothing
    second.bands = &odd.bands();
    Attend(second, *kernels, 1).run(team, [] {});
    const std::vector<float> after = attend.partial_bits();
    const std::size_t row = partial_strip_floats(attend.cells()) / kStrip;
    INFO(kernels->name);
    CHECK(std::memcmp(before.data() + 8 * row, after.data() + 8 * row, 8 * row * sizeof(float)) == 0);
    CHECK(std::memcmp(before.data(), after.data(), 8 * row * sizeof(float)) != 0);
  }
}

TEST_CASE("cells of 16 bits that are expanded give the bits that fp32 cells of the same numbers give") {
  for (const CaseShape& shape : shapes_of_bits()) {
    if (shape.type == Type::f32) continue;
    AttendCase narrow(shape);
    AttendCase wide(shape, Type::f32);
    for (const KernelTable* kernels : available_kernels()) {
      if (shape.type == Type::bf16 && kernels->attend_pairs != nullptr) continue;
      INFO(kernels->name << ": " << shape.text());
      CHECK(same_bits(bits_of(narrow, *kernels, 1, 0), bits_of(wide, *kernels, 1, 0)));
    }
  }
}

TEST_CASE("instruction sets with fused multiply-adds agree to the bit") {
  for (const CaseShape& shape : shapes_of_bits()) {
    AttendCase attend(shape);
    std::vector<float> expected;
    for (const KernelTable* kernels : available_kernels()) {
      if (std::string(kernels->name) == "portable") continue;
      if (shape.type == Type::bf16 && kernels->attend_pairs != nullptr) continue;
      const std::vector<float> bits = bits_of(attend, *kernels, 1, 0);
      if (expected.empty()) expected = bits;
      INFO(kernels->name << ": " << shape.text());
      CHECK(same_bits(expected, bits));
    }
  }
}

}  // namespace gyre::testing
