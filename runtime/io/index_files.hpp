// The files of integers that the command line names: documents(FILE), blocks(FILE,B), columns(FILE), diagonals(FILE,C) and
// slices(FILE) of masks, layout(FILE) of placements. Every rank reads them whole, in pieces of 8 MiB.
//
// What a table costs, of uint8 or bool, for 1M tokens and blocks of B: (2^20 / B)^2 bytes of file (268 MB at B = 64, 67 MB at 128)
// that each node reads once and its ranks from the page cache, and an eighth of that in the memory of each rank; times the heads,
// if it has one plane for each. Measured at B = 64: 1.5 s a rank on a busy core, 43 MB resident.
#pragma once

#include <string>
#include <vector>

#include "partition/mask.hpp"
#include "partition/placement.hpp"

namespace gyre {

/// Lengths from a .npy of integers of any width, one extent. Throws std::invalid_argument naming the file and the limit: what
/// locate_npy() refuses, another type or shape, more lengths than a mask may have, a length below 1 or from 2^60 on, a file that
/// shrinks.
std::vector<std::int64_t> read_document_lengths(const std::string& path);

/// A table from a .npy of uint8 or bool, [rows, columns] or [heads, rows, columns]. Throws std::invalid_argument likewise.
BlockTable read_blocks(const std::string& path, std::int64_t query_tokens, std::int64_t key_tokens);

/// A table of one row, for every query, from a .npy of uint8 or bool, [columns] or [heads, columns]; of diagonals, columns are bins
/// of key_tokens. Throws std::invalid_argument likewise.
BlockTable read_row(const std::string& path, std::int64_t key_tokens);

/// From a .npy of integers, [n, 5]: begin and end of queries, begin and end of keys, SliceKind. Throws std::invalid_argument
/// likewise, and on a slice that ends before it begins or is of no such kind.
std::vector<Slice> read_slices(const std::string& path);

/// A layout from a .npy of integers, [chunks, 3]: begin, end, rank of each. Whether they cover the axis is seen where it is known.
/// Throws std::invalid_argument likewise.
std::vector<Chunk> read_chunks(const std::string& path);

/// All but the last, for Mask::parse.
MaskFiles mask_files();

}  // namespace gyre
