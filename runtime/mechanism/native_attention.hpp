// Native sparse attention (NSA, Yuan et al., 2502.11089), forward and backward: three attentions over the same queries, each with a
// softmax of its own, added up by gates that the model gives.
//
//   out_i = sum over branches b of gate(i, head, b) softmax(scale q_i K_b^T) V_b
//
//   compressed  keys and values of `block` tokens in one, every `stride` tokens: of blocks that end at or before i
//   selected    the blocks of select_block tokens that the compressed branch looks at most, the first and the latest always
//   window      the last `window` keys
//
// Each is an ordinary Attention: of a staircase of slices, of a table with a row for every token, of a window. They hold the same
// rows. The selection is made anew in every forward call, and no gradient flows through it.
//
//   NativeSparseAttention attention(transport, problem, {}, options);     // collective
//   NativeSparseState state;                                              // of one layer
//   attention.forward({q, k, v, gates, out}, state);
//   attention.backward({q, k, v, gates, grad_out, grad_q, grad_k, grad_v, grad_gates}, state);
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/transport.hpp"
#include "runtime/attention.hpp"
#include "runtime/mechanism/native_sparse.hpp"

namespace gyre {

/// In the order of gates.
enum class NativeBranch : std::uint8_t { compressed, selected, window };
inline constexpr int kNativeBranches = 3;

/// This rank's rows, borrowed for the call, of any type. Compressed ones are given where NativeSparse::compression says so, as the
/// attention is to see them: no position turns them. Else they have no rows.
struct NativeSparseOperands {
  TypedRows queries;                 // [rows, query_heads, head_dim]
  TypedRows keys;                    // [rows, key_heads, head_dim]
  TypedRows values;                  // [rows, key_heads, value_dim]
  TypedRows gates;                   // [rows, query_heads, 3], what branches are multiplied with: sigmoids have been taken
  TypedOutRows out;                  // [rows, query_heads, value_dim]
  TypedRows compressed_keys = {};    // [compressed rows, key_heads, head_dim]
  TypedRows compressed_values = {};  // [compressed rows, key_heads, value_dim]
};

/// Likewise, of a backward call. Inputs are as forward had them.
struct NativeSparseGradientOperands {
  TypedRows queries, keys, values, gates;
  TypedRows grad_out;                                             // [rows, query_heads, value_dim]
  TypedOutRows grad_queries, grad_keys, grad_values, grad_gates;  // of the shapes of inputs
  TypedRows compressed_keys = {}, compressed_values = {};
  TypedOutRows grad_compressed_keys = {}, grad_compressed_values = {};
};

/// What a forward call leaves to its backward call; written by forward. About 4 value_dim bytes a branch, row and head, and the
/// table: a bit for each query head (one for all where they share a key head), token and block, on every rank. With blocks of 64
/// that reaches to 1,048,576 tokens of one key head, and to 254,000 of 16 query heads with several.
struct NativeSparseState {
  struct Branch {
    std::vector<float> out;  // [rows, query_heads, value_dim]
    std::vector<float> lse;  // [rows, query_heads]
  };
  /// What the branch `selected` saw: the same on every rank, to the bit on any number of them.
  std::shared_ptr<const Mask> selection;
  std::array<Branch, kNativeBranches> branches;
};

/// Where the time of one call went, on this rank.
struct NativeSparseTime {
  double total_seconds = 0;
  double compressing_seconds = 0;  // means, or what they send back
  double selecting_seconds = 0;
  double planning_seconds = 0;  // of the selection's attention
  std::array<CallTime, kNativeBranches> branches;
};

class NativeSparseAttention {
 public:
  /// problem: causal self-attention, with rotary positions or without, any type; nothing else. They turn queries and keys before
  /// anything is compressed. options.partition places the rows of all branches, by the work of dense causal attention where it goes
  /// by work; options.strategy, backward, ... are those of each, an automatic strategy chosen for each. Collective over the
  /// transport, which must outlive this; blocks; allocates. Throws as Attention does: std::invalid_argument on every rank, for
  /// whatever this is not made for, and for tables of more than BlockTable::kMostBits.
  NativeSparseAttention(Transport& transport, const Problem& problem, const NativeSparse& sparse, const Options& options);
  ~NativeSparseAttention();
  NativeSparseAttention(NativeSparseAttention&&) noexcept;
  NativeSparseAttention& operator=(NativeSparseAttention&&) noexcept;

  /// Global token ranges of this rank's rows, queries and keys alike, ascending. Local.
  const std::vector<Range>& rows() const;
  /// Compressed keys that this rank holds, ascending: number m stands for tokens [m stride, m stride + block), and lies with the
  /// first of them. Of `tokens` there are (tokens - block) / stride + 1, or none. Local.
  const std::vector<Range>& compressed_rows() const;

  /// A query that sees no compressed key gets 0 from that branch. Selection: 2502.11089, equations 8 to 12, with scores of the
  /// rows as cells hold them; of equal blocks the lower one comes first. Collective; blocks; allocates, and plans the selection's
  /// attention. Throws std::invalid_argument on every rank where operands of one do not fit.
  NativeSparseTime forward(const NativeSparseOperands& operands, NativeSparseState& state);

  /// Gradients of sum(grad_out * out) by all inputs, over all ranks, as forward selected in the call that wrote `state`; each
  /// summed in fp32 and rounded once. States of several layers may take turns: the selection's attention is kept for the last one,
  /// and planned anew for another. Collective, as forward is. Throws std::invalid_argument unless Options::backward let it be
  /// built.
  NativeSparseTime backward(const NativeSparseGradientOperands& operands, const NativeSparseState& state);

  /// In place of a call, on a rank whose caller finds before it that it cannot be made: every rank throws std::invalid_argument
  /// with this message (that of the lowest rank, where there are several). Collective with the call of the others.
  [[noreturn]] void refuse(const std::string& message);

  /// Of one branch in its last call; null for `compressed` where there is no compressed key, and for `selected` before a call.
  const Attention* branch(NativeBranch branch) const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace gyre
