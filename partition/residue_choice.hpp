// Which residue order suits a mask, by an estimate of what kernels touch: they take keys in panels of 8 against strips of 16 rows,
// and a panel costs the same whether one pair of it is visible or all are.
//
//   strided(64), 16 neighbours        see one key of 64 each, and touch a third of all panels
//   the same, rows and keys by 64     touch 16 keys of a unit of 1,024, and see all of them
//   window(256)                       16 neighbours touch 272 keys; rows and keys by 64: two whole units
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "partition/bands.hpp"
#include "partition/residues.hpp"

namespace gyre {

/// Nominal lengths of units.
struct UnitTokens {
  std::int64_t queries = 0;
  std::int64_t keys = 0;
};

/// The lengths of units that may be chosen where the caller names none: those of default_unit_tokens, with that wish, then with
/// longer ones, up to `longest`. In residue order a class has a strip of keys only in units of 16 strides.
std::vector<UnitTokens> unit_choices(std::int64_t query_tokens, std::int64_t key_tokens, int ranks, std::int64_t wished,
                                     std::int64_t longest);

struct ResidueChoice {
  ResidueOrder order{};
  UnitTokens units{};
};

/// Keys that a strip of 16 rows, `group` of each token, touches in the mean, and what it costs to add its units up, in keys. Bands
/// that lie over each other count each; tables are left out.
double keys_of_strip(const Bands& bands, Range queries, Range keys, int group, ResidueOrder order, UnitTokens units);

/// The least costly of the strides that bands have, with units of one of these lengths; but tokens as they come, with the first
/// lengths, unless a stride saves a quarter, and where bands have tables: these are looked up in the order of tokens. A pure
/// function of its arguments that takes a few steps for each band.
ResidueChoice choose_residues(const Bands& bands, Range queries, Range keys, int group, std::span<const UnitTokens> units);

}  // namespace gyre
