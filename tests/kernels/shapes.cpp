#include "kernels/shapes.hpp"

#include <cstring>
#include <random>

namespace gyre::testing {
namespace {

template <class T>
T pick(std::mt19937_64& random, std::initializer_list<T> choices) {
  return choices.begin()[random() % choices.size()];
}

/// Where residue order may be: with columns nothing would be gathered then.
void order_by_residues(CaseShape& shape) {
  const bool as_tokens_come = shape.alibi || shape.dropout > 0 || shape.mask.find("columns") != std::string::npos;
  if (!as_tokens_come) shape.stride = 3;
}

}  // namespace

CaseShape random_shape(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  CaseShape shape;
  shape.seed = seed;
  shape.head_dim = pick(random, {1, 3, 8, 16, 40, 64, 80, 128, 192, 256, 576});
  shape.value_dim = pick(random, {1, 3, 8, 16, 40, 64, 80, 128, 192, 256, 576});
  shape.group = pick(random, {1, 2, 3, 4, 8});
  shape.key_heads = pick(random, {1, 1, 2, 3});
  shape.query_tokens = 1 + static_cast<std::int64_t>(random() % 130);
  shape.key_tokens = 1 + static_cast<std::int64_t>(random() % 300);
  shape.query_unit = pick<std::int64_t>(random, {1 + static_cast<std::int64_t>(random() % 130), 16, 64, 512});
  shape.key_unit = pick<std::int64_t>(random, {1 + static_cast<std::int64_t>(random() % 130), 16, 64, 512});
  shape.query_offset = pick<std::int64_t>(random, {0, shape.key_tokens - shape.query_tokens, -40, 17});
  shape.type = pick(random, {Type::f32, Type::bf16, Type::f16});
  shape.softcap = pick(random, {0.0, 0.0, 0.3, 5.0, 50.0});
  const std::int64_t cut = static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(shape.key_tokens));
  const std::string documents =
      cut == 0 ? "full" : "documents(" + std::to_string(cut) + "," + std::to_string(shape.key_tokens - cut) + ")";
  shape.mask =
      pick<std::string>(random, {"full", "causal", "window(20)", "window(9,30)", "window(30) | sinks(4)", "causal & prefix(50)",
                                 "dilated(9,5)", "strided(7) & causal", documents, documents + " & causal",
                                 "(" + documents + " | prefix(3)) & causal", "window(1) | strided(16)"});
  if (seed / 7 % 2 == 1) shape.rows = RowOrder::by_head;
  shape.alibi = seed % 3 == 1, shape.sinks = seed % 4 == 2, shape.dropout = seed % 5 == 3 ? 0.3 : 0.0;
  if (!shape.alibi && shape.dropout == 0) shape.stride = pick<std::int64_t>(random, {1, 2, 3, 5, 7, 16});
  if (seed % 7 == 0) shape.mask = "blocks(drawn 3 1 9 20,16)";
  if (seed % 7 == 1) shape.mask = "blocks(drawn 4 " + std::to_string(shape.group * shape.key_heads) + " 40 90,3) & causal";
  if (seed % 7 == 2) shape.mask = "(columns(drawn 9 1 1 300) | window(7)) & causal";
  if (seed % 7 == 3) {
    shape.mask = "columns(drawn 27 " + std::to_string(shape.group * shape.key_heads) + " 1 300) | diagonals(drawn 57 1 1 60,5)";
  }
  if (seed % 7 == 4) {  // other columns for the second 130 queries, in the middle of blocks
    shape.query_tokens += 130;
    shape.mask = "(blocks(drawn 9 1 2 300,130,1) | window(7)) & causal";
  }
  return shape;
}

std::vector<CaseShape> shapes_of_bits() {
  const auto for_heads = [](std::string mask, int heads) {
    const std::size_t at = mask.find("HEADS");
    return at == std::string::npos ? mask : mask.replace(at, 5, std::to_string(heads));
  };
  std::vector<CaseShape> list;
  std::uint64_t seed = 1;
  constexpr Type kTypes[] = {Type::f32, Type::bf16, Type::f16};
  for (const char* mask :
       {"full", "causal", "window(33) | sinks(5)", "documents(90,1,209) & causal", "dilated(40,3)", "blocks(drawn 7 1 12 8,40)",
        "blocks(drawn 8 HEADS 30 30,11) & causal | blocks(drawn 9 1 9 9,33) & strided(3)",
        "(columns(drawn 9 1 1 300) | window(20)) & causal", "columns(drawn 9 1 1 300)",
        "columns(drawn 27 1 1 300) & causal | diagonals(drawn 57 HEADS 1 60,5)",
        "(blocks(drawn 6 HEADS 3 300,130,1) | window(20)) & causal",
        "blocks(drawn 9 1 3 300,128,1) | diagonals(drawn 57 1 1 60,5)"}) {
    for (const double size : {1.5, 30.0}) {
      list.push_back({.head_dim = 40,
                      .value_dim = 24,
                      .group = 1,
                      .key_heads = 2,
                      .query_tokens = 300,
                      .key_tokens = 300,
                      .query_unit = 64,
                      .key_unit = 48,
                      .query_offset = -5,
                      .mask = for_heads(mask, 2),
                      .size = size,
                      .softcap = seed % 4 == 0 ? 20.0 : 0.0,
                      .alibi = seed % 5 < 2,
                      .dropout = seed % 3 == 1 ? 0.25 : 0.0,
                      .type = kTypes[seed % 3],
                      .seed = seed++});
      if (list.back().seed % 2 == 0) order_by_residues(list.back());
      list.push_back({.head_dim = 16,
                      .value_dim = 8,
                      .group = 3,
                      .key_heads = 1,
                      .rows = size == 1.5 ? RowOrder::by_head : RowOrder::by_token,
                      .query_tokens = 151,
                      .key_tokens = 300,
                      .query_unit = 37,
                      .key_unit = 100,
                      .query_offset = 149,
                      .mask = for_heads(mask, 3),
                      .size = size,
                      .softcap = seed % 4 == 0 ? 20.0 : 0.0,
                      .alibi = seed % 5 < 2,
                      .dropout = seed % 3 == 1 ? 0.25 : 0.0,
                      .type = kTypes[seed % 3],
                      .seed = seed++});
      if (list.back().seed % 2 == 0) order_by_residues(list.back());
    }
  }
  return list;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

}  // namespace gyre::testing
