// Byte pair encoding (Sennrich 2016, 1508.07909; of bytes: GPT-2): a word's neighbours merge, the pair that was learned first
// before all others, the leftmost of equal ones, until no pair is known.
//
// A vocabulary of this kind spells bytes as letters, so that none is a space or a control character: what is printed stands for
// itself, the other bytes for letters from U+0100 on. A space is U+0120.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace gyre::longbook {

class BytePairs {
 public:
  /// tokens: spelt in letters, different ones. merges: "left right", the first learned first. Throws std::invalid_argument naming
  /// what is not understood; the message wants the file's name before it.
  BytePairs(std::span<const std::string> tokens, std::span<const std::string> merges);

  int vocabulary() const { return static_cast<int>(texts_.size()); }
  /// Appends the tokens of a word. n log n in its bytes. Throws std::invalid_argument for a byte that no token spells.
  void encode(std::string_view word, std::vector<std::int32_t>& tokens) const;
  /// The bytes that a token stands for. It is one of the vocabulary.
  const std::string& text(std::int32_t token) const { return texts_[token]; }

 private:
  struct Merge {
    std::int32_t rank = 0, merged = 0;
  };
  const Merge* find(std::int32_t left, std::int32_t right) const;

  std::array<std::int32_t, 256> of_byte_{};          // kNone: no token spells it
  std::unordered_map<std::uint64_t, Merge> merges_;  // by left and right
  std::vector<std::string> texts_;
};

}  // namespace gyre::longbook
