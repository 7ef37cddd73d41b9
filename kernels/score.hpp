// What a score is made of, beside the rows.
#pragma once

namespace gyre {

/// s = scale q . k
struct ScoreRule {
  double scale = 1;
};

}  // namespace gyre
