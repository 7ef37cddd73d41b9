// Where units restart for the sake of documents, and of chunks.
//
// A unit across the border of two documents is attended by queries of both and travels to both, so units restart there. Not where
// that would save nothing: at borders that queries see across anyway, and between documents so short that units would shrink to a
// few tokens. Units of one token cost kernels, cells and tables as much as units of a strip; and where every unit sees every
// other, their number counts squared.
//
//   documents(300,200,500), units of 128               cuts 300, 500
//   documents(300,200,500) | prefix(450)               cuts      500: from 300 on, too, queries see what lies before 300
//   documents(300,200,500) | causal                    none
//   documents(3,500,1,1,495)                           cuts      503
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "partition/bands.hpp"

namespace gyre {

/// Of two documents' common borders (positions, ascending, first and last are the ends), those at which units of so many tokens
/// restart, ascending: all but where every query of a unit's length on one side sees every key of a unit's length on the other, and
/// but those less than kShortestPiece, or a unit, after the one before.
std::vector<std::int64_t> cuts_of_documents(std::span<const std::int64_t> borders, const Bands& bands, std::int64_t unit_tokens);

inline constexpr std::int64_t kShortestPiece = 64;

/// The multiples of `length` inside a range of positions, ascending: units of dual chunk attention lie in one chunk each.
std::vector<std::int64_t> cuts_of_chunks(Range positions, std::int64_t length);

}  // namespace gyre
