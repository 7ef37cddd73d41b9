// Native sparse attention on ranks of a loopback job.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "comm/loopback_transport.hpp"
#include "runtime/mechanism/native_attention.hpp"
#include "runtime/mechanism/row_exchange.hpp"
#include "support/naive_native_sparse.hpp"

namespace gyre::test {

struct NativeCase {
  Problem problem;
  NativeSparse sparse;
  Options options;
  std::string text;

  NativeCase(std::int64_t tokens, int heads, int key_heads, int dim, int value_dim) {
    problem.query_tokens = problem.key_tokens = tokens;
    problem.query_heads = heads, problem.key_heads = key_heads;
    problem.head_dim = dim, problem.value_dim = value_dim;
    problem.mask = Mask::causal();
    options.backward = Backward::keys_travel;
  }
};

/// All ranks' results.
struct NativeFound {
  std::vector<float> out, queries, keys, values, gates, compressed_keys, compressed_values;
  Mask selection;  // of rank 0
  bool same_selection = true;

  NativeFound(const NativeCase& job, const NativeInputs& inputs)
      : out(inputs.grad_out.size()),
        queries(inputs.tensors.queries.size()),
        keys(inputs.tensors.keys.size()),
        values(inputs.tensors.values.size()),
        gates(inputs.gates.size()),
        compressed_keys(inputs.compressed_keys.size()),
        compressed_values(inputs.compressed_values.size()),
        selection(job.problem.mask) {}
  bool selected(std::int64_t query, std::int64_t block, int head, const NativeSparse& sparse) const {
    return selection.bands().visible(query, std::min(query, block * sparse.select_block), head);
  }
  std::vector<std::uint64_t> words() const {
    std::vector<std::uint64_t> all;
    for (const auto& table : selection.bands().tables()) all.insert(all.end(), table->words().begin(), table->words().end());
    return all;
  }
};

/// One rank's rows of a call, and what comes of them.
class NativeRows {
 public:
  NativeRows(const NativeCase& job, const NativeInputs& inputs, const NativeSparseAttention& attention)
      : p_(job.problem),
        given_(job.sparse.compression == Compression::given),
        rows_(attention.rows()),
        blocks_(given_ ? attention.compressed_rows() : std::vector<Range>{}),
        count_(count_of(rows_)),
        block_count_(count_of(blocks_)),
        queries_(gather(inputs.tensors.queries, rows_, width(p_.query_heads, p_.head_dim))),
        keys_(gather(inputs.tensors.keys, rows_, width(p_.key_heads, p_.head_dim))),
        values_(gather(inputs.tensors.values, rows_, width(p_.key_heads, p_.value_dim))),
        gates_(gather(inputs.gates, rows_, width(p_.query_heads, 3))),
        grad_out_(gather(inputs.grad_out, rows_, width(p_.query_heads, p_.value_dim))),
        compressed_keys_(gather(inputs.compressed_keys, blocks_, width(p_.key_heads, p_.head_dim))),
        compressed_values_(gather(inputs.compressed_values, blocks_, width(p_.key_heads, p_.value_dim))),
        out_(grad_out_.size(), std::nanf("")),
        of_queries_(queries_.size(), std::nanf("")),
        of_keys_(keys_.size(), std::nanf("")),
        of_values_(values_.size(), std::nanf("")),
        of_gates_(gates_.size(), std::nanf("")),
        of_compressed_keys_(compressed_keys_.size(), std::nanf("")),
        of_compressed_values_(compressed_values_.size(), std::nanf("")) {}

  NativeSparseOperands forward() {
    NativeSparseOperands operands{.queries = of_queries(queries_),
                                  .keys = of_keys(keys_),
                                  .values = of_values(values_),
                                  .gates = of_gates(gates_),
                                  .out = {out_.data(), count_, p_.query_heads, p_.value_dim}};
    if (given_) operands.compressed_keys = of_blocks(compressed_keys_, p_.head_dim);
    if (given_) operands.compressed_values = of_blocks(compressed_values_, p_.value_dim);
    return operands;
  }
  NativeSparseGradientOperands backward() {
    NativeSparseGradientOperands operands{.queries = of_queries(queries_),
                                          .keys = of_keys(keys_),
                                          .values = of_values(values_),
                                          .gates = of_gates(gates_),
                                          .grad_out = {grad_out_.data(), count_, p_.query_heads, p_.value_dim},
                                          .grad_queries = of_queries(of_queries_),
                                          .grad_keys = of_keys(of_keys_),
                                          .grad_values = of_values(of_values_),
                                          .grad_gates = of_gates(of_gates_)};
    if (!given_) return operands;
    operands.compressed_keys = of_blocks(compressed_keys_, p_.head_dim);
    operands.compressed_values = of_blocks(compressed_values_, p_.value_dim);
    operands.grad_compressed_keys = of_blocks(of_compressed_keys_, p_.head_dim);
    operands.grad_compressed_values = of_blocks(of_compressed_values_, p_.value_dim);
    return operands;
  }
  /// Disjoint rows: ranks may share what is found.
  void write_to(NativeFound& found) const {
    scatter(out_, rows_, width(p_.query_heads, p_.value_dim), found.out);
    scatter(of_queries_, rows_, width(p_.query_heads, p_.head_dim), found.queries);
    scatter(of_keys_, rows_, width(p_.key_heads, p_.head_dim), found.keys);
    scatter(of_values_, rows_, width(p_.key_heads, p_.value_dim), found.values);
    scatter(of_gates_, rows_, width(p_.query_heads, 3), found.gates);
    scatter(of_compressed_keys_, blocks_, width(p_.key_heads, p_.head_dim), found.compressed_keys);
    scatter(of_compressed_values_, blocks_, width(p_.key_heads, p_.value_dim), found.compressed_values);
  }

 private:
  static std::size_t width(int heads, int dim) { return static_cast<std::size_t>(heads * dim); }
  TypedOutRows of_queries(std::vector<float>& rows) const { return {rows.data(), Type::f32, count_, p_.query_heads, p_.head_dim}; }
  TypedOutRows of_keys(std::vector<float>& rows) const { return {rows.data(), Type::f32, count_, p_.key_heads, p_.head_dim}; }
  TypedOutRows of_values(std::vector<float>& rows) const { return {rows.data(), Type::f32, count_, p_.key_heads, p_.value_dim}; }
  TypedOutRows of_gates(std::vector<float>& rows) const { return {rows.data(), Type::f32, count_, p_.query_heads, 3}; }
  TypedOutRows of_blocks(std::vector<float>& rows, int dim) const {
    return {rows.data(), Type::f32, block_count_, p_.key_heads, dim};
  }

  const Problem& p_;
  bool given_;
  std::vector<Range> rows_, blocks_;
  std::int64_t count_, block_count_;
  std::vector<float> queries_, keys_, values_, gates_, grad_out_, compressed_keys_, compressed_values_;
  std::vector<float> out_, of_queries_, of_keys_, of_values_, of_gates_, of_compressed_keys_, of_compressed_values_;
};

/// Forward, and backward where options let it.
inline NativeFound run_native(const NativeCase& job, const NativeInputs& inputs, int ranks) {
  NativeFound found(job, inputs);
  std::vector<NativeFound> all(static_cast<std::size_t>(ranks), found);
  run_loopback(ranks, [&](Transport& transport) {
    Options options = job.options;
    options.threads = 1 + transport.rank() % 2;
    NativeSparseAttention attention(transport, job.problem, job.sparse, options);
    NativeRows rows(job, inputs, attention);
    NativeSparseState state;
    attention.forward(rows.forward(), state);
    if (job.options.backward != Backward::none) attention.backward(rows.backward(), state);
    rows.write_to(found);
    all[static_cast<std::size_t>(transport.rank())].selection = *state.selection;
  });
  found.selection = all[0].selection;
  for (const NativeFound& one : all) found.same_selection = found.same_selection && one.words() == all[0].words();
  return found;
}

}  // namespace gyre::test
