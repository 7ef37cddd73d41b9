// What the opaque handles of gyre.h are.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/attention.hpp"
#include "runtime/bindings/c/gyre.h"
#include "runtime/bindings/ranks.hpp"

struct gyre_communicator {
  std::shared_ptr<gyre::Ranks> ranks;
};

struct gyre_attention {
  std::shared_ptr<gyre::Ranks> ranks;  // so that handles may be freed in any order
  gyre::Attention attention;
  std::vector<gyre_range> query_rows, key_rows;
  std::string strategy, why;
  gyre::Problem problem;
  int threads = 1;
};

struct gyre_mask {
  gyre::Problem problem;  // with the chosen mask
  std::string from;       // the text of what it was chosen from
  gyre::Bands bands;
};
