// What forward and backward derive from a shape alike: its mask, its units and how scores are made.
#pragma once

#include "bench/kernels/shape.hpp"
#include "kernels/cell.hpp"
#include "kernels/score.hpp"
#include "partition/bands.hpp"
#include "partition/mask.hpp"
#include "partition/residue_choice.hpp"
#include "partition/units.hpp"

namespace gyre::bench {

struct Axis {
  Mask mask;
  Bands bands;  // bound to the first query
  ResidueChoice order;
  Units key_units, query_units;

  /// Throws std::invalid_argument if the mask's documents do not add up to the keys.
  explicit Axis(const Shape& shape);
  double pairs(const Shape& shape) const;  // visible (query, key) of all query heads
};

CellShape cell_shape_of(const Shape& shape, const Axis& axis);
ScoreRule score_of(const Shape& shape);  // scale 1 / sqrt(head dim)

}  // namespace gyre::bench
