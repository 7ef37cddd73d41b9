// How far a finished AttendCase is from the float64 reference, as shares of the bounds.
#pragma once

#include <vector>

#include "kernels/attend_case.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/reference.hpp"

namespace gyre::testing {

struct Worst {
  double out_share = 0;
  double lse_share = 0;
  double largest_error = 0;
  double largest_out = 0;
  double lse_error = 0;
};

/// Whether weights meet the values in bf16.
bool rounds_weights(const CaseShape& shape, const KernelTable& kernels);

/// Of each row: [query tokens, query heads].
std::vector<ReferencePartial> references(const AttendCase& attend);

/// slack: an error in outputs that counts as none; outputs that cancel to nothing are compared with a bound of nothing.
Worst compare(const AttendCase& attend, const Finished& finished, const std::vector<ReferencePartial>& reference,
              const KernelTable& kernels, double slack = 1e-38);

/// Attends anew. slack: as above.
Worst compare(AttendCase& attend, const std::vector<ReferencePartial>& reference, const KernelTable& kernels, int threads,
              double slack = 1e-38);

/// What shares may come to. Portable kernels round the product and the sum of a multiply-add: errors of random sign grow by sqrt(2)
/// at most.
double share_limit(const KernelTable& kernels);

}  // namespace gyre::testing
