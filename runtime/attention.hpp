// Gyre's public interface: attention over a sequence that is sharded over the ranks of a transport.
//
//   run_loopback(4, [&](Transport& transport) {            // or: auto transport = mpi_transport(MPI_Comm_c2f(comm));
//     Attention attention(transport, problem, options);    // collective; allocates
//     for (Range rows : attention.query_rows()) ...        // the global token ranges that this rank holds, ascending
//     attention.forward({q, k, v, out, lse});              // collective; allocates nothing
//     attention.backward({q, k, v, out, lse, grad_out, grad_q, grad_k, grad_v});  // likewise, if Options::backward is not none
//   });
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/transport.hpp"
#include "runtime/executor.hpp"
#include "runtime/layout.hpp"
#include "runtime/problem.hpp"
#include "runtime/simulate.hpp"

namespace gyre {

class Attention {
 public:
  /// Collective over the transport, which must outlive this. Ranks first agree on problem, options, instruction set and version;
  /// a difference throws Disagreement, bad input std::invalid_argument, the same on every rank. Blocks; allocates the arena.
  Attention(Transport& transport, const Problem& problem, const Options& options);
  ~Attention();
  Attention(Attention&&) noexcept;
  Attention& operator=(Attention&&) noexcept;

  /// Global token ranges of this rank's query and key rows, ascending. Operands hold exactly these rows in this order. Local.
  const std::vector<Range>& query_rows() const;
  const std::vector<Range>& key_rows() const;

  /// out = softmax(scale Q K^T restricted to the mask) V; lse is the natural logarithm of the softmax's denominator. A row that
  /// sees no key: out 0, lse minus infinity. With sinks their logits are in the denominator too, and such a row's lse is its
  /// sink's. With dropout some weights are left out, and the others grow, in out alone. Collective; blocks until this rank's rows
  /// are written; allocates nothing. Operands are borrowed for the call, must be finite, and give scores below 1e30; lse is dense.
  /// Ranks first tell each other whether their operands fit (one small all-gather): where one rank's do not, every rank throws
  /// std::invalid_argument with the same message.
  CallTime forward(const Operands& operands, const CallOptions& options = {});

  /// Gradients of sum(grad_out * out) by queries, keys and values, over all ranks: what a rank's rows of keys and values get from
  /// every rank's queries. out and lse are what forward gave for these queries, keys and values, on the same ranks. Sums are fp32
  /// end to end, and each gradient is rounded once, to the type of its rows (FlashAttention-2, 2307.08691, algorithm 2; around the
  /// ring as 2310.01889 or, where queries travel, 2403.09347). Rows that see no key, and keys that no row sees, get 0. Gradients of
  /// sinks are sums over all ranks' rows, in float64 (sink_gradients.hpp: one more small all-gather). The same
  /// ranks give the same bits in every call. Collective, as forward is, in the same memory; operands likewise. Throws
  /// std::invalid_argument unless Options::backward let it be built.
  CallTime backward(const GradientOperands& operands, const CallOptions& options = {});

  /// In place of a call, on a rank whose caller finds before it that it cannot be made: every rank throws std::invalid_argument
  /// with this message (that of the lowest rank, where there are several). Collective with the call of the others.
  [[noreturn]] void refuse(const std::string& message);

  const Layout& layout() const;       // the strategy's sharding, with `automatic` resolved
  StrategyChoice strategy() const;    // resolved
  Backward travels_backward() const;  // resolved; none where no gradients can be asked for
  const std::string& why() const;     // the strategy was chosen; empty where it was given
  const char* isa() const;
  // What follows is of one pass. It throws std::invalid_argument for a backward one that was not built.
  const Program& program(Pass pass = Pass::forward) const;  // of this rank: what the instructions of a timeline are
  /// The programs of all ranks, as they run: cells of a node are borrowed where it shares memory. It must not outlive this.
  Schedule schedule(Pass pass = Pass::forward) const;
  /// What the programs of all ranks would take on a machine. Local; builds them all.
  Simulation simulate(const Machine& machine, Pass pass = Pass::forward) const;
  /// What the machine would take for each instruction of program(): a replay's seconds. Local.
  std::vector<double> replay_of(const Machine& machine, Pass pass = Pass::forward) const;
  /// Bytes that come to this rank in a call, and those that would if every query saw every key. Local.
  std::int64_t arriving_bytes(Pass pass = Pass::forward) const;
  std::int64_t dense_bytes(Pass pass = Pass::forward) const;

  std::int64_t arena_bytes() const;     // of slots, shared ones included (runtime/README.md): what the pass needs that needs more
  const std::string& unshared() const;  // why ranks of a node do not share memory although they could; empty if they do
  std::int64_t scratch_bytes() const;   // of kernels, of both passes

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Version of the library, as agreed on between ranks.
const char* version();

}  // namespace gyre
