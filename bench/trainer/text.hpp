// A text as documents of bytes, shuffled, and packed into sequences of equal length: a token is a byte.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bench/trainer/model.hpp"
#include "partition/units.hpp"

namespace gyre::trainer {

/// Documents behind one another. The last one may be cut; what is left of it begins the next sequence.
struct PackedSequence {
  std::vector<std::int32_t> tokens, targets;  // kNoTarget behind the last byte of a document
  std::vector<std::int64_t> documents;        // lengths, adding up to the tokens
  std::int64_t target_count = 0;
};

class Text {
 public:
  /// Documents are what stands between empty lines.
  static Text parse(const std::string& bytes, std::uint64_t seed);
  /// Throws std::invalid_argument if the file cannot be read or is empty.
  static Text read(const std::string& path, std::uint64_t seed);

  /// The sequence of a step, the first is 1; after the last one comes the first again. Throws std::invalid_argument where the text
  /// is shorter than one sequence.
  PackedSequence sequence(int step, std::int64_t tokens) const;

 private:
  std::string bytes_;                 // of all documents, shuffled
  std::vector<std::int64_t> begins_;  // of documents, and the end
};

/// The rows of these ranges, in their order.
Batch batch_of(const PackedSequence& sequence, std::span<const Range> rows);

}  // namespace gyre::trainer
