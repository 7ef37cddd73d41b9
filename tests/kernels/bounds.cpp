#include "kernels/bounds.hpp"

#include <cmath>
#include <cstddef>
#include <string>

namespace gyre::testing {
namespace {

void add(double& place, double value) {
  place = std::isnan(value) ? value : (place < value ? value : place);
}

void add(Worst& worst, const ReferencePartial& reference, Type cells, const float* out, int value_dim, double slack) {
  for (int c = 0; c < value_dim; ++c) {
    const double error = std::abs(static_cast<double>(out[c]) - reference.out(c));
    add(worst.largest_error, error);
    add(worst.largest_out, std::abs(reference.out(c)));
    add(worst.out_share, error / (reference.out_bound(c, cells) + slack));
  }
}

}  // namespace

bool rounds_weights(const CaseShape& shape, const KernelTable& kernels) {
  return shape.type == Type::bf16 && kernels.attend_pairs != nullptr;
}

std::vector<ReferencePartial> references(const AttendCase& attend) {
  std::vector<ReferencePartial> reference;
  for (std::int64_t token = 0; token < attend.shape().query_tokens; ++token) {
    for (int head = 0; head < attend.query_heads(); ++head) reference.push_back(attend.reference(token, head));
  }
  return reference;
}

Worst compare(const AttendCase& attend, const Finished& finished, const std::vector<ReferencePartial>& reference,
              const KernelTable& kernels, double slack) {
  Worst worst;
  const int value_dim = attend.shape().value_dim;
  const Type cells = rounds_weights(attend.shape(), kernels) ? Type::bf16 : Type::f32;
  for (std::size_t row = 0; row < reference.size(); ++row) {
    add(worst, reference[row], cells, finished.out.data() + row * value_dim, value_dim, slack);
    const double lse = static_cast<double>(finished.lse[row]), expected = reference[row].lse();
    const double error = reference[row].sum == 0 && lse == expected ? 0 : std::abs(lse - expected);
    add(worst.lse_error, error);
    add(worst.lse_share, error / (reference[row].lse_bound() + 1e-38));
  }
  return worst;
}

Worst compare(AttendCase& attend, const std::vector<ReferencePartial>& reference, const KernelTable& kernels, int threads,
              double slack) {
  attend.clear();
  attend.run(kernels, threads);
  return compare(attend, attend.finish(), reference, kernels, slack);
}

double share_limit(const KernelTable& kernels) {
  return std::string(kernels.name) == "portable" ? 1.42 : 1;
}

}  // namespace gyre::testing
