#include "runtime/schedules/schedules.hpp"

#include <stdexcept>

#include "runtime/schedules/all_gather.hpp"
#include "runtime/schedules/bidirectional_ring.hpp"
#include "runtime/schedules/double_ring.hpp"
#include "runtime/schedules/hybrid.hpp"
#include "runtime/schedules/pass_query.hpp"
#include "runtime/schedules/ring.hpp"
#include "runtime/schedules/tree.hpp"

namespace gyre {

Schedule make_schedule(StrategyChoice strategy, const Layout& layout, const Options& options) {
  switch (strategy.kind) {
    case Strategy::ring:
      return ring_schedule(layout, options.prefetch);
    case Strategy::bidirectional_ring:
      return bidirectional_ring_schedule(layout, options.prefetch);
    case Strategy::double_ring:
      return double_ring_schedule(layout, strategy.group, options.prefetch);
    case Strategy::all_gather:
      return all_gather_schedule(layout, options.prefetch);
    case Strategy::ulysses:
      return hybrid_schedule(layout, layout.ranks, options.prefetch);
    case Strategy::hybrid:
      return hybrid_schedule(layout, strategy.group, options.prefetch);
    case Strategy::pass_query:
      return pass_query_schedule(layout, options.prefetch);
    case Strategy::tree:
      return tree_schedule(layout);
    case Strategy::automatic:
      break;
  }
  throw std::logic_error("an automatic strategy has to be resolved first");
}

std::int64_t arriving_bytes(const Program& program, const Layout& layout) {
  std::int64_t bytes = 0;
  for (const Instruction& instruction : program.instructions) {
    if (instruction.op != Op::receive && instruction.op != Op::borrow) continue;
    bytes += layout.run_bytes(program.slots[instruction.out].role, program.runs_of(instruction));
  }
  return bytes;
}

}  // namespace gyre
