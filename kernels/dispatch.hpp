// Instruction sets, chosen once per Attention. A new one is one new file in kernels/cpu/ and a line here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cell.hpp"
#include "kernels/dropout.hpp"
#include "kernels/few_rows.hpp"
#include "kernels/gradient_tile.hpp"
#include "kernels/products.hpp"
#include "kernels/rotary.hpp"

namespace gyre {

/// The longest unit of keys that the kernels' scratch memory is made for.
inline constexpr std::int64_t kLongestUnit = 2048;

/// A tile may begin within a unit at a multiple of so many keys: whole chains of products of every kernel.
inline constexpr std::int64_t kWindowKeys = 128;

/// What the body of a kernel gets: up to kMostStrips strips of query rows against one unit of keys, or what some rows see of it.
/// Everything is finite and aligned to kAlignment bytes. What is multiplied lies in 32-bit words: an fp32 each, or a pair of bf16
/// (pair_of in cell.hpp), of dims in queries and keys, of keys in values.
struct Tile {
  static constexpr int kMostStrips = 4;
  struct Strip {
    const float* query;  // [words][16]
    float* partial;      // [value_dim rounded to 8][numerator, what it lost][16], then maximum, sum and what it lost [16] each
  };
  Strip strips[kMostStrips];
  int strip_count = 0;
  int few_rows = 0;   // of the first strip; only the kernels for few rows look at it
  int words = 0;      // of a row of queries or keys
  int value_dim = 0;  // rounded up to kChannels
  float factor = 1;   // of query . key; kernels of fp32 words do not look at it, their queries have it
  float cap = 0;      // in log2 units; factor query . key is then 2 log2(e) score / cap. 0: no cap, it is the score in log2 units
  int keys = 0;       // at most kLongestUnit
  int unit_keys = 0;  // of the unit that they are of: values lie as those have them
  const float* key = nullptr;              // [keys / 16][words][16]
  const float* value = nullptr;            // [value_dim / 8][words of the unit's keys rounded to 16][8]
  const std::uint64_t* visible = nullptr;  // [keys rounded to 16]: bit 16 * strip + lane; null: every key by every lane,
                                           // and then keys is a multiple of 16
  // As ScoreTerms has them, bit for bit where visibility words have a lane's; null: none.
  const float* bias_slopes = nullptr;  // [strips][16]
  const float* distances = nullptr;    // [strips][16], from the unit's first key
  DropoutTerms dropout;
  float* scores = nullptr;  // scratch, [keys rounded to 16][strips][16]

  // Of few rows only:
  float* sums = nullptr;            // of this unit, as few_rows.hpp has them; the partial is left alone
  const float* next_key = nullptr;  // what probably comes next is fetched meanwhile; null: nothing
};

/// The kernels of one instruction set.
struct KernelTable {
  const char* name;                            // as --isa says it
  int strips_per_block;                        // that its registers are made for
  int most_few_rows;                           // up to here rows cost less where each has its own chains than where all
                                               // share vectors with empty lanes
  void (*attend)(const Tile& tile);            // words of fp32
  void (*attend_pairs)(const Tile& tile);      // words of two bf16; null: such cells are expanded
  void (*attend_few)(const Tile& tile);        // sums of the unit alone, for up to kMostFewRows rows of one strip
  void (*attend_few_pairs)(const Tile& tile);  // likewise
  /// Adds them to the rows' total, after which they have the bits that `attend` gives. value_dim: rounded up to kChannels.
  void (*fold_few)(int rows, int value_dim, const float* sums, float* total);
  /// Adds strips of results to those of partials (result.hpp). value_dim: rounded up to kChannels.
  void (*combine)(std::int64_t strips, int value_dim, const float* result, float* partial);
  void (*gradients)(const GradientTile& tile);        // adds to the tile's shares in the keys' gradients, sets that in the queries'
  void (*gradients_pairs)(const GradientTile& tile);  // words of two bf16; null: such cells are expanded
  void (*fold_grad_query)(const GradientTile& tile);  // adds it to the rows' totals
  void (*fold_grad_keys)(const GradientTile& tile);   // adds its shares in the keys' gradients to their totals, takes them away
  /// Adds pieces of kStrip floats to totals, as gradient_at has them (gradient.hpp).
  void (*add_share)(std::int64_t pieces, const float* share, float* gradient);
  /// `count` elements of `type`, times the factor, to fp32; they lie in rows of `width` words (kStrip, or kChannels in values), of
  /// which a pair becomes two rows. count: a multiple of 2 width; both ranges aligned to 32 bytes or more.
  void (*expand)(Type type, int width, const void* from, std::int64_t count, float factor, float* to);
  void (*products)(const Products& work);  // of query rows with keys, and nothing else
  /// Turns the pairs of a row in place, in float64, each rounded once (rotary.hpp). cosines, sines: [pairs].
  void (*turn)(RotaryLayout layout, int pairs, const double* cosines, const double* sines, float* row);
  /// cosines, sines: those of an angle; they become those of the angle and the step's together.
  void (*turn_on)(int pairs, const double* step_cosines, const double* step_sines, double* cosines, double* sines);
  double (*peak_flops)(double seconds);        // FLOP/s of an independent multiply-add loop on this thread, for about that long
  double (*pairs_peak_flops)(double seconds);  // the same of what multiplies pairs; null where nothing does
};

/// What an attend over cells of that type cannot exceed.
inline double peak_flops(const KernelTable& kernels, Type cells, double seconds) {
  const bool pairs = cells == Type::bf16 && kernels.pairs_peak_flops != nullptr;
  return (pairs ? kernels.pairs_peak_flops : kernels.peak_flops)(seconds);
}

/// Instruction sets that this build has and this processor runs, best first; the last is "portable", which is always there.
std::vector<const KernelTable*> available_kernels();

/// By name; empty takes the best. Throws std::invalid_argument naming those available.
const KernelTable& select_kernels(std::string_view name = {});

}  // namespace gyre
