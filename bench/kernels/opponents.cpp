#include "bench/kernels/opponents.hpp"

#include <algorithm>
#include <string>

namespace gyre::bench {
namespace {

using Make = std::function<std::unique_ptr<Subject>()>;

[[maybe_unused]] void add(std::vector<Case>& cases, const std::string& library, const Shape& shape, const std::string& variant,
                          const Make& make) {
  cases.push_back({.name = "against/" + library + '/' + name_of(shape).substr(to_string(shape.pass).size() + 1) + '/' + variant,
                   .shape = shape,
                   .beside = Beside{.label = library, .make = [make](Team&) { return make(); }}});
}

/// Blocks such as a kernel takes, and the whole matrix, which a library may cut as it likes.
[[maybe_unused]] std::vector<Block> blocks(std::int64_t tokens) {
  return {{std::min<std::int64_t>(192, tokens), std::min<std::int64_t>(512, tokens)}, {tokens, tokens}};
}

[[maybe_unused]] std::string name_of(Block block) {
  return "block=" + std::to_string(block.queries) + 'x' + std::to_string(block.keys);
}

}  // namespace

std::vector<Case> opponent_cases([[maybe_unused]] std::int64_t tokens, [[maybe_unused]] const std::string& isa) {
  std::vector<Case> cases;
  for ([[maybe_unused]] const int dim : {64, 128}) {
#if GYRE_BENCH_ONEDNN || GYRE_BENCH_OPENBLAS
    for (const Block block : blocks(tokens)) {
      const Shape f32{.keys = tokens, .head_dim = dim, .isa = isa};
#if GYRE_BENCH_ONEDNN
      const Shape bf16{.type = Type::bf16, .keys = tokens, .head_dim = dim, .isa = isa};
      add(cases, "onednn", f32, name_of(block), [=] { return make_onednn(f32, block); });
      add(cases, "onednn", bf16, name_of(block), [=] { return make_onednn(bf16, block); });
#endif
#if GYRE_BENCH_OPENBLAS
      add(cases, "openblas", f32, name_of(block), [=] { return make_openblas(f32, block); });
#endif
    }
#endif
#if GYRE_BENCH_GGML
    for (const char* const mask : {"full", "causal"}) {
      const Shape shape{.mask = mask, .keys = tokens, .head_dim = dim, .isa = isa};
      for (const Type type : {Type::f32, Type::f16}) {
        add(cases, "ggml", shape, "kv=" + to_string(type), [=] { return make_ggml(shape, type); });
      }
    }
#endif
  }
  return cases;
}

std::vector<std::pair<std::string, std::string>> opponent_versions() {
  return {
#if GYRE_BENCH_ONEDNN
    {"onednn", onednn_version()},
#endif
#if GYRE_BENCH_OPENBLAS
        {"openblas", openblas_version()},
#endif
#if GYRE_BENCH_GGML
        {"ggml", ggml_version()},
#endif
  };
}

}  // namespace gyre::bench
