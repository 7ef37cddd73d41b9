#include "bench/kernels/table.hpp"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "bench/kernels/opponents.hpp"
#include "kernels/dispatch.hpp"

namespace gyre::bench {
namespace {

constexpr Type kTypes[] = {Type::f32, Type::bf16, Type::f16};
constexpr Type kFloatAndPairs[] = {Type::f32, Type::bf16};
const char* const kFullAndCausal[] = {"full", "causal"};

Case case_over(const std::string& label, const Shape& shape, const Shape& other) {
  Case with_other = case_of(shape);
  with_other.beside =
      Beside{.label = label, .make = [other](Team& team) { return make_subject(other, team); }, .threads = other.threads};
  return with_other;
}

/// Cases as they come, with what is usual filled in.
class Table {
 public:
  explicit Table(const Usual& usual) : usual_(usual) {}

  void add(const Shape& shape) { insert(case_of(filled(shape))); }
  void add_over_dense(const Shape& shape) { insert(case_over_dense(filled(shape))); }
  void add_over_one_thread(Shape shape) {
    if (shape.isa.empty()) shape.isa = usual_.isa;
    Shape one = shape;
    one.threads = 1;
    insert(case_over("1 thread", shape, one));
  }
  void add_opponents(std::int64_t tokens) {
    for (Case& opponent : opponent_cases(tokens, usual_.isa)) insert(std::move(opponent));
  }
  std::vector<Case> take() { return std::move(cases_); }

 private:
  Shape filled(Shape shape) const {
    if (shape.isa.empty()) shape.isa = usual_.isa;
    if (shape.threads == 1) shape.threads = usual_.threads;
    return shape;
  }
  void insert(Case added) {
    if (names_.insert(added.name).second) cases_.push_back(std::move(added));
  }

  Usual usual_;
  std::vector<Case> cases_;
  std::set<std::string> names_;
};

void add_forward(Table& table, const Sizes& sizes) {
  for (const std::int64_t tokens : {sizes.shorter, sizes.usual, sizes.longer}) {
    for (const int dim : {64, 128}) {
      for (const Type type : kTypes) {
        for (const char* const mask : kFullAndCausal) {
          table.add({.type = type, .mask = mask, .keys = tokens, .head_dim = dim});
        }
      }
    }
  }
  for (const int dim : {64, 128}) {
    for (const Type type : kTypes) {
      table.add({.type = type, .mask = "causal", .keys = sizes.brief, .head_dim = dim, .heads = 8});
    }
  }
}

void add_dims(Table& table, const Sizes& sizes) {
  for (const Type type : kFloatAndPairs) {
    for (const char* const mask : kFullAndCausal) {
      for (const int dim : {80, 96, 192, 256}) {
        table.add({.type = type, .mask = mask, .keys = sizes.usual, .head_dim = dim});
      }
      // Multi-head latent attention as DeepSeek-V2 (2405.04434) has it, its weights absorbed.
      table.add({.type = type, .mask = mask, .keys = sizes.latent, .head_dim = 576, .value_dim = 512, .group = 16});
    }
  }
}

/// Eight documents of uneven lengths, one after the other.
std::string packed(std::int64_t tokens) {
  std::string lengths;
  for (const int sixteenths_of_a_quarter : {16, 4, 8, 2, 12, 1, 6, 15}) {
    if (!lengths.empty()) lengths += ',';
    lengths += std::to_string(tokens * sixteenths_of_a_quarter / 64);
  }
  return "documents(" + lengths + ") & causal";
}

/// Masks that leave out most of what full attention sees.
std::vector<std::pair<std::string, std::string>> sparse_masks(const Sizes& sizes) {  // expression, name
  std::vector<std::pair<std::string, std::string>> masks;
  for (const int times : {1, 2, 4, 8}) {
    const std::int64_t window = times * sizes.window;
    masks.emplace_back("window(" + std::to_string(window - 1) + ")", "window=" + std::to_string(window));
  }
  masks.emplace_back("window(" + std::to_string(sizes.window - 1) + ") | sinks(4)", "window,sinks");
  masks.emplace_back(packed(sizes.sparse), "packed");
  for (const int block : {64, 128, 256}) {
    masks.emplace_back("blocks(0.05," + std::to_string(block) + ") & causal", "blocks=" + std::to_string(block));
  }
  masks.emplace_back("(columns(1000) | diagonals(40,64)) & causal", "columns=1000,diagonals=40");
  masks.emplace_back("(columns(30) | diagonals(100,64)) & causal", "columns=30,diagonals=100");
  masks.emplace_back("columns(1000) & causal", "columns=1000");
  masks.emplace_back("diagonals(40,64)", "diagonals=40");
  masks.emplace_back("slices(64)", "slices");
  masks.emplace_back("dilated(1024,8)", "dilated=1024,8");
  masks.emplace_back("strided(8) & causal", "strided=8");
  masks.emplace_back("strided(64) & causal", "strided=64");
  return masks;
}

void add_sparse(Table& table, const Sizes& sizes) {
  for (const auto& [mask, name] : sparse_masks(sizes)) {
    for (const Type type : kFloatAndPairs) {
      for (const int dim : {64, 128}) {
        table.add_over_dense({.type = type, .mask = mask, .mask_name = name, .keys = sizes.sparse, .head_dim = dim});
      }
    }
  }
}

void add_backward(Table& table, const Sizes& sizes) {
  for (const Type type : kFloatAndPairs) {
    for (const char* const mask : kFullAndCausal) {
      for (const int dim : {64, 128}) {
        table.add({.pass = Pass::backward, .type = type, .mask = mask, .keys = sizes.usual, .head_dim = dim});
      }
    }
  }
}

void add_decode(Table& table, const Sizes& sizes) {
  for (const Type type : kFloatAndPairs) {
    for (const int dim : {64, 128}) {
      for (const int group : {1, 4, 8}) {
        for (const int threads : {1, 2}) {
          table.add({.pass = Pass::decode,
                     .type = type,
                     .keys = sizes.decoded,
                     .queries = 1,
                     .head_dim = dim,
                     .group = group,
                     .threads = threads});
        }
      }
    }
  }
}

void add_avx2(Table& table, const Sizes& sizes) {
  for (const KernelTable* const kernels : available_kernels()) {
    if (kernels->name != std::string("avx2")) continue;
    for (const Pass pass : {Pass::forward, Pass::backward}) {
      for (const char* const mask : kFullAndCausal) {
        for (const int dim : {64, 128}) {
          table.add({.pass = pass, .mask = mask, .keys = sizes.usual, .head_dim = dim, .isa = kernels->name});
        }
      }
    }
  }
}

void add_two_threads(Table& table, const Sizes& sizes) {
  for (const Pass pass : {Pass::forward, Pass::backward}) {
    for (const Type type : kFloatAndPairs) {
      for (const char* const mask : kFullAndCausal) {
        for (const int dim : {64, 128}) {
          table.add_over_one_thread({.pass = pass, .type = type, .mask = mask, .keys = sizes.usual, .head_dim = dim, .threads = 2});
        }
      }
    }
  }
}

}  // namespace

Case case_of(const Shape& shape) {
  return {.name = name_of(shape), .shape = shape};
}

Case case_over_dense(const Shape& shape) {
  Shape dense = shape;
  dense.mask = "full", dense.mask_name.clear();
  dense.keys = std::min<std::int64_t>(dense.keys, 8192), dense.queries = std::min(dense.queries, dense.keys);
  return case_over("dense", shape, dense);
}

std::vector<Case> standard_cases(const Sizes& sizes, const Usual& usual) {
  Table table(usual);
  add_two_threads(table, sizes);
  add_forward(table, sizes);
  add_dims(table, sizes);
  add_sparse(table, sizes);
  add_backward(table, sizes);
  add_decode(table, sizes);
  add_avx2(table, sizes);
  table.add_opponents(sizes.usual);
  return table.take();
}

}  // namespace gyre::bench
