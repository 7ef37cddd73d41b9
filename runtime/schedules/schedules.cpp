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

bool can_go_backward(Strategy strategy, Backward backward) {
  switch (strategy) {
    case Strategy::ring:
    case Strategy::bidirectional_ring:
    case Strategy::double_ring:
    case Strategy::all_gather:
      return true;
    case Strategy::ulysses:
    case Strategy::hybrid:
      return backward != Backward::queries_travel;
    case Strategy::pass_query:
    case Strategy::tree:
    case Strategy::automatic:
      break;
  }
  return false;
}

namespace {

Travellers travellers_of(StrategyChoice strategy, Backward backward, Pass pass) {
  if (pass == Pass::forward) return Travellers::keys;
  if (!can_go_backward(strategy.kind, Backward::keys_travel))
    throw std::invalid_argument("strategy " + to_string(strategy) +
                                " is for serving and gives no gradients; use ring, bidirectional_ring, double_ring, all_gather, "
                                "ulysses or hybrid");
  if (!can_go_backward(strategy.kind, backward))
    throw std::invalid_argument("strategy " + to_string(strategy) +
                                " cannot let queries travel backward: they are attended where their heads are; let keys travel, or "
                                "use ring, bidirectional_ring, double_ring or all_gather");
  if (backward == Backward::keys_travel) return Travellers::keys_with_gradients;
  if (backward == Backward::queries_travel) return Travellers::queries_with_gradients;
  throw std::logic_error("what travels backward has to be resolved first");
}

}  // namespace

Schedule make_schedule(StrategyChoice strategy, const Layout& layout, const Options& options, Pass pass) {
  const Travellers travellers = travellers_of(strategy, options.backward, pass);
  switch (strategy.kind) {
    case Strategy::ring:
      return ring_schedule(layout, options.prefetch, travellers);
    case Strategy::bidirectional_ring:
      return bidirectional_ring_schedule(layout, options.prefetch, travellers);
    case Strategy::double_ring:
      return double_ring_schedule(layout, strategy.group, options.prefetch, travellers);
    case Strategy::all_gather:
      return all_gather_schedule(layout, options.prefetch, travellers);
    case Strategy::ulysses:
      return hybrid_schedule(layout, layout.ranks, options.prefetch, travellers);
    case Strategy::hybrid:
      return hybrid_schedule(layout, strategy.group, options.prefetch, travellers);
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
