#include "runtime/sink_gradients.hpp"

#include <span>

#include "comm/heartbeat.hpp"
#include "kernels/gradient.hpp"

namespace gyre {

SinkGradients::SinkGradients(const Problem& problem, int ranks)
    : cells_(problem.type),
      mine_(static_cast<std::size_t>(problem.query_heads)),
      all_(mine_.size() * static_cast<std::size_t>(ranks)) {}

void SinkGradients::rehearse(Transport& transport) {
  transport.all_gather(std::as_bytes(std::span(mine_)), std::as_writable_bytes(std::span(all_)));
}

void SinkGradients::sum(Transport& transport, Team& team, const GradientOperands& operands, Wire wire) {
  const auto one = [&](int head, int) {
    mine_[static_cast<std::size_t>(head)] =
        sink_gradient(cells_, operands.grad_out, operands.out, operands.lse, head, operands.sinks[head]);
  };
  team.run(static_cast<int>(mine_.size()), one, [&] { transport.heartbeat().beat(); });
  std::span<const double> sums = mine_;
  if (wire == Wire::live) {
    transport.all_gather(std::as_bytes(std::span(mine_)), std::as_writable_bytes(std::span(all_)));
    sums = all_;
  }
  for (std::size_t head = 0; head < mine_.size(); ++head) {
    double sum = 0;
    for (std::size_t at = head; at < sums.size(); at += mine_.size()) sum += sums[at];
    operands.grad_sinks[head] = static_cast<float>(sum);
  }
}

}  // namespace gyre
