#include "runtime/bindings/python/native_attention.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "comm/agreement.hpp"
#include "runtime/bindings/names.hpp"
#include "runtime/bindings/python/arguments.hpp"
#include "runtime/bindings/python/chosen_pairs.hpp"
#include "runtime/bindings/python/communicator.hpp"
#include "runtime/bindings/python/native_documentation.hpp"
#include "runtime/bindings/python/tensors.hpp"
#include "runtime/mechanism/native_attention.hpp"

namespace nb = nanobind;

namespace gyre::python {
namespace {

/// What forward leaves to backward.
class PythonState {
 public:
  NativeSparseState& state() { return state_; }
  /// After forward: what it selected, of the attention's problem.
  void take_selection(Problem problem) {
    problem.mask = *state_.selection;
    selected_.emplace(std::move(problem));
  }
  /// Throws std::logic_error before that.
  const ChosenPairs& selected() const {
    if (!selected_) throw std::logic_error("a state that forward has not written");
    return *selected_;
  }

 private:
  NativeSparseState state_;
  std::optional<ChosenPairs> selected_;
};

/// Inputs of both passes.
struct NativeInputs {
  Input q, k, v, gates, compressed_k, compressed_v;
};

class PythonNativeAttention {
 public:
  /// problem and options without what `names` and the layout say. Collective.
  PythonNativeAttention(std::shared_ptr<Communicator> communicator, Problem problem, const NativeSparse& sparse, Options options,
                        const NamedChoices& names, const std::optional<Chunks>& chunks);

  nb::tuple forward(nb::handle q, nb::handle k, nb::handle v, nb::handle gates, nb::handle out, nb::handle compressed_k,
                    nb::handle compressed_v);
  nb::tuple backward(nb::handle grad_out, nb::handle q, nb::handle k, nb::handle v, nb::handle gates, nb::handle state,
                     nb::handle dq, nb::handle dk, nb::handle dv, nb::handle dgates, nb::handle compressed_k,
                     nb::handle compressed_v);

  const NativeSparseAttention& attention() const { return *attention_; }
  const std::shared_ptr<Communicator>& communicator() const { return communicator_; }
  std::int64_t tokens() const { return tokens_of(attention_->rows()); }
  std::int64_t compressed_tokens() const { return tokens_of(attention_->compressed_rows()); }

 private:
  Wanted like_queries(const char* name) const {
    return {name, tokens(), problem_.query_heads, problem_.head_dim, "tokens, query heads, head dim"};
  }
  Wanted like_outputs(const char* name) const {
    return {name, tokens(), problem_.query_heads, problem_.value_dim, "tokens, query heads, value dim"};
  }
  Wanted like_keys(const char* name) const {
    return {name, tokens(), problem_.key_heads, problem_.head_dim, "tokens, key heads, head dim"};
  }
  Wanted like_values(const char* name) const {
    return {name, tokens(), problem_.key_heads, problem_.value_dim, "tokens, key heads, value dim"};
  }
  Wanted like_gates(const char* name) const {
    return {name, tokens(), problem_.query_heads, kNativeBranches, "tokens, query heads, 3"};
  }
  Wanted compressed_keys(const char* name) const {
    return {name, compressed_tokens(), problem_.key_heads, problem_.head_dim, "compressed tokens, key heads, head dim"};
  }
  Wanted compressed_values(const char* name) const {
    return {name, compressed_tokens(), problem_.key_heads, problem_.value_dim, "compressed tokens, key heads, value dim"};
  }
  NativeInputs inputs(nb::handle q, nb::handle k, nb::handle v, nb::handle gates, nb::handle compressed_k,
                      nb::handle compressed_v) const;

  std::shared_ptr<Communicator> communicator_;
  std::unique_ptr<NativeSparseAttention> attention_;
  Problem problem_;
  bool given_;  // compressed rows
};

PythonNativeAttention::PythonNativeAttention(std::shared_ptr<Communicator> communicator, Problem problem,
                                             const NativeSparse& sparse, Options options, const NamedChoices& names,
                                             const std::optional<Chunks>& chunks)
    : communicator_(std::move(communicator)), given_(sparse.compression == Compression::given) {
  communicator_->work([&] {
    together(communicator_->transport(), [&] {
      apply(names, problem, options);
      if (chunks) options.partition = PartitionChoice::layout(chunks_of(*chunks));
    });
    options.threads = communicator_->ranks().threads(options.threads);
    attention_ = std::make_unique<NativeSparseAttention>(communicator_->transport(), problem, sparse, options);
  });
  problem_ = std::move(problem);
}

NativeInputs PythonNativeAttention::inputs(nb::handle q, nb::handle k, nb::handle v, nb::handle gates, nb::handle compressed_k,
                                           nb::handle compressed_v) const {
  NativeInputs given{.q = input(q, like_queries("q")),
                     .k = input(k, like_keys("k")),
                     .v = input(v, like_values("v")),
                     .gates = input(gates, like_gates("gates")),
                     .compressed_k = {},
                     .compressed_v = {}};
  if (given_) {
    given.compressed_k = input(compressed_k, compressed_keys("compressed_k"));
    given.compressed_v = input(compressed_v, compressed_values("compressed_v"));
  } else if (!compressed_k.is_none() || !compressed_v.is_none()) {
    throw std::invalid_argument("compressed rows are given, and the attention takes means; make it with compression='given'");
  }
  return given;
}

nb::tuple PythonNativeAttention::forward(nb::handle q, nb::handle k, nb::handle v, nb::handle gates, nb::handle out,
                                         nb::handle compressed_k, nb::handle compressed_v) {
  struct Arguments {
    NativeInputs inputs;
    Output out;
  };
  const Arguments given = prepared(*communicator_, *attention_, [&] {
    Arguments arguments{.inputs = inputs(q, k, v, gates, compressed_k, compressed_v), .out = {}};
    arguments.out = output(out, like_outputs("out"), q, arguments.inputs.q.rows.type);
    return arguments;
  });
  auto state = std::make_shared<PythonState>();
  communicator_->work([&] {
    attention_->forward({.queries = given.inputs.q.rows,
                         .keys = given.inputs.k.rows,
                         .values = given.inputs.v.rows,
                         .gates = given.inputs.gates.rows,
                         .out = given.out.rows,
                         .compressed_keys = given.inputs.compressed_k.rows,
                         .compressed_values = given.inputs.compressed_v.rows},
                        state->state());
    state->take_selection(problem_);
  });
  return nb::make_tuple(given.out.array, nb::cast(state));
}

nb::tuple PythonNativeAttention::backward(nb::handle grad_out, nb::handle q, nb::handle k, nb::handle v, nb::handle gates,
                                          nb::handle state, nb::handle dq, nb::handle dk, nb::handle dv, nb::handle dgates,
                                          nb::handle compressed_k, nb::handle compressed_v) {
  struct Arguments {
    NativeInputs inputs;
    Input grad_out;
    PythonState* state;
    Output dq, dk, dv, dgates, compressed_dk, compressed_dv;
  };
  const Arguments given = prepared(*communicator_, *attention_, [&] {
    Arguments arguments{.inputs = inputs(q, k, v, gates, compressed_k, compressed_v),
                        .grad_out = input(grad_out, like_outputs("grad_out")),
                        .state = nullptr,
                        .dq = {},
                        .dk = {},
                        .dv = {},
                        .dgates = {},
                        .compressed_dk = {},
                        .compressed_dv = {}};
    if (!nb::isinstance<PythonState>(state))
      throw std::invalid_argument("state is not what forward gave; give that of the same call");
    arguments.state = nb::cast<PythonState*>(state);
    const NativeInputs& inputs = arguments.inputs;
    arguments.dq = output(dq, like_queries("dq"), q, inputs.q.rows.type);
    arguments.dk = output(dk, like_keys("dk"), k, inputs.k.rows.type);
    arguments.dv = output(dv, like_values("dv"), v, inputs.v.rows.type);
    arguments.dgates = output(dgates, like_gates("dgates"), gates, inputs.gates.rows.type);
    if (!given_) return arguments;
    arguments.compressed_dk = output(nb::none(), compressed_keys("dk"), compressed_k, inputs.compressed_k.rows.type);
    arguments.compressed_dv = output(nb::none(), compressed_values("dv"), compressed_v, inputs.compressed_v.rows.type);
    return arguments;
  });
  communicator_->work([&] {
    attention_->backward({.queries = given.inputs.q.rows,
                          .keys = given.inputs.k.rows,
                          .values = given.inputs.v.rows,
                          .gates = given.inputs.gates.rows,
                          .grad_out = given.grad_out.rows,
                          .grad_queries = given.dq.rows,
                          .grad_keys = given.dk.rows,
                          .grad_values = given.dv.rows,
                          .grad_gates = given.dgates.rows,
                          .compressed_keys = given.inputs.compressed_k.rows,
                          .compressed_values = given.inputs.compressed_v.rows,
                          .grad_compressed_keys = given.compressed_dk.rows,
                          .grad_compressed_values = given.compressed_dv.rows},
                         given.state->state());
  });
  if (!given_) return nb::make_tuple(given.dq.array, given.dk.array, given.dv.array, given.dgates.array);
  return nb::make_tuple(given.dq.array, given.dk.array, given.dv.array, given.dgates.array, given.compressed_dk.array,
                        given.compressed_dv.array);
}

Compression compression_of(const std::string& name) {
  if (name == "mean") return Compression::mean;
  if (name == "given") return Compression::given;
  throw std::invalid_argument("compression is '" + name + "'; give 'mean' or 'given'");
}

/// Arguments of gyre.NativeSparseAttention, in the order of kNativeSignature.
void construct(PythonNativeAttention* self, nb::handle comm, std::int64_t tokens, int query_heads, std::optional<int> key_heads,
               int head_dim, std::optional<int> value_dim, std::int64_t block, std::int64_t stride, std::int64_t select_block,
               std::int64_t select_blocks, std::int64_t first_blocks, std::int64_t local_blocks, std::int64_t window,
               const std::string& compression, std::optional<double> scale, const std::string& dtype, nb::handle partition,
               const std::string& strategy, nb::handle backward, std::optional<int> threads, const std::string& isa,
               std::int64_t unit, double deadline_seconds, nb::handle rope, nb::handle yarn, std::optional<double> rope_linear,
               std::optional<double> rope_ntk) {
  Problem problem;
  problem.query_tokens = problem.key_tokens = tokens;
  problem.query_heads = query_heads, problem.key_heads = key_heads.value_or(query_heads);
  problem.head_dim = head_dim, problem.value_dim = value_dim.value_or(head_dim);
  problem.scale = scale, problem.rotary = rotary_of(rope, yarn, rope_linear, rope_ntk);
  Options options;
  options.threads = threads.value_or(0), options.isa = isa, options.unit_tokens = unit;
  options.deadline_seconds = deadline_seconds;
  const NativeSparse sparse{.block = block,
                            .stride = stride,
                            .select_block = select_block,
                            .select_blocks = select_blocks,
                            .first_blocks = first_blocks,
                            .local_blocks = local_blocks,
                            .window = window,
                            .compression = compression_of(compression)};
  const auto chunks = layout_of(partition, "partition");
  const NamedChoices names{.mask = "causal",
                           .dtype = dtype,
                           .partition = chunks ? "auto" : nb::cast<std::string>(partition),
                           .strategy = strategy,
                           .backward = direction(backward),
                           .sharing = "auto",
                           .machine = ""};
  new (self) PythonNativeAttention(communicator_of(comm), std::move(problem), sparse, std::move(options), names, chunks);
}

}  // namespace

void bind_native_attention(nb::module_& module) {
  const NativeSparse standard;
  nb::class_<PythonState>(module, "NativeSparseState",
                          "What a forward call of gyre.NativeSparseAttention leaves to its backward call.")
      .def_prop_ro(
          "pairs", [](const PythonState& self) { return self.selected().pairs(); },
          "Pairs of the selected blocks, summed over query heads.")
      .def(
          "visible",
          [](const PythonState& self, std::int64_t query, std::int64_t key, int head) {
            return self.selected().visible(query, key, head);
          },
          nb::arg("query"), nb::arg("key"), nb::arg("head") = 0,
          "Whether a query head selected the block of a key. Positions in the sequence.");
  nb::class_<PythonNativeAttention> attention(module, "NativeSparseAttention", kNativeAttention);
  attention.def("__init__", &construct, nb::arg("comm").none() = nb::none(), nb::kw_only(), nb::arg("tokens"),
                nb::arg("query_heads") = 1, nb::arg("key_heads") = nb::none(), nb::arg("head_dim") = 64,
                nb::arg("value_dim") = nb::none(), nb::arg("block") = standard.block, nb::arg("stride") = standard.stride,
                nb::arg("select_block") = standard.select_block, nb::arg("select_blocks") = standard.select_blocks,
                nb::arg("first_blocks") = standard.first_blocks, nb::arg("local_blocks") = standard.local_blocks,
                nb::arg("window") = standard.window, nb::arg("compression") = "mean", nb::arg("scale") = nb::none(),
                nb::arg("dtype") = "f32", nb::arg("partition") = "auto", nb::arg("strategy") = "auto", nb::arg("backward") = false,
                nb::arg("threads") = nb::none(), nb::arg("isa") = "", nb::arg("unit") = 0,
                nb::arg("deadline_seconds") = Options{}.deadline_seconds, nb::arg("rope").none() = nb::none(),
                nb::arg("yarn").none() = nb::none(), nb::arg("rope_linear") = nb::none(), nb::arg("rope_ntk") = nb::none(),
                nb::sig(kNativeSignature));
  attention.def("forward", &PythonNativeAttention::forward, nb::arg("q").none(), nb::arg("k").none(), nb::arg("v").none(),
                nb::arg("gates").none(), nb::arg("out").none() = nb::none(), nb::arg("compressed_k").none() = nb::none(),
                nb::arg("compressed_v").none() = nb::none(), nb::sig(kNativeForwardSignature), kNativeForward);
  attention.def("backward", &PythonNativeAttention::backward, nb::arg("grad_out").none(), nb::arg("q").none(), nb::arg("k").none(),
                nb::arg("v").none(), nb::arg("gates").none(), nb::arg("state").none(), nb::arg("dq").none() = nb::none(),
                nb::arg("dk").none() = nb::none(), nb::arg("dv").none() = nb::none(), nb::arg("dgates").none() = nb::none(),
                nb::arg("compressed_k").none() = nb::none(), nb::arg("compressed_v").none() = nb::none(),
                nb::sig(kNativeBackwardSignature), kNativeBackward);
  attention.def_prop_ro(
      "rows", [](PythonNativeAttention& self) { return slices_of(self.attention().rows()); },
      nb::sig("def rows(self) -> list[slice]"),
      "The tokens of the whole sequence that this rank holds: slices, ascending. Its q, k, v, gates and out have these rows, in "
      "this order.");
  attention.def_prop_ro(
      "compressed_rows", [](PythonNativeAttention& self) { return slices_of(self.attention().compressed_rows()); },
      nb::sig("def compressed_rows(self) -> list[slice]"),
      "Likewise, of compressed keys: number m is of tokens m * stride to m * stride + block - 1, and lies with the first of them.");
  attention.def_prop_ro("tokens", &PythonNativeAttention::tokens, "Rows of this rank's q, k and v.");
  attention.def_prop_ro("compressed_tokens", &PythonNativeAttention::compressed_tokens, "Rows of this rank's compressed keys.");
  attention.def_prop_ro("communicator", &PythonNativeAttention::communicator, "The ranks.");
}

}  // namespace gyre::python
