#include "runtime/mechanism/native_attention.hpp"

#include <algorithm>
#include <chrono>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "comm/agreement.hpp"
#include "runtime/instruction_set.hpp"
#include "runtime/mechanism/native_gates.hpp"
#include "runtime/mechanism/native_pooling.hpp"
#include "runtime/mechanism/native_rows.hpp"
#include "runtime/mechanism/native_selection.hpp"
#include "runtime/operand_checks.hpp"

namespace gyre {
namespace {

/// Adds the time until it goes.
class Timed {
 public:
  explicit Timed(double& seconds) : seconds_(seconds) {}
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;
  ~Timed() { seconds_ += std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  using Clock = std::chrono::steady_clock;
  double& seconds_;
  Clock::time_point start_ = Clock::now();
};

void require(const Problem& problem, const NativeSparse& sparse) {
  problem.validate();
  sparse.validate();
  const auto refuse = [](const char* reason) { throw std::invalid_argument(std::string("native sparse attention ") + reason); };
  if (!problem.self_attention()) refuse("is self-attention; give as many queries as keys, and no query offset");
  if (!std::ranges::equal(problem.mask.bands().all(), Mask::causal().bands().all())) refuse("is under the mask causal; give that");
  if (problem.dual_chunk) refuse("compresses keys of one position each; leave dual chunk attention away");
  if (problem.softcap) refuse("has scores without a cap; leave the softcap away");
  if (problem.bias != PositionBias::none) refuse("has scores without ALiBi; leave it away");
  if (problem.sinks != SinkLogits::none) refuse("has no sink logits; leave them away");
  if (problem.dropout) refuse("has no dropout; leave it away");
  const BlockShape table = native_selection_shape(sparse, problem);
  const std::int64_t words = (table.columns + 63) / 64, planes = table.heads == 1 ? 1 : table.heads + 1;
  const double bits = static_cast<double>(table.rows) * static_cast<double>(64 * words * planes);
  if (bits > static_cast<double>(BlockTable::kMostBits))
    refuse("has a table of a bit for each query head, token and block, and here more than 2^34; select longer blocks");
}

/// Rows of each rank, as dense causal attention is placed.
RowMap placed(const Problem& problem, const Options& options, int ranks) {
  const Layout layout(problem, options, ranks);
  RowMap rows;
  for (int rank = 0; rank < ranks; ++rank) {
    rows.push_back(rows_of(layout.query_units, layout.queries, rank));
    if (rows.back() != rows_of(layout.key_units, layout.keys, rank))
      throw std::invalid_argument("native sparse attention keeps keys where their queries are; give one layout for both");
  }
  return rows;
}

std::vector<Chunk> chunks_of(const RowMap& rows) {
  std::vector<Chunk> chunks;
  for (std::size_t rank = 0; rank < rows.size(); ++rank) {
    for (const Range range : rows[rank]) chunks.push_back({range, static_cast<std::int32_t>(rank)});
  }
  return chunks;
}

std::size_t index_of(NativeBranch branch) {
  return static_cast<std::size_t>(branch);
}

}  // namespace

struct NativeSparseAttention::Parts {
  Transport& transport;
  Problem problem;  // of rows that have been turned
  NativeSparse sparse;
  Options options;  // with the rows' layout
  const KernelTable& kernels;
  Team team;
  std::optional<RotaryTable> rotary;
  RowMap held;  // tokens, by rank
  PooledBlocks blocks;
  RowMap held_blocks;
  std::optional<Attention> compressed, selected, window;
  std::shared_ptr<const Mask> selection;  // that `selected` was built for

  Parts(Transport& transport, const Problem& problem, const NativeSparse& sparse, const Options& options,
        const KernelTable& kernels, RowMap rows);

  const std::vector<Range>& rows() const { return held[static_cast<std::size_t>(transport.rank())]; }
  const std::vector<Range>& compressed_rows() const { return held_blocks[static_cast<std::size_t>(transport.rank())]; }
  const RotaryTable* turning() const { return rotary ? &*rotary : nullptr; }

  /// With what it reads.
  Estimator estimator(RowsOnRanks queries = {}, RowsOnRanks keys = {}) {
    return {.transport = transport,
            .team = team,
            .kernels = kernels,
            .problem = problem,
            .queries = std::move(queries),
            .keys = std::move(keys)};
  }
  RowsOnRanks of_tokens(const TypedRows& from) const { return {.rows = from, .held = held}; }
  RowsOnRanks of_blocks(const TypedRows& from) const { return {.rows = from, .held = held_blocks}; }

  // Rows of this rank.
  Sums like_queries() const { return {count_of(rows()), problem.query_heads, problem.head_dim}; }
  Sums like_outputs() const { return {count_of(rows()), problem.query_heads, problem.value_dim}; }
  Sums like_keys(std::span<const Range> of) const { return {count_of(of), problem.key_heads, problem.head_dim}; }
  Sums like_values(std::span<const Range> of) const { return {count_of(of), problem.key_heads, problem.value_dim}; }

  void require_inputs(const auto& operands) const;
  void require(const NativeSparseOperands& operands) const { require_inputs(operands), require_output("out", operands.out); }
  void require(const NativeSparseGradientOperands& operands, const NativeSparseState& state) const;
  void require_output(const char* name, const TypedRows& rows) const {
    require_shape(name, rows, count_of(this->rows()), problem.query_heads, problem.value_dim);
  }

  struct CompressedRows;
  CompressedRows compress(const TypedRows& keys, const TypedRows& values, const auto& operands, NativeSparseTime& time);
  Attention& attention_of(const std::shared_ptr<const Mask>& mask, NativeSparseTime& time);
  void forward(const NativeSparseOperands& operands, NativeSparseState& state, NativeSparseTime& time);
  void backward(const NativeSparseGradientOperands& operands, const NativeSparseState& state, NativeSparseTime& time);
};

NativeSparseAttention::Parts::Parts(Transport& a_transport, const Problem& given, const NativeSparse& a_sparse,
                                    const Options& given_options, const KernelTable& a_kernels, RowMap a_placement)
    : transport(a_transport),
      problem(given),
      sparse(a_sparse),
      options(given_options),
      kernels(a_kernels),
      team(given_options.threads),
      held(std::move(a_placement)),
      blocks(sparse.block, sparse.stride, problem.key_tokens),
      held_blocks(blocks.held(held)) {
  if (problem.rotary) rotary.emplace(*problem.rotary, problem.head_dim, kernels);
  problem.rotary.reset();
  options.partition = PartitionChoice::layout(chunks_of(held));
  Problem branch = problem;
  branch.mask = Mask::window(sparse.window - 1);
  window.emplace(transport, branch, options);
  if (blocks.count() == 0) return;
  branch.mask = blocks.staircase();
  branch.key_tokens = blocks.count(), branch.query_offset = 0;
  Options own = options;
  own.partition = PartitionChoice::layout(chunks_of(held), chunks_of(held_blocks));
  compressed.emplace(transport, branch, own);
}

void NativeSparseAttention::Parts::require_inputs(const auto& operands) const {
  const std::int64_t tokens = count_of(rows());
  require_shape("queries", operands.queries, tokens, problem.query_heads, problem.head_dim);
  require_shape("keys", operands.keys, tokens, problem.key_heads, problem.head_dim);
  require_shape("values", operands.values, tokens, problem.key_heads, problem.value_dim);
  require_shape("gates", operands.gates, tokens, problem.query_heads, kNativeBranches);
  if (sparse.compression == Compression::given) {
    require_shape("compressed_keys", operands.compressed_keys, count_of(compressed_rows()), problem.key_heads, problem.head_dim);
    require_shape("compressed_values", operands.compressed_values, count_of(compressed_rows()), problem.key_heads,
                  problem.value_dim);
  } else if (operands.compressed_keys.tokens != 0 || operands.compressed_values.tokens != 0) {
    throw std::invalid_argument("compressed rows are given, and NativeSparse::compression is mean; set it to given, or give none");
  }
}

void NativeSparseAttention::Parts::require(const NativeSparseGradientOperands& operands, const NativeSparseState& state) const {
  require_inputs(operands);
  require_output("grad_out", operands.grad_out);
  const auto like = [](const char* name, const TypedRows& gradient, const TypedRows& input) {
    require_shape(name, gradient, input.tokens, input.heads, input.dim);
  };
  like("grad_queries", operands.grad_queries, operands.queries);
  like("grad_keys", operands.grad_keys, operands.keys);
  like("grad_values", operands.grad_values, operands.values);
  like("grad_gates", operands.grad_gates, operands.gates);
  like("grad_compressed_keys", operands.grad_compressed_keys, operands.compressed_keys);
  like("grad_compressed_values", operands.grad_compressed_values, operands.compressed_values);
  const auto rows = static_cast<std::size_t>(count_of(this->rows())) * static_cast<std::size_t>(problem.query_heads);
  for (const auto& branch : state.branches) {
    if (state.selection && branch.lse.size() == rows && branch.out.size() == rows * static_cast<std::size_t>(problem.value_dim))
      continue;
    throw std::invalid_argument(
        "the state is not one that forward of this attention wrote; give that of the call whose gradients are wanted");
  }
}

/// Keys and values of blocks: the caller's, or means.
struct NativeSparseAttention::Parts::CompressedRows {
  std::vector<float> key_means, value_means;
  TypedRows keys, values;
};

NativeSparseAttention::Parts::CompressedRows NativeSparseAttention::Parts::compress(const TypedRows& keys, const TypedRows& values,
                                                                                    const auto& operands, NativeSparseTime& time) {
  if (sparse.compression == Compression::given) return {{}, {}, operands.compressed_keys, operands.compressed_values};
  const Timed timed(time.compressing_seconds);
  CompressedRows rows;
  rows.key_means = blocks.means(estimator(), of_tokens(keys));
  rows.value_means = blocks.means(estimator(), of_tokens(values));
  const std::int64_t count = count_of(compressed_rows());
  rows.keys = TypedRows(rows.key_means.data(), count, keys.heads, keys.dim);
  rows.values = TypedRows(rows.value_means.data(), count, values.heads, values.dim);
  return rows;  // moved: the means stay where they lie
}

/// Of the branch `selected`: the last one where it was for this selection. Collective.
Attention& NativeSparseAttention::Parts::attention_of(const std::shared_ptr<const Mask>& mask, NativeSparseTime& time) {
  if (selected && selection == mask) return *selected;
  const Timed timed(time.planning_seconds);
  Problem branch = problem;
  branch.mask = *mask;
  if (selected) options.strategy = selected->strategy(), options.backward = selected->travels_backward();
  selected.reset();  // before there are two arenas
  selected.emplace(transport, branch, options);
  selection = mask;
  return *selected;
}

void NativeSparseAttention::Parts::forward(const NativeSparseOperands& operands, NativeSparseState& state, NativeSparseTime& time) {
  together(transport, [&] { require(operands); });
  const TurnedRows queries(estimator(), held, operands.queries, turning()), keys(estimator(), held, operands.keys, turning());
  const CompressedRows small = compress(keys.view(), operands.values, operands, time);
  const auto attend = [&](Attention& attention, NativeBranch branch, const TypedRows& its_keys, const TypedRows& its_values) {
    auto& [out, lse] = state.branches[index_of(branch)];
    const TypedOutRows rows(out.data(), Type::f32, operands.out.tokens, operands.out.heads, operands.out.dim);
    time.branches[index_of(branch)] =
        attention.forward({.queries = queries.view(), .keys = its_keys, .values = its_values, .out = rows, .lse = lse.data()});
  };
  for (auto& [out, lse] : state.branches) {
    lse.resize(static_cast<std::size_t>(operands.out.tokens * operands.out.heads));
    out.resize(lse.size() * static_cast<std::size_t>(operands.out.dim));
  }
  if (!compressed) std::ranges::fill(state.branches[index_of(NativeBranch::compressed)].out, 0.0F);
  if (compressed) attend(*compressed, NativeBranch::compressed, small.keys, small.values);
  attend(*window, NativeBranch::window, keys.view(), operands.values);
  {
    const Timed timed(time.selecting_seconds);
    const Estimator of_selection = estimator(of_tokens(queries.view()), of_blocks(small.keys));
    state.selection =
        std::make_shared<const Mask>(Mask::causal() & Mask::blocks(select_native(of_selection, sparse, blocks), to_string(sparse)));
  }
  attend(attention_of(state.selection, time), NativeBranch::selected, keys.view(), operands.values);
  add_gated(estimator(), operands.gates, state.branches, operands.out);
}

void NativeSparseAttention::Parts::backward(const NativeSparseGradientOperands& operands, const NativeSparseState& state,
                                            NativeSparseTime& time) {
  together(transport, [&] { require(operands, state); });
  const TurnedRows queries(estimator(), held, operands.queries, turning()), keys(estimator(), held, operands.keys, turning());
  Sums grad_out = like_outputs(), grad_queries = like_queries(), grad_keys = like_keys(rows()), grad_values = like_values(rows());
  const auto attend = [&](Attention& attention, NativeBranch branch, const TypedRows& its_keys, const TypedRows& its_values,
                          Sums& of_queries, const TypedOutRows& of_keys, const TypedOutRows& of_values) {
    const auto& [out, lse] = state.branches[index_of(branch)];
    gated_gradient(estimator(), operands.gates, operands.grad_out, branch, grad_out.values());
    time.branches[index_of(branch)] =
        attention.backward({.queries = queries.view(),
                            .keys = its_keys,
                            .values = its_values,
                            .out = TypedRows(out.data(), operands.grad_out.tokens, operands.grad_out.heads, operands.grad_out.dim),
                            .lse = lse.data(),
                            .grad_out = grad_out.rows(),
                            .grad_queries = of_queries.rows(),
                            .grad_keys = of_keys,
                            .grad_values = of_values});
  };
  attend(attention_of(state.selection, time), NativeBranch::selected, keys.view(), operands.values, grad_queries, grad_keys.rows(),
         grad_values.rows());
  Sums more_queries = like_queries();
  {
    Sums more_keys = like_keys(rows()), more_values = like_values(rows());
    attend(*window, NativeBranch::window, keys.view(), operands.values, more_queries, more_keys.rows(), more_values.rows());
    grad_queries.add(estimator(), more_queries), grad_keys.add(estimator(), more_keys), grad_values.add(estimator(), more_values);
  }
  if (compressed) {
    const CompressedRows small = compress(keys.view(), operands.values, operands, time);
    const bool given = sparse.compression == Compression::given;
    Sums of_keys = like_keys(compressed_rows()), of_values = like_values(compressed_rows());
    attend(*compressed, NativeBranch::compressed, small.keys, small.values, more_queries,
           given ? operands.grad_compressed_keys : of_keys.rows(), given ? operands.grad_compressed_values : of_values.rows());
    grad_queries.add(estimator(), more_queries);
    const Timed timed(time.compressing_seconds);
    if (!given) blocks.add_gradients(estimator(), of_blocks(of_keys.rows()), held, grad_keys.values());
    if (!given) blocks.add_gradients(estimator(), of_blocks(of_values.rows()), held, grad_values.values());
  }
  write_gradients(estimator(), grad_queries, rows(), turning(), operands.grad_queries);
  write_gradients(estimator(), grad_keys, rows(), turning(), operands.grad_keys);
  write_gradients(estimator(), grad_values, rows(), nullptr, operands.grad_values);
  gate_gradients(estimator(), operands.grad_out, state.branches, operands.grad_gates);
}

NativeSparseAttention::NativeSparseAttention(Transport& transport, const Problem& problem, const NativeSparse& sparse,
                                             const Options& options) {
  RowMap rows;
  together(transport, [&] {
    require(problem, sparse);
    options.validate();
    rows = placed(problem, options, transport.ranks());
  });
  const KernelTable& kernels = agree_on_kernels(transport, options.isa);
  agree(transport, {{"native sparse attention", to_string(sparse)},
                    {"rotary positions", problem.rotary ? to_string(*problem.rotary) : "none"}});
  parts_ = std::make_unique<Parts>(transport, problem, sparse, options, kernels, std::move(rows));
}

NativeSparseAttention::~NativeSparseAttention() = default;
NativeSparseAttention::NativeSparseAttention(NativeSparseAttention&&) noexcept = default;
NativeSparseAttention& NativeSparseAttention::operator=(NativeSparseAttention&&) noexcept = default;

const std::vector<Range>& NativeSparseAttention::rows() const {
  return parts_->rows();
}
const std::vector<Range>& NativeSparseAttention::compressed_rows() const {
  return parts_->compressed_rows();
}

NativeSparseTime NativeSparseAttention::forward(const NativeSparseOperands& operands, NativeSparseState& state) {
  NativeSparseTime time;
  {
    const Timed timed(time.total_seconds);
    parts_->forward(operands, state, time);
  }
  return time;
}

NativeSparseTime NativeSparseAttention::backward(const NativeSparseGradientOperands& operands, const NativeSparseState& state) {
  NativeSparseTime time;
  {
    const Timed timed(time.total_seconds);
    parts_->backward(operands, state, time);
  }
  return time;
}

void NativeSparseAttention::refuse(const std::string& message) {
  together(parts_->transport, [&] { throw std::invalid_argument(message); });
  std::terminate();  // this rank said no
}

const Attention* NativeSparseAttention::branch(NativeBranch branch) const {
  const std::optional<Attention>* const all[] = {&parts_->compressed, &parts_->selected, &parts_->window};
  const auto& one = *all[static_cast<std::size_t>(branch)];
  return one ? &*one : nullptr;
}

}  // namespace gyre
