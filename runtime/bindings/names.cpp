#include "runtime/bindings/names.hpp"

#include "runtime/io/index_files.hpp"
#include "runtime/machine.hpp"

namespace gyre {

void apply(const NamedChoices& names, Problem& problem, Options& options) {
  problem.mask = Mask::parse(names.mask, mask_files());
  problem.type = parse_type(names.dtype);
  options.partition = PartitionChoice::parse(names.partition, read_chunks);
  options.strategy = parse_strategy(names.strategy);
  options.backward = names.backward == "none" ? Backward::none : parse_backward(names.backward);
  options.sharing = parse_sharing(names.sharing);
  if (!names.machine.empty()) options.machine = read_machine(names.machine);
}

}  // namespace gyre
