// What travels backward: rows that ask for gradients, and shares of gradients on their way to the ranks whose rows they are of.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "kernels/backward_case.hpp"
#include "kernels/gradient.hpp"
#include "kernels/integrity.hpp"
#include "kernels/pack.hpp"
#include "kernels/partial.hpp"
#include "kernels/shapes.hpp"
#include "support/catch.hpp"

namespace gyre::testing {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// Rows of which only those from kFirst to kFirst + kTokens, of the query heads of key/value head 1, are numbers.
struct AskingRows {
  static constexpr std::int64_t kFirst = 2, kTokens = 13, kAll = 18;
  static constexpr int kHeads = 6, kHead = 1, kGroup = 3;
  std::vector<float> queries, grad_out, out, lse;

  explicit AskingRows(const CellShape& shape) {
    std::mt19937_64 random(3);
    std::normal_distribution<float> normal;
    const auto fill = [&](std::vector<float>& rows, int dim) {
      for (std::int64_t token = 0; token < kAll; ++token) {
        for (int head = 0; head < kHeads; ++head) {
          const bool asked = token >= kFirst && token < kFirst + kTokens && head / kGroup == kHead;
          for (int channel = 0; channel < dim; ++channel) rows.push_back(asked ? normal(random) : kNan);
        }
      }
    };
    fill(queries, shape.head_dim), fill(grad_out, shape.value_dim), fill(out, shape.value_dim), fill(lse, 1);
  }
  static Rows<const float> view(const std::vector<float>& rows, int dim) { return {rows.data(), kAll, kHeads, dim}; }
};

/// The share of one gradient into another of the same rows.
void pass_on(const KernelTable& kernels, Role role, const CellShape& shape, std::int64_t tokens, const std::byte* from,
             std::byte* into) {
  const Buffer share(cell_bytes(role == Role::grad_query ? Role::grad_query_share : Role::grad_key_value_share, shape, tokens));
  share.fill(kNan);
  settle_gradient(role, shape, tokens, from, share.data());
  add_share(kernels, role, shape, tokens, share.data(), into);
}

/// All gradients of one case into those of another.
void pass_on(const KernelTable& kernels, const BackwardCase& from, const BackwardCase& into) {
  const AttendBackwardWork theirs = from.work(), mine = into.work();
  for (std::size_t head = 0; head < theirs.heads.size(); ++head) {
    for (std::size_t k = 0; k < theirs.heads[head].queries.size(); ++k) {
      const BackwardQueryCell &cell = theirs.heads[head].queries[k], &other = mine.heads[head].queries[k];
      pass_on(kernels, Role::grad_query, theirs.shape, cell.positions.size(), cell.grad_query, other.grad_query);
    }
    for (std::size_t k = 0; k < theirs.heads[head].keys.size(); ++k) {
      const BackwardKeyCell &cell = theirs.heads[head].keys[k], &other = mine.heads[head].keys[k];
      pass_on(kernels, Role::grad_key_value, theirs.shape, cell.positions.size(), cell.gradient, other.gradient);
    }
  }
}

/// From shares of the gradients.
FinishedGradients finish_shares(const BackwardCase& backward) {
  const CaseShape& of = backward.shape();
  const int query_heads = of.group * of.key_heads;
  FinishedGradients finished{.query = std::vector<float>(of.query_tokens * query_heads * of.head_dim, kNan),
                             .key = std::vector<float>(of.key_tokens * of.key_heads * of.head_dim, kNan),
                             .value = std::vector<float>(of.key_tokens * of.key_heads * of.value_dim, kNan)};
  const Rows<float> query(finished.query.data(), of.query_tokens, query_heads, of.head_dim);
  const Rows<float> key(finished.key.data(), of.key_tokens, of.key_heads, of.head_dim);
  const Rows<float> value(finished.value.data(), of.key_tokens, of.key_heads, of.value_dim);
  const AttendBackwardWork work = backward.work();
  for (int head = 0; head < of.key_heads; ++head) {
    for (int unit = 0; unit < backward.forward().query_units().count(); ++unit) {
      const Range range = backward.forward().query_units().range(unit);
      const Buffer share(cell_bytes(Role::grad_query_share, work.shape, range.size()));
      settle_gradient(Role::grad_query, work.shape, range.size(), work.heads[head].queries[unit].grad_query, share.data());
      finish_grad_query_share(work.shape, share.data(), range.size(), head, query, range.begin);
    }
    for (int unit = 0; unit < backward.forward().key_units().count(); ++unit) {
      const Range range = backward.forward().key_units().range(unit);
      const Buffer share(cell_bytes(Role::grad_key_value_share, work.shape, range.size()));
      settle_gradient(Role::grad_key_value, work.shape, range.size(), work.heads[head].keys[unit].gradient, share.data());
      finish_grad_key_value_share(work.shape, share.data(), range.size(), head, key, value, range.begin);
    }
  }
  return finished;
}

void check_same(const FinishedGradients& expected, const FinishedGradients& found) {
  CHECK(same_bits(expected.query, found.query));
  CHECK(same_bits(expected.key, found.key));
  CHECK(same_bits(expected.value, found.value));
}

/// The worst share of its bound.
double worst(const std::vector<float>& found, const ReferenceGradient& reference) {
  double worst = 0;
  for (std::size_t k = 0; k < found.size(); ++k) {
    const double share = std::abs(static_cast<double>(found[k]) - reference.value[k]) / (reference.bound[k] + 1e-36);
    worst = share <= worst ? worst : std::isnan(share) ? HUGE_VAL : share;
  }
  return worst;
}

/// One of so many parts that units are dealt out to.
std::vector<int> dealt(const Units& units, int part, int parts) {
  std::vector<int> mine;
  for (int unit = part; unit < units.count(); unit += parts) mine.push_back(unit);
  return mine;
}

}  // namespace

TEST_CASE("rows that ask for gradients are packed as queries, gradients of outputs and row statistics, of no other rows") {
  for (const Type type : {Type::f32, Type::bf16, Type::f16}) {
    const CellShape shape{
        .head_dim = 9, .value_dim = 20, .group = AskingRows::kGroup, .type = type, .integrity = Integrity::checked};
    const AskingRows rows(shape);
    const auto queries = AskingRows::view(rows.queries, shape.head_dim);
    const auto grad_out = AskingRows::view(rows.grad_out, shape.value_dim), out = AskingRows::view(rows.out, shape.value_dim);
    constexpr std::int64_t kTokens = AskingRows::kTokens;
    const Buffer cell(cell_bytes(Role::backward_query, shape, kTokens)), expected(cell.bytes());
    std::memset(cell.data(), 0x33, cell.bytes()), std::memset(expected.data(), 0x33, cell.bytes());
    pack_backward_query(shape, queries, grad_out, out, rows.lse.data(), AskingRows::kFirst, kTokens, AskingRows::kHead,
                        cell.data());
    std::byte* const statistics = expected.data() + row_statistics_offset(shape, kTokens);
    pack_query(shape, queries, AskingRows::kFirst, kTokens, AskingRows::kHead, expected.data());
    pack_grad_out(shape, grad_out, AskingRows::kFirst, kTokens, AskingRows::kHead,
                  expected.data() + grad_out_offset(shape, kTokens));
    pack_row_statistics(shape, grad_out, out, rows.lse.data(), AskingRows::kFirst, kTokens, AskingRows::kHead, statistics);
    CHECK(std::memcmp(cell.data(), expected.data(), cell.bytes()) == 0);
    CHECK(std::all_of(cell.data() + cell.bytes() - kTrailerBytes, cell.data() + cell.bytes(),
                      [](std::byte byte) { return byte == std::byte{0x33}; }));
    if (type != Type::f32) continue;
    CHECK(std::none_of(cell.floats(), cell.floats() + (cell.bytes() - kTrailerBytes) / 4, [](float x) { return std::isnan(x); }));
    const auto* const last = reinterpret_cast<const float*>(statistics) + kTokens * shape.group / kStrip * 2 * kStrip;
    for (std::int64_t lane = kTokens * shape.group % kStrip; lane < kStrip; ++lane) {
      CHECK(last[lane] == kBlindLogSumExp);
      CHECK(last[kStrip + lane] == 0);
    }
  }
}

TEST_CASE("a gradient that is settled, also if its share is then added to a clear one, finishes with the gradient's bits") {
  std::vector<CaseShape> shapes = shapes_of_bits();
  for (std::uint64_t seed = 1; seed <= 10; ++seed) shapes.push_back(random_shape(6000 + seed));
  for (const CaseShape& shape : shapes) {
    BackwardCase backward(shape), clear(shape);
    for (const KernelTable* kernels : available_kernels()) {
      INFO(kernels->name << ": " << shape.text());
      backward.clear(), clear.clear();
      backward.run(*kernels);
      const FinishedGradients expected = backward.finish();
      check_same(expected, finish_shares(backward));
      pass_on(*kernels, backward, clear);
      check_same(expected, clear.finish());
    }
  }
}

TEST_CASE("gradients of parts of the rows and keys stay within the bounds, passed on from part to part as shares") {
  constexpr int kRows = 2, kKeys = 2;
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    CaseShape shape = random_shape(7000 + seed);
    shape.query_unit = 1 + static_cast<std::int64_t>(seed) * 3, shape.key_unit = 20;
    std::vector<BackwardCase> parts;
    for (int part = 0; part < kRows * kKeys; ++part) parts.emplace_back(shape);
    for (const KernelTable* kernels : available_kernels()) {
      INFO(kernels->name << ": " << shape.text());
      for (int part = 0; part < kRows * kKeys; ++part) {
        parts[part].clear();
        Team team(1);
        AttendBackward(parts[part].work(dealt(parts[part].forward().query_units(), part % kRows, kRows),
                                        dealt(parts[part].forward().key_units(), part / kRows, kKeys)),
                       *kernels, 1)
            .run(team, [] {});
        if (part > 0) pass_on(*kernels, parts[part - 1], parts[part]);
      }
      const FinishedGradients found = parts.back().finish();
      const ReferenceGradients& reference = parts.back().reference(*kernels);
      const double limit = std::string(kernels->name) == "portable" ? 1.42 : 1;
      CHECK(worst(found.query, reference.query) <= limit);
      CHECK(worst(found.key, reference.key) <= limit);
      CHECK(worst(found.value, reference.value) <= limit);
    }
  }
}

TEST_CASE("hundreds of shares add up as if each of them was rounded once and nothing else, with any kernels to the same bits") {
  const CellShape shape{.head_dim = 9, .value_dim = 33, .group = 2};
  constexpr std::int64_t kTokens = 37, kShares = 400;
  std::mt19937_64 random(5);
  std::normal_distribution<float> normal;
  for (const Role role : {Role::grad_query, Role::grad_key_value}) {
    const std::int64_t bytes = cell_bytes(role, shape, kTokens), numbers = bytes / 8;
    std::vector<Buffer> gradients;
    for (std::size_t k = 0; k < available_kernels().size(); ++k) {
      clear_gradient(role, shape, kTokens, gradients.emplace_back(bytes).data());
    }
    std::vector<double> exact(numbers);
    for (int add = 0; add < kShares; ++add) {
      const Buffer share(numbers * 4);
      for (std::int64_t i = 0; i < numbers; ++i) {
        share.floats()[i] = 1 + std::abs(normal(random));
        exact[i] += static_cast<double>(share.floats()[i]);
      }
      for (std::size_t k = 0; k < gradients.size(); ++k) {
        add_share(*available_kernels()[k], role, shape, kTokens, share.data(), gradients[k].data());
      }
    }
    // Roundings of random sign are a twentieth of what they could come to. Without compensation totals are off by twenty times
    // that.
    bool right = true;
    for (std::int64_t i = 0; i < numbers; ++i) {
      const float* const total = gradients[0].floats() + gradient_at(i);
      right = right &&
              std::abs(static_cast<double>(total[0]) + static_cast<double>(total[kStrip]) - exact[i]) <= 0.2 * 0x1p-24 * exact[i];
    }
    CHECK(right);
    for (const Buffer& other : gradients) CHECK(std::memcmp(other.data(), gradients[0].data(), bytes) == 0);
  }
}

TEST_CASE("settling leaves a trailer alone, and what travels backward verifies until one of its bits has flipped") {
  const CellShape shape{.head_dim = 5, .value_dim = 3, .group = 2, .integrity = Integrity::checked};
  constexpr std::int64_t kTokens = 11;
  for (const auto& [role, travels] : {std::pair{Role::grad_query, Role::grad_query_share},
                                      {Role::grad_key_value, Role::grad_key_value_share},
                                      {Role::backward_query, Role::backward_query}}) {
    const Buffer cell(cell_bytes(travels, shape, kTokens));
    const std::span<std::byte> bytes(cell.data(), cell.bytes());
    std::memset(cell.data(), 0x33, cell.bytes());
    if (role != travels) {
      const Buffer gradient(cell_bytes(role, shape, kTokens));
      clear_gradient(role, shape, kTokens, gradient.data());
      settle_gradient(role, shape, kTokens, gradient.data(), cell.data());
      const auto content = bytes.first(bytes.size() - kTrailerBytes);
      CHECK(std::all_of(content.begin(), content.end(), [](std::byte byte) { return byte == std::byte{}; }));
      CHECK(std::all_of(bytes.end() - kTrailerBytes, bytes.end(), [](std::byte byte) { return byte == std::byte{0x33}; }));
    }
    const CellName name{.role = travels, .unit = 3, .head = 1};
    seal_cell(name, bytes);
    CHECK(verify_cell(name, bytes));
    for (const std::size_t at : {std::size_t{0}, bytes.size() - kTrailerBytes - 1, bytes.size() - 1}) {
      bytes[at] ^= std::byte{4};
      CHECK_FALSE(verify_cell(name, bytes));
      bytes[at] ^= std::byte{4};
    }
    CHECK_FALSE(verify_cell({.role = Role::result, .unit = 3, .head = 1}, bytes));
  }
}

}  // namespace gyre::testing
