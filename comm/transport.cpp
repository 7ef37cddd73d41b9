#include "comm/transport.hpp"

#include <algorithm>
#include <vector>

#include "comm/heartbeat.hpp"

namespace gyre {
namespace {

/// Left fold in rank order: floating-point addition does not associate, and every rank must get the same bits.
template <class Value, class Fold>
Value fold_over_ranks(Transport& transport, Value mine, Fold&& fold) {
  std::vector<Value> all(transport.ranks());
  all_gather_value(transport, mine, std::span(all));
  Value result = all[0];
  for (std::size_t rank = 1; rank < all.size(); ++rank) result = fold(result, all[rank]);
  return result;
}

}  // namespace

Transport::Transport() = default;
Transport::~Transport() = default;

Heartbeat& Transport::heartbeat() {
  if (!heartbeat_) heartbeat_ = std::make_unique<Heartbeat>(*this);
  return *heartbeat_;
}

double maximum_over_ranks(Transport& transport, double value) {
  return fold_over_ranks(transport, value, [](double a, double b) { return std::max(a, b); });
}

double minimum_over_ranks(Transport& transport, double value) {
  return fold_over_ranks(transport, value, [](double a, double b) { return std::min(a, b); });
}

double sum_over_ranks(Transport& transport, double value) {
  return fold_over_ranks(transport, value, [](double a, double b) { return a + b; });
}

std::uint64_t sum_over_ranks(Transport& transport, std::uint64_t value) {
  return fold_over_ranks(transport, value, [](std::uint64_t a, std::uint64_t b) { return a + b; });
}

}  // namespace gyre
