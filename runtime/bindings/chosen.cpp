#include "runtime/bindings/chosen.hpp"

#include <vector>

#include "comm/agreement.hpp"
#include "runtime/mechanism/estimate.hpp"

namespace gyre {

Mask choose_pairs(Transport& transport, const Attention& attention, const Problem& problem, int threads,
                  FunctionRef<ChoiceOfPairs()> given) {
  ChoiceOfPairs choice;
  std::vector<SparseChoice> choices;
  together(transport, [&] {
    choice = given();
    choices = read_sparse_choices(choice.sparse);
  });
  Team team(threads);
  return estimate_mask(
      transport, team, select_kernels(attention.isa()), problem,
      {.queries = choice.queries, .keys = choice.keys, .query_rows = attention.query_rows(), .key_rows = attention.key_rows()},
      choices);
}

}  // namespace gyre
