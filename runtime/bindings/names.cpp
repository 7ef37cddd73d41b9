#include "runtime/bindings/names.hpp"

#include <stdexcept>

#include "runtime/io/index_files.hpp"
#include "runtime/machine.hpp"

namespace gyre {

Backward parse_backward(const std::string& text) {
  for (const Backward backward : {Backward::none, Backward::automatic, Backward::keys_travel, Backward::queries_travel})
    if (text == to_string(backward)) return backward;
  throw std::invalid_argument("backward is '" + text + "'; give none, auto, keys or queries");
}

void apply(const NamedChoices& names, Problem& problem, Options& options) {
  problem.mask = Mask::parse(names.mask, mask_files());
  problem.type = parse_type(names.dtype);
  options.partition = PartitionChoice::parse(names.partition, read_chunks);
  options.strategy = parse_strategy(names.strategy);
  options.backward = parse_backward(names.backward);
  options.sharing = parse_sharing(names.sharing);
  if (!names.machine.empty()) options.machine = read_machine(names.machine);
}

}  // namespace gyre
