#include "runtime/flows.hpp"

#include <algorithm>

namespace gyre {

Flows::Flows(const Machine& machine, std::span<const int> nodes)
    : machine_(machine), nodes_(nodes), ranks_(static_cast<std::uint32_t>(nodes.size())) {
  const int node_count = nodes.empty() ? 0 : *std::max_element(nodes.begin(), nodes.end()) + 1;
  links_.resize(4 * nodes.size() + 2 * static_cast<std::size_t>(node_count));
  for (std::uint32_t link = 0; link < links_.size(); ++link) {
    const bool inside = link < 2 * ranks_, of_rank = link < 4 * ranks_;
    links_[link].bytes_per_second = inside    ? machine.node.bytes_per_second
                                    : of_rank ? machine.network.bytes_per_second
                                              : machine.link_bytes_per_second * machine.links_per_node;
  }
}

double Flows::share_of(const Flow& flow) const {
  double least = kNever;
  for (const std::uint32_t link : flow.links)
    if (link != kNoLink) least = std::min(least, links_[link].bytes_per_second / static_cast<double>(links_[link].flows.size()));
  return least;
}

void Flows::has_changed(const Flow& flow, double now) {
  changed_at_ = now;
  for (const std::uint32_t link : flow.links) {
    if (link == kNoLink || links_[link].changed) continue;
    links_[link].changed = true;
    changed_.push_back(link);
  }
}

/// Once for all flows that come and go at the same time: regular schedules have hundreds of them.
void Flows::share_again() {
  for (const std::uint32_t link : changed_) {
    links_[link].changed = false;
    for (const std::uint32_t number : links_[link].flows) {
      Flow& flow = flows_[number];
      const double share = share_of(flow);
      if (share == flow.bytes_per_second) continue;
      flow.left_bytes = std::max(0.0, flow.left_bytes - flow.bytes_per_second * (changed_at_ - flow.since));
      flow.since = changed_at_, flow.bytes_per_second = share;
      ends_.push({changed_at_ + flow.left_bytes / share, order_++, number, ++flow.version});
    }
  }
  changed_.clear();
}

std::uint32_t Flows::start(int from, int to, std::int64_t bytes, double now) {
  if (free_.empty()) {
    free_.push_back(static_cast<std::uint32_t>(flows_.size()));
    flows_.emplace_back();
  }
  const std::uint32_t number = free_.back();
  free_.pop_back();
  Flow& flow = flows_[number];
  const bool far = between_nodes(from, to);
  flow.links = far ? std::array{port(Port::network_out, from), port(Port::network_in, to), node_link(0, nodes_[from]),
                                node_link(1, nodes_[to])}
                   : std::array{port(Port::node_out, from), port(Port::node_in, to), kNoLink, kNoLink};
  flow.left_bytes = static_cast<double>(bytes), flow.bytes_per_second = 0, flow.since = now;
  for (const std::uint32_t link : flow.links)
    if (link != kNoLink) links_[link].flows.push_back(number);
  has_changed(flow, now);
  return number;
}

double Flows::next_end() {
  drop_stale();
  if (!changed_.empty() && (ends_.empty() || ends_.top().time > changed_at_)) {
    share_again();
    drop_stale();
  }
  return ends_.empty() ? kNever : ends_.top().time;
}

std::uint32_t Flows::take() {
  const double now = next_end();
  const std::uint32_t number = ends_.top().flow;
  ends_.pop();
  Flow& flow = flows_[number];
  ++flow.version;
  for (const std::uint32_t link : flow.links)
    if (link != kNoLink) std::erase(links_[link].flows, number);
  has_changed(flow, now);
  free_.push_back(number);
  return number;
}

}  // namespace gyre
