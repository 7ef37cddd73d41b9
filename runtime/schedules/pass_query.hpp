// Pass-query attention (Context Parallelism for Scalable Million-Token Inference, 2411.01783, section 3.5): keys stay where they
// are, queries go round, and what they find at each rank comes back to them. For few queries over many keys.
//
//   rank r at step t: the queries of r - t attend the keys of r; their results go straight home to r - t
//
// A query goes only to ranks with keys that it sees. Results are combined in the order of steps, so the bits do not depend on time.
#pragma once

#include "runtime/layout.hpp"
#include "runtime/program.hpp"

namespace gyre {

/// prefetch: as in ring_schedule, of queries. The layout must outlive the schedule.
Schedule pass_query_schedule(const Layout& layout, int prefetch);

}  // namespace gyre
