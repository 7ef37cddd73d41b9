// What `gyre calibrate` was asked to do, and how thoroughly it measures.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace gyre {

struct CalibrateRequest {
  std::string out_file;  // empty: JSON goes to standard output instead of the page
  std::string name;      // of the machine; empty: rank 0's host
  int ranks = 0;         // inside this process, without a launcher; 0: two, or one on a single core
  int rounds = 7;        // medians are of as many; all shapes and sizes in turns within a round
  bool quick = false;    // small shapes and messages: figures that are rough, in a second
};

/// Sizes of what is measured.
struct CalibrationSizes {
  std::int64_t keys = 4096;              // of kernels' rates
  double pair_dims = 384.0 * 64;         // query rows times head dim, so that a run takes as long for every dim
  std::int64_t streamed_keys = 1 << 16;  // of head dim 128: 64 MB that no cache holds
  std::int64_t packed_tokens = 2048;     // of 8 heads
  std::size_t least_message_bytes = std::size_t{256} << 10, most_message_bytes = std::size_t{16} << 20;
  double message_seconds = 0.1;  // that the large message takes, within these limits
  int pings = 200;
  int small_messages = 64;
};

inline CalibrationSizes sizes_of(const CalibrateRequest& request) {
  if (!request.quick) return {};
  return {.keys = 512,
          .pair_dims = 48.0 * 64,
          .streamed_keys = 4096,
          .packed_tokens = 256,
          .least_message_bytes = std::size_t{64} << 10,
          .most_message_bytes = std::size_t{256} << 10,
          .message_seconds = 0.005,
          .pings = 20,
          .small_messages = 16};
}

}  // namespace gyre
