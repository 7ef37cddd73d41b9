#include "bench/trainer/text.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <utility>

#include "bench/trainer/cross_entropy.hpp"
#include "bench/trainer/random.hpp"

namespace gyre::trainer {

Text Text::parse(const std::string& bytes, std::uint64_t seed) {
  std::vector<std::string> documents;
  for (std::size_t begin = 0; begin < bytes.size();) {
    const std::size_t gap = std::min(bytes.find("\n\n", begin), bytes.size());
    const std::size_t end = std::min(gap + 1, bytes.size());  // the last line's own newline is the document's
    documents.push_back(bytes.substr(begin, end - begin));
    begin = std::min(bytes.find_first_not_of('\n', gap), bytes.size());
  }
  Random random(seed);
  for (std::size_t left = documents.size(); left > 1; --left) std::swap(documents[left - 1], documents[random.next() % left]);
  Text text;
  for (const std::string& document : documents) {
    text.begins_.push_back(std::ssize(text.bytes_));
    text.bytes_ += document;
  }
  text.begins_.push_back(std::ssize(text.bytes_));
  return text;
}

Text Text::read(const std::string& path, std::uint64_t seed) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  if (bytes.empty())
    throw std::invalid_argument("no text can be read from " + path + "; give a file of documents between empty lines");
  return parse(bytes, seed);
}

PackedSequence Text::sequence(int step, std::int64_t tokens) const {
  const std::int64_t sequences = tokens > 0 ? std::ssize(bytes_) / tokens : 0;
  if (sequences == 0)
    throw std::invalid_argument("the text has " + std::to_string(bytes_.size()) + " bytes and a sequence " +
                                std::to_string(tokens) + "; give a longer text or shorter sequences");
  const std::int64_t begin = (step - 1) % sequences * tokens;
  PackedSequence sequence;
  auto next_begin = std::upper_bound(begins_.begin(), begins_.end(), begin);
  for (std::int64_t at = begin; at < begin + tokens; ++next_begin) {
    const std::int64_t end = std::min(*next_begin, begin + tokens);
    sequence.documents.push_back(end - at);
    for (; at < end; ++at) {
      sequence.tokens.push_back(static_cast<unsigned char>(bytes_[at]));
      const bool last = at + 1 == *next_begin;
      sequence.targets.push_back(last ? kNoTarget : static_cast<unsigned char>(bytes_[at + 1]));
      sequence.target_count += last ? 0 : 1;
    }
  }
  return sequence;
}

Batch batch_of(const PackedSequence& sequence, std::span<const Range> rows) {
  Batch batch;
  for (const Range& range : rows) {
    for (std::int64_t position = range.begin; position < range.end; ++position) {
      batch.tokens.push_back(sequence.tokens[position]);
      batch.targets.push_back(sequence.targets[position]);
      batch.positions.push_back(position);
    }
  }
  batch.gradient_scale = 1 / static_cast<double>(std::max<std::int64_t>(1, sequence.target_count));
  return batch;
}

}  // namespace gyre::trainer
