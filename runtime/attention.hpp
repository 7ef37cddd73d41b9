// Gyre's public interface: attention over a sequence that is sharded over the ranks of a transport.
//
//   run_loopback(4, [&](Transport& transport) {            // or: auto transport = mpi_transport(MPI_Comm_c2f(comm));
//     Attention attention(transport, problem, options);    // collective; allocates
//     for (Range rows : attention.query_rows()) ...        // the global token ranges that this rank holds, ascending
//     attention.forward({q, k, v, out, lse});              // collective; allocates nothing
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
  /// sees no key: out 0, lse minus infinity. Collective; blocks until this rank's rows are written; allocates nothing. Operands are
  /// borrowed for the call, must be finite, and give scores below 1e30; lse is dense. Ranks first tell each other whether their
  /// operands fit (one small all-gather): where one rank's do not, every rank throws std::invalid_argument with the same message.
  CallTime forward(const Operands& operands, const CallOptions& options = {});

  /// In place of a call, on a rank whose caller finds before it that it cannot be made: every rank throws std::invalid_argument
  /// with this message (that of the lowest rank, where there are several). Collective with the call of the others.
  [[noreturn]] void refuse(const std::string& message);

  const Layout& layout() const;     // the strategy's sharding, with `automatic` resolved
  StrategyChoice strategy() const;  // resolved
  const std::string& why() const;   // it was chosen; empty where it was given
  const char* isa() const;
  const Program& program() const;    // of this rank: what the instructions of a timeline are
  std::int64_t arena_bytes() const;  // of slots: packed queries, own cells, cells in flight, one partial; the shared ones included
  /// The programs of all ranks, as they run: cells of a node are borrowed where it shares memory. It must not outlive this.
  Schedule schedule() const;
  /// What the programs of all ranks would take on a machine. Local; builds them all.
  Simulation simulate(const Machine& machine) const;
  /// What the machine would take for each instruction of program(): a replay's seconds. Local.
  std::vector<double> replay_of(const Machine& machine) const;
  /// Bytes that come to this rank in a call, and those that would if every query saw every key. Local.
  std::int64_t arriving_bytes() const;
  std::int64_t dense_bytes() const;
  const std::string& unshared() const;  // why ranks of a node do not share memory although they could; empty if they do
  std::int64_t scratch_bytes() const;   // of kernels

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Version of the library, as agreed on between ranks.
const char* version();

}  // namespace gyre
