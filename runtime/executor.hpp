// The executor: runs any program of one rank on any transport. It knows no schedule and no mask.
//
// Instructions are posted in program order, each as soon as its sources are complete. Transfers run while the rank computes: the
// transport is polled from inside the tile loop, and receives that stand early in the program, into slots that are free early, are
// what hides the wire.
#pragma once

#include <cstdint>
#include <memory>

#include "comm/transport.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/team.hpp"
#include "kernels/tensor.hpp"
#include "runtime/layout.hpp"
#include "runtime/memory.hpp"
#include "runtime/program.hpp"
#include "runtime/timeline.hpp"

namespace gyre {

/// The caller's rows of one rank, borrowed for a call. Rows stand in the order of the rank's units. They may be of any type,
/// whatever Problem::type is: inputs are rounded to that, or widened, when cells are made; the output is computed in fp32 and
/// rounded once.
struct Operands {
  TypedRows queries;     // [local query tokens, query_heads, head_dim]
  TypedRows keys;        // [local key tokens, key_heads, head_dim]
  TypedRows values;      // [local key tokens, key_heads, value_dim]
  TypedOutRows out;      // [local query tokens, query_heads, value_dim]
  float* lse = nullptr;  // [local query tokens, query_heads], or null
  /// [query_heads], finite and the same on every rank, where Problem::sinks is learned; null otherwise.
  const float* sinks = nullptr;
};

/// Likewise, of a backward call. out and lse are what forward gave.
struct GradientOperands {
  TypedRows queries, keys, values;  // as forward had them
  TypedRows out;                    // [local query tokens, query_heads, value_dim]
  const float* lse = nullptr;       // [local query tokens, query_heads]
  TypedRows grad_out;               // [local query tokens, query_heads, value_dim]
  TypedOutRows grad_queries;        // [local query tokens, query_heads, head_dim]
  TypedOutRows grad_keys;           // [local key tokens, key_heads, head_dim]
  TypedOutRows grad_values;         // [local key tokens, key_heads, value_dim]
  const float* sinks = nullptr;     // as forward had them
  float* grad_sinks = nullptr;      // [query_heads], of all ranks' rows, the same on every rank; null without sinks
};

/// Where the time of one call went, on this rank. Seconds of thread 0.
struct CallTime {
  double total_seconds = 0;
  double computing_seconds = 0;      // in attend, of either pass
  double packing_seconds = 0;        // in apply and combine
  double communicating_seconds = 0;  // in the transport while there is something to compute: posting, polling
  double waiting_seconds = 0;        // for transfers, with nothing to compute
  double integrity_seconds = 0;      // comparing checksums of what arrived, and (within packing) writing them
};

class Executor {
 public:
  /// Allocates everything that calls need. transport, team and layout must outlive it. memory: program.arena_bytes or more, and
  /// what transport.share(program.window_bytes or more) gave, of the ranks that it lends to and borrows from. Local.
  Executor(Program program, const Layout& layout, Transport& transport, Team& team, const KernelTable& kernels, Memory memory);
  ~Executor();

  /// One call, of the program's pass. Collective with the other ranks' executors; returns when this rank's part is complete, and
  /// nobody reads or writes its memory any more. Allocates nothing. If it throws, and the program has transfers, the job is ended
  /// on every rank (Transport::abort): so it does with a std::runtime_error that names unit, head, stage and sender, if a checksum
  /// of a cell that arrived does not match.
  CallTime run(const Operands& operands, const CallOptions& options = {});
  CallTime run(const GradientOperands& operands, const CallOptions& options = {});

  const Program& program() const;
  std::int64_t scratch_bytes() const;  // of kernels

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gyre
