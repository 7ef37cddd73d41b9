// A colour for every rank, in which it stands for what the rank owns: the hue is that of its node, from light to dark within the
// node. Where every node has one rank, or one node has all, each rank has a hue.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace gyre {

class OwnerColours {
 public:
  /// node_of_rank: from 0.
  explicit OwnerColours(std::span<const int> node_of_rank);

  std::string of(int rank) const;       // "#4a90d9"; a light grey for no rank of the job, as of what every rank holds
  std::string text_on(int rank) const;  // "#fff" or "#222": what can be read on it
  std::string of_node(int node) const;  // of its middle rank
  bool by_node() const { return by_node_; }

 private:
  struct Colour {
    double lightness, hue;  // of OKLCH; hue in degrees
  };
  std::vector<Colour> ranks_, nodes_;
  bool by_node_ = false;
};

}  // namespace gyre
