#include "runtime/flows.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace gyre {
namespace {

constexpr double kTrifle = 1e-6;  // of a rate: no reason for others to look at theirs again

}  // namespace

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

double Flows::narrowest(const Flow& flow, std::uint32_t but) const {
  double least = kNever;
  for (const std::uint32_t link : flow.links)
    if (link != kNoLink && link != but) least = std::min(least, links_[link].level);
  return least;
}

void Flows::look_again(std::uint32_t link) {
  if (std::exchange(links_[link].changed, true)) return;
  changed_.push_back(link);
}

void Flows::has_changed(const Flow& flow, double now) {
  changed_at_ = now;
  for (const std::uint32_t link : flow.links)
    if (link != kNoLink) look_again(link);
}

/// Flows that are narrower elsewhere get what they can use, from the narrowest on, and the rest is divided equally.
double Flows::level_of(std::uint32_t number) {
  const Link& link = links_[number];
  elsewhere_.clear();
  for (const std::uint32_t flow : link.flows) elsewhere_.push_back(narrowest(flows_[flow], number));
  std::sort(elsewhere_.begin(), elsewhere_.end());
  double left = link.bytes_per_second;
  auto others = static_cast<double>(elsewhere_.size());
  for (const double rate : elsewhere_) {
    if (rate * others >= left) return left / others;
    left -= rate, --others;
  }
  return kNever;
}

/// Once for all flows that come and go at the same time: regular schedules have hundreds of them.
void Flows::share_again() {
  for (std::size_t next = 0; next < changed_.size(); ++next) {
    Link& link = links_[changed_[next]];
    link.changed = false;
    const double before = std::exchange(link.level, level_of(changed_[next]));
    for (const std::uint32_t number : link.flows) {
      Flow& flow = flows_[number];
      const double others = narrowest(flow, changed_[next]);
      const double rate = std::min(others, link.level);
      if (std::abs(rate - std::min(others, before)) <= kTrifle * rate) continue;
      if (!std::exchange(flow.changed, true)) changed_flows_.push_back(number);
      for (const std::uint32_t other : flow.links)
        if (other != kNoLink && other != changed_[next]) look_again(other);
    }
  }
  changed_.clear();
  for (const std::uint32_t number : changed_flows_) {
    Flow& flow = flows_[number];
    flow.changed = false;
    const double rate = narrowest(flow);
    if (rate == flow.bytes_per_second) continue;
    flow.left_bytes = std::max(0.0, flow.left_bytes - flow.bytes_per_second * (changed_at_ - flow.since));
    flow.since = changed_at_, flow.bytes_per_second = rate;
    ends_.push({changed_at_ + flow.left_bytes / rate, order_++, number, ++flow.version});
  }
  changed_flows_.clear();
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
  flow.changed = true;
  changed_flows_.push_back(number);
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
