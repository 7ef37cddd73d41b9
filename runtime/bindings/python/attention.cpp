#include "runtime/bindings/python/attention.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "comm/agreement.hpp"
#include "runtime/attention.hpp"
#include "runtime/bindings/chosen.hpp"
#include "runtime/bindings/names.hpp"
#include "runtime/bindings/python/arguments.hpp"
#include "runtime/bindings/python/chosen_pairs.hpp"
#include "runtime/bindings/python/communicator.hpp"
#include "runtime/bindings/python/documentation.hpp"
#include "runtime/bindings/python/tensors.hpp"

namespace nb = nanobind;

namespace gyre::python {
namespace {

/// An Attention with its ranks, and what it takes to be called from Python.
class PythonAttention {
 public:
  /// problem and options without what `names` and the layouts say; mask: in place of a name, or null. Collective.
  PythonAttention(std::shared_ptr<Communicator> communicator, Problem problem, Options options, const NamedChoices& names,
                  const ChosenPairs* mask, const std::optional<Chunks>& query_chunks, const std::optional<Chunks>& key_chunks);

  nb::tuple forward(nb::handle q, nb::handle k, nb::handle v, nb::handle out, nb::handle lse, nb::handle sinks);
  nb::tuple backward(nb::handle grad_out, nb::handle q, nb::handle k, nb::handle v, nb::handle out, nb::handle lse, nb::handle dq,
                     nb::handle dk, nb::handle dv, nb::handle sinks, nb::handle dsinks);

  ChosenPairs estimate_mask(nb::handle q, nb::handle k, const std::string& sparse);

  Attention& attention() { return *attention_; }
  Communicator& communicator() { return *communicator_; }
  const std::shared_ptr<Communicator>& shared_communicator() const { return communicator_; }
  const CallTime& last_call() const { return last_call_; }
  std::int64_t query_tokens() const { return query_tokens_; }
  std::int64_t key_tokens() const { return key_tokens_; }

 private:
  Wanted queries(const char* name) const;
  Wanted keys(const char* name) const;
  Wanted values(const char* name) const;
  Wanted outputs(const char* name) const;
  Statistics sinks(nb::handle given) const;
  Statistics sink_gradients(nb::handle dsinks, nb::handle like) const;

  std::shared_ptr<Communicator> communicator_;
  std::unique_ptr<Attention> attention_;
  Problem problem_;
  int threads_ = 1;
  std::int64_t query_tokens_ = 0, key_tokens_ = 0;  // of this rank
  CallTime last_call_;
};

PythonAttention::PythonAttention(std::shared_ptr<Communicator> communicator, Problem problem, Options options,
                                 const NamedChoices& names, const ChosenPairs* mask, const std::optional<Chunks>& query_chunks,
                                 const std::optional<Chunks>& key_chunks)
    : communicator_(std::move(communicator)) {
  communicator_->work([&] {
    together(communicator_->transport(), [&] {
      apply(names, problem, options);
      if (mask != nullptr) problem.mask = mask->mask();
      if (key_chunks && !query_chunks)
        throw std::invalid_argument("key_partition is given, and partition is not a list of chunks; give both as lists");
      if (query_chunks)
        options.partition = PartitionChoice::layout(chunks_of(*query_chunks), chunks_of(key_chunks.value_or(Chunks{})));
    });
    options.threads = threads_ = communicator_->ranks().threads(options.threads);
    attention_ = std::make_unique<Attention>(communicator_->transport(), problem, options);
  });
  problem_ = std::move(problem);
  query_tokens_ = tokens_of(attention_->query_rows()), key_tokens_ = tokens_of(attention_->key_rows());
}

Wanted PythonAttention::queries(const char* name) const {
  return {name, query_tokens_, problem_.query_heads, problem_.head_dim, "query tokens, query heads, head dim"};
}
Wanted PythonAttention::keys(const char* name) const {
  return {name, key_tokens_, problem_.key_heads, problem_.head_dim, "key tokens, key heads, head dim"};
}
Wanted PythonAttention::values(const char* name) const {
  return {name, key_tokens_, problem_.key_heads, problem_.value_dim, "key tokens, key heads, value dim"};
}
Wanted PythonAttention::outputs(const char* name) const {
  return {name, query_tokens_, problem_.query_heads, problem_.value_dim, "query tokens, query heads, value dim"};
}

Statistics PythonAttention::sinks(nb::handle given) const {
  if (problem_.sinks == SinkLogits::learned) return read_heads(given, "sinks", problem_.query_heads);
  if (!given.is_none()) throw std::invalid_argument("sinks are given, and the attention has none; make it with sinks=True");
  return {};
}
Statistics PythonAttention::sink_gradients(nb::handle dsinks, nb::handle like) const {
  if (problem_.sinks == SinkLogits::learned) return written_heads(dsinks, "dsinks", problem_.query_heads, like);
  if (!dsinks.is_none()) throw std::invalid_argument("dsinks is given, and the attention has no sinks; make it with sinks=True");
  return {};
}

nb::tuple PythonAttention::forward(nb::handle q, nb::handle k, nb::handle v, nb::handle out, nb::handle lse,
                                   nb::handle given_sinks) {
  struct Arguments {
    Input q, k, v;
    Output out;
    Statistics lse, sinks;
  };
  Arguments given = prepared(*communicator_, *attention_, [&] {
    Arguments arguments{
        .q = input(q, queries("q")), .k = input(k, keys("k")), .v = input(v, values("v")), .out = {}, .lse = {}, .sinks = {}};
    arguments.out = output(out, outputs("out"), q, arguments.q.rows.type);
    arguments.lse = written_statistics(lse, "lse", query_tokens_, problem_.query_heads, q);
    arguments.sinks = sinks(given_sinks);
    return arguments;
  });
  last_call_ = communicator_->work([&] {
    return attention_->forward({.queries = given.q.rows,
                                .keys = given.k.rows,
                                .values = given.v.rows,
                                .out = given.out.rows,
                                .lse = given.lse.data,
                                .sinks = given.sinks.data});
  });
  return nb::make_tuple(given.out.array, given.lse.array);
}

nb::tuple PythonAttention::backward(nb::handle grad_out, nb::handle q, nb::handle k, nb::handle v, nb::handle out, nb::handle lse,
                                    nb::handle dq, nb::handle dk, nb::handle dv, nb::handle given_sinks, nb::handle dsinks) {
  struct Arguments {
    Input q, k, v, out, grad_out;
    Statistics lse, sinks, dsinks;
    Output dq, dk, dv;
  };
  Arguments given = prepared(*communicator_, *attention_, [&] {
    Arguments arguments{.q = input(q, queries("q")),
                        .k = input(k, keys("k")),
                        .v = input(v, values("v")),
                        .out = input(out, outputs("out")),
                        .grad_out = input(grad_out, outputs("grad_out")),
                        .lse = read_statistics(lse, "lse", query_tokens_, problem_.query_heads),
                        .sinks = sinks(given_sinks),
                        .dsinks = sink_gradients(dsinks, given_sinks),
                        .dq = {},
                        .dk = {},
                        .dv = {}};
    arguments.dq = output(dq, queries("dq"), q, arguments.q.rows.type);
    arguments.dk = output(dk, keys("dk"), k, arguments.k.rows.type);
    arguments.dv = output(dv, values("dv"), v, arguments.v.rows.type);
    return arguments;
  });
  last_call_ = communicator_->work([&] {
    return attention_->backward({.queries = given.q.rows,
                                 .keys = given.k.rows,
                                 .values = given.v.rows,
                                 .out = given.out.rows,
                                 .lse = given.lse.data,
                                 .grad_out = given.grad_out.rows,
                                 .grad_queries = given.dq.rows,
                                 .grad_keys = given.dk.rows,
                                 .grad_values = given.dv.rows,
                                 .sinks = given.sinks.data,
                                 .grad_sinks = given.dsinks.data});
  });
  if (given.dsinks.data == nullptr) return nb::make_tuple(given.dq.array, given.dk.array, given.dv.array);
  return nb::make_tuple(given.dq.array, given.dk.array, given.dv.array, given.dsinks.array);
}

ChosenPairs PythonAttention::estimate_mask(nb::handle q, nb::handle k, const std::string& sparse) {
  std::string wrong;
  std::optional<Input> given_q, given_k;
  try {
    given_q = input(q, queries("q")), given_k = input(k, keys("k"));
  } catch (const std::exception& error) {
    wrong = error.what();
  }
  Problem chosen = problem_;
  chosen.mask = communicator_->work([&] {
    return choose_pairs(communicator_->transport(), *attention_, problem_, threads_, [&]() -> ChoiceOfPairs {
      if (!wrong.empty()) throw std::invalid_argument(wrong);
      return {.sparse = sparse, .queries = given_q->rows, .keys = given_k->rows};
    });
  });
  return ChosenPairs(std::move(chosen));
}

std::optional<Dropout> dropout_of(nb::handle given) {
  if (given.is_none()) return std::nullopt;
  std::tuple<double, std::uint64_t> probability_and_seed;
  if (!nb::try_cast(given, probability_and_seed)) {
    PyErr_Clear();
    throw nb::type_error("dropout is neither None nor (probability, seed), a number below 1 and an integer from 0 to 2**64 - 1");
  }
  return Dropout{.probability = std::get<0>(probability_and_seed), .seed = std::get<1>(probability_and_seed)};
}

/// (chunk, local) or (chunk, local, original).
std::optional<DualChunk> dual_chunk_of(nb::handle given) {
  if (given.is_none()) return std::nullopt;
  std::tuple<std::int64_t, std::int64_t> tokens;
  std::tuple<std::int64_t, std::int64_t, std::int64_t> with_original;
  if (nb::try_cast(given, with_original)) {
    const auto [chunk, local, original] = with_original;
    return DualChunk{.chunk = chunk, .local = local, .original_tokens = original};
  }
  PyErr_Clear();
  if (!nb::try_cast(given, tokens)) {
    PyErr_Clear();
    throw nb::type_error("dual_chunk is neither None, (chunk, local) nor (chunk, local, original), in tokens");
  }
  return DualChunk{.chunk = std::get<0>(tokens), .local = std::get<1>(tokens)};
}

/// Arguments of gyre.Attention, in the order of kAttentionSignature.
void construct(PythonAttention* self, nb::handle comm, std::int64_t query_tokens, std::optional<std::int64_t> key_tokens,
               int query_heads, std::optional<int> key_heads, int head_dim, std::optional<int> value_dim, nb::handle mask,
               std::optional<std::int64_t> query_offset, std::optional<double> scale, std::optional<double> softcap,
               const std::string& dtype, nb::handle partition, nb::handle key_partition, const std::string& strategy,
               nb::handle backward, std::optional<int> threads, const std::string& isa, std::int64_t unit, int prefetch,
               double deadline_seconds, const std::string& sharing, const std::string& machine, bool integrity, bool alibi,
               bool sinks, nb::handle dropout, nb::handle rope, nb::handle yarn, std::optional<double> rope_linear,
               std::optional<double> rope_ntk, nb::handle dual_chunk) {
  Problem problem;
  problem.query_tokens = query_tokens, problem.key_tokens = key_tokens.value_or(query_tokens);
  problem.query_heads = query_heads, problem.key_heads = key_heads.value_or(query_heads);
  problem.head_dim = head_dim, problem.value_dim = value_dim.value_or(head_dim);
  problem.query_offset = query_offset, problem.scale = scale, problem.softcap = softcap;
  problem.bias = alibi ? PositionBias::alibi : PositionBias::none;
  problem.sinks = sinks ? SinkLogits::learned : SinkLogits::none;
  problem.dropout = dropout_of(dropout);
  problem.rotary = rotary_of(rope, yarn, rope_linear, rope_ntk), problem.dual_chunk = dual_chunk_of(dual_chunk);
  Options options;
  options.threads = threads.value_or(0), options.isa = isa, options.unit_tokens = unit, options.prefetch = prefetch;
  options.deadline_seconds = deadline_seconds;
  options.integrity = integrity ? Integrity::checked : Integrity::unchecked;
  const auto query_chunks = layout_of(partition, "partition"), key_chunks = layout_of(key_partition, "key_partition");
  const ChosenPairs* const chosen = nb::isinstance<ChosenPairs>(mask) ? nb::cast<const ChosenPairs*>(mask) : nullptr;
  if (chosen == nullptr && !nb::isinstance<nb::str>(mask)) throw nb::type_error("mask is neither an expression nor a gyre.Mask");
  const NamedChoices names{.mask = chosen == nullptr ? nb::cast<std::string>(mask) : "full",
                           .dtype = dtype,
                           .partition = query_chunks ? "auto" : nb::cast<std::string>(partition),
                           .strategy = strategy,
                           .backward = direction(backward),
                           .sharing = sharing,
                           .machine = machine};
  new (self)
      PythonAttention(communicator_of(comm), std::move(problem), std::move(options), names, chosen, query_chunks, key_chunks);
}

void bind_call_time(nb::module_& module) {
  nb::class_<CallTime>(module, "CallTime", "Where the seconds of one call went, on this rank.")
      .def_ro("total_seconds", &CallTime::total_seconds, "All of the call.")
      .def_ro("computing_seconds", &CallTime::computing_seconds, "Scores, weights, sums.")
      .def_ro("packing_seconds", &CallTime::packing_seconds, "To and from the form in which rows are computed and sent.")
      .def_ro("communicating_seconds", &CallTime::communicating_seconds, "In the transport while there was something to compute.")
      .def_ro("waiting_seconds", &CallTime::waiting_seconds, "For transfers, with nothing to compute.")
      .def_ro("integrity_seconds", &CallTime::integrity_seconds, "Comparing checksums of what arrived.");
}

}  // namespace

void bind_attention(nb::module_& module) {
  bind_call_time(module);
  nb::class_<ChosenPairs>(module, "Mask", kMask)
      .def_prop_ro("pairs", &ChosenPairs::pairs, "Pairs that are visible, summed over query heads.")
      .def("visible", &ChosenPairs::visible, nb::arg("query"), nb::arg("key"), nb::arg("head") = 0,
           "Whether a query head sees a key. Positions on the key axis.")
      .def("__repr__", [](const ChosenPairs& self) { return "gyre.Mask: " + self.mask().text(); });
  nb::class_<PythonAttention> attention(module, "Attention", kAttention);
  attention.def("__init__", &construct, nb::arg("comm").none() = nb::none(), nb::kw_only(), nb::arg("query_tokens"),
                nb::arg("key_tokens") = nb::none(), nb::arg("query_heads") = 1, nb::arg("key_heads") = nb::none(),
                nb::arg("head_dim") = 64, nb::arg("value_dim") = nb::none(), nb::arg("mask") = "full",
                nb::arg("query_offset") = nb::none(), nb::arg("scale") = nb::none(), nb::arg("softcap") = nb::none(),
                nb::arg("dtype") = "f32", nb::arg("partition") = "auto", nb::arg("key_partition").none() = nb::none(),
                nb::arg("strategy") = "auto", nb::arg("backward") = false, nb::arg("threads") = nb::none(), nb::arg("isa") = "",
                nb::arg("unit") = 0, nb::arg("prefetch") = 1, nb::arg("deadline_seconds") = Options{}.deadline_seconds,
                nb::arg("sharing") = "auto", nb::arg("machine") = "", nb::arg("integrity") = false, nb::arg("alibi") = false,
                nb::arg("sinks") = false, nb::arg("dropout").none() = nb::none(), nb::arg("rope").none() = nb::none(),
                nb::arg("yarn").none() = nb::none(), nb::arg("rope_linear") = nb::none(), nb::arg("rope_ntk") = nb::none(),
                nb::arg("dual_chunk").none() = nb::none(), nb::sig(kAttentionSignature));
  attention.def("forward", &PythonAttention::forward, nb::arg("q").none(), nb::arg("k").none(), nb::arg("v").none(),
                nb::arg("out").none() = nb::none(), nb::arg("lse").none() = nb::none(), nb::arg("sinks").none() = nb::none(),
                nb::sig(kForwardSignature), kForward);
  attention.def("backward", &PythonAttention::backward, nb::arg("grad_out").none(), nb::arg("q").none(), nb::arg("k").none(),
                nb::arg("v").none(), nb::arg("out").none(), nb::arg("lse").none(), nb::arg("dq").none() = nb::none(),
                nb::arg("dk").none() = nb::none(), nb::arg("dv").none() = nb::none(), nb::arg("sinks").none() = nb::none(),
                nb::arg("dsinks").none() = nb::none(), nb::sig(kBackwardSignature), kBackward);
  attention.def("estimate_mask", &PythonAttention::estimate_mask, nb::arg("q").none(), nb::arg("k").none(), nb::arg("sparse"),
                nb::sig(kEstimateSignature), kEstimate);
  attention.def_prop_ro(
      "query_rows", [](PythonAttention& self) { return slices_of(self.attention().query_rows()); },
      nb::sig("def query_rows(self) -> list[slice]"),
      "The tokens of the whole sequence whose queries this rank holds: slices, ascending. Its q, out and lse have these rows, in "
      "this order.");
  attention.def_prop_ro(
      "key_rows", [](PythonAttention& self) { return slices_of(self.attention().key_rows()); },
      nb::sig("def key_rows(self) -> list[slice]"), "Likewise, of k and v.");
  attention.def_prop_ro("query_tokens", &PythonAttention::query_tokens, "Rows of this rank's q.");
  attention.def_prop_ro("key_tokens", &PythonAttention::key_tokens, "Rows of this rank's k and v.");
  attention.def_prop_ro("communicator", &PythonAttention::shared_communicator, "The ranks.");
  attention.def_prop_ro("last_call", &PythonAttention::last_call, nb::rv_policy::copy, "What the last forward or backward took.");
  attention.def_prop_ro(
      "strategy", [](PythonAttention& self) { return to_string(self.attention().strategy()); }, "What was chosen or asked for.");
  attention.def_prop_ro(
      "why", [](PythonAttention& self) { return self.attention().why(); }, "It was chosen; empty where it was asked for.");
  attention.def_prop_ro(
      "isa", [](PythonAttention& self) { return self.attention().isa(); }, "Instruction set of the kernels.");
  attention.def_prop_ro(
      "arena_bytes", [](PythonAttention& self) { return self.attention().arena_bytes(); },
      "Memory of this rank that calls work in.");
}

}  // namespace gyre::python
