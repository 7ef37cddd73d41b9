// Bytes on their way, and the links that they share.
//
// A flow passes the port of its sender and that of its receiver and, between nodes, the links of both nodes, each of which has
// directions of its own. What there is is shared max-min fairly (Bertsekas and Gallager, Data Networks, 6.5.2): every link divides
// what it has equally among its flows, and what those cannot use that are narrower elsewhere it gives to the others. Sharing, and
// not first come first served, because that is what TCP and InfiniBand do between peers; what one rank sends another goes in order,
// as over one connection (simulate.cpp).
//
// Rates are found as switches would (Charny, Clark, Jain, 1995): a link's level is the rate that it allows each flow, given the
// levels of the other links that its flows pass; where a level changes, the links of its flows look at theirs again. The narrowest
// link finds its final level at once, the next narrowest after it, and so on; where nothing changes nothing is done.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <queue>
#include <span>
#include <vector>

#include "runtime/machine.hpp"

namespace gyre {

class Flows {
 public:
  /// nodes: of every rank, from 0. Both must outlive this.
  Flows(const Machine& machine, std::span<const int> nodes);

  bool between_nodes(int from, int to) const { return nodes_[from] != nodes_[to]; }
  const LinkModel& model(int from, int to) const { return between_nodes(from, to) ? machine_.network : machine_.node; }

  /// Returns its number, which is free again once it has been taken.
  std::uint32_t start(int from, int to, std::int64_t bytes, double now);

  static constexpr double kNever = std::numeric_limits<double>::infinity();
  /// When the next flow has passed, if no other starts; kNever if there is none.
  double next_end();
  /// That flow, which leaves its links at next_end().
  std::uint32_t take();

 private:
  static constexpr std::uint32_t kNoLink = 0xffffffff;
  struct Link {
    double bytes_per_second = 0;
    double level = kNever;  // bytes a second that each flow may have; kNever: all are narrower elsewhere
    std::vector<std::uint32_t> flows;
    bool changed = false;
  };
  struct Flow {
    std::array<std::uint32_t, 4> links{};
    double left_bytes = 0, bytes_per_second = 0, since = 0;
    std::uint32_t version = 0;
    bool changed = false;
  };
  struct End {
    double time;
    std::uint64_t order;
    std::uint32_t flow, version;
    bool operator>(const End& other) const { return time != other.time ? time > other.time : order > other.order; }
  };
  enum class Port : std::uint8_t { node_out, node_in, network_out, network_in };
  std::uint32_t port(Port which, int rank) const {
    return static_cast<std::uint32_t>(which) * ranks_ + static_cast<std::uint32_t>(rank);
  }
  std::uint32_t node_link(int direction, int node) const {
    return 4 * ranks_ + 2 * static_cast<std::uint32_t>(node) + static_cast<std::uint32_t>(direction);
  }
  void drop_stale() {
    while (!ends_.empty() && ends_.top().version != flows_[ends_.top().flow].version) ends_.pop();
  }
  void has_changed(const Flow& flow, double now);
  void look_again(std::uint32_t link);
  void share_again();
  double narrowest(const Flow& flow, std::uint32_t but = kNoLink) const;
  double level_of(std::uint32_t link);

  const Machine& machine_;
  std::span<const int> nodes_;
  std::uint32_t ranks_;
  std::vector<Link> links_;
  std::vector<Flow> flows_;
  std::vector<std::uint32_t> free_;
  std::priority_queue<End, std::vector<End>, std::greater<>> ends_;
  std::uint64_t order_ = 0;
  std::vector<std::uint32_t> changed_;        // links that flows have come to or gone from at changed_at_, or changed elsewhere
  std::vector<std::uint32_t> changed_flows_;  // on links of another level
  std::vector<double> elsewhere_;             // what flows of a link may have on their others
  double changed_at_ = 0;
};

}  // namespace gyre
