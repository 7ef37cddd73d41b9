// What a picture of a simulated call has in it: whose keys a rank attends when, what is on the wire to it meanwhile, and when it
// waits.
#pragma once

#include <cstdint>
#include <vector>

#include "runtime/predict.hpp"

namespace gyre {

/// Whose something is, and how much of it. owner: a rank, or Placement::kEveryRank. Shares of one thing add up to 1.
struct OwnerShare {
  int owner = 0;
  double share = 0;
};

/// A stretch of time on a rank's row. Seconds since all ranks began.
struct DrawnStretch {
  enum class Kind : std::uint8_t { attend, pack, wait, arrive };
  Kind kind = Kind::pack;
  double begin_seconds = 0, end_seconds = 0;
  std::uint32_t stage = 0;
  std::vector<OwnerShare> owners;        // attend: of the keys, by visible pairs. arrive: of what arrives, by bytes
  std::vector<OwnerShare> query_owners;  // attend: of the queries, by visible pairs
  Role role = Role::rows;                // arrive: of the cells. A result is owned by the rank that has its rows
  int from = -1;                         // arrive: the rank that sends; -1: several, drawn together
  int lane = 0;                          // arrive: stretches of one lane do not overlap
};

struct DrawnRank {
  int rank = 0, node = 0;
  double computing_seconds = 0;
  std::vector<DrawnStretch> doing;     // one after the other, without gaps
  std::vector<DrawnStretch> arriving;  // as they begin
};

struct DrawnProgram {
  std::vector<int> nodes;           // [rank] of the whole job
  std::vector<DrawnRank> ranks;     // those that are drawn
  double seconds = 0;               // of the slowest rank of all
  std::int64_t borrowed_bytes = 0;  // by the ranks that are drawn
};

/// The first ranks of the first nodes, at most 16: all of a node's where two of those are no more, else eight of each of two.
std::vector<int> ranks_to_draw(std::span<const int> nodes);

/// Simulates the job.
DrawnProgram drawn_program(const Predictor::Job& job);

}  // namespace gyre
