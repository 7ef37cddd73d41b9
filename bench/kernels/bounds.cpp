#include "bench/kernels/bounds.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <numeric>

#include "kernels/clock.hpp"
#include "kernels/dispatch.hpp"

namespace gyre::bench {
namespace {

/// Of the calling thread. What interrupts a long loop counts, as it does in a run by the wall clock; the middle of short ones has
/// none.
double peak_of_thread(const KernelTable& kernels, Type type, Clock clock, double seconds) {
  constexpr double kPiece = 4e-4;  // a thread runs for milliseconds before another gets its turn
  if (clock == Clock::wall) return peak_flops(kernels, type, seconds);
  std::vector<double> pieces(std::max(5, static_cast<int>(seconds / kPiece)));
  for (double& piece : pieces) piece = peak_flops(kernels, type, std::min(seconds / 5, kPiece));
  std::nth_element(pieces.begin(), pieces.begin() + std::ssize(pieces) / 2, pieces.end());
  return pieces[pieces.size() / 2];
}

double peak(const Shape& shape, Team& team, Clock clock, double seconds) {
  const KernelTable& kernels = select_kernels(shape.isa);
  std::vector<double> each(team.size(), 0);
  team.run(
      team.size(), [&](int task, int) { each[task] = peak_of_thread(kernels, shape.type, clock, seconds); }, [] {});
  return std::accumulate(each.begin(), each.end(), 0.0);
}

/// Both halves side by side, a line of each at a time: from memory two streams bring 5 to 10% more than one, from caches as much.
/// Loads of 16 bytes are wide enough (two a cycle), and fetching ahead by hand only slows it. memory: whole lines of 64 bytes.
std::uint64_t sum_of(std::span<const std::byte> memory) {
  using Vector [[gnu::vector_size(16)]] = std::uint64_t;
  constexpr int kLine = 4;
  const std::size_t lines = memory.size() / (kLine * sizeof(Vector)), half = lines / 2;
  const auto* const first = reinterpret_cast<const Vector*>(memory.data());
  const Vector* const second = first + half * kLine;
  Vector a[kLine] = {}, b[kLine] = {};
  const auto add = [](Vector(&sums)[kLine], const Vector* line) {
#pragma GCC unroll 4
    for (int k = 0; k < kLine; ++k) sums[k] ^= line[k];
  };
  for (std::size_t line = 0; line < half; ++line) {
    add(a, first + line * kLine);
    add(b, second + line * kLine);
  }
  if (lines % 2 != 0) add(b, second + half * kLine);
  const Vector sum = a[0] ^ a[1] ^ a[2] ^ a[3] ^ b[0] ^ b[1] ^ b[2] ^ b[3];
  return sum[0] ^ sum[1];
}

double read(Team& team, Clock clock, std::span<const std::span<const std::byte>> reads) {
  if (reads.empty()) return 0;
  double bytes = 0;
  for (const std::span<const std::byte> memory : reads) bytes += static_cast<double>(memory.size());
  std::atomic<std::uint64_t> sink{0};
  const double seconds = seconds_of(clock, [&] {
    team.run(
        static_cast<int>(reads.size()), [&](int task, int) { sink.fetch_xor(sum_of(reads[task]), std::memory_order_relaxed); },
        [] {});
  });
  return bytes / seconds;
}

}  // namespace

Bounds measure_bounds(const Shape& shape, Team& team, Clock clock, double seconds,
                      std::span<const std::span<const std::byte>> reads) {
  return {.flops = peak(shape, team, clock, seconds),
          .hertz = clock_hertz(std::max(seconds / 8, 2e-4)),
          .bytes_per_second = read(team, clock, reads)};
}

Bounds mean(const Bounds& a, const Bounds& b) {
  return {.flops = (a.flops + b.flops) / 2,
          .hertz = (a.hertz + b.hertz) / 2,
          .bytes_per_second = (a.bytes_per_second + b.bytes_per_second) / 2};
}

}  // namespace gyre::bench
