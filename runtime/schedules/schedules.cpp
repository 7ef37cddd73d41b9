#include "runtime/schedules/schedules.hpp"

#include <stdexcept>

#include "runtime/schedules/all_gather.hpp"
#include "runtime/schedules/ring.hpp"

namespace gyre {

Schedule make_schedule(Strategy strategy, const Layout& layout, const Options& options) {
  switch (strategy) {
    case Strategy::ring:
      return ring_schedule(layout, options.prefetch);
    case Strategy::all_gather:
      return all_gather_schedule(layout, options.prefetch);
    case Strategy::automatic:
      break;
  }
  throw std::logic_error("an automatic strategy has to be resolved first");
}

}  // namespace gyre
