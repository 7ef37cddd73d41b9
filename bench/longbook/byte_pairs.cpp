#include "bench/longbook/byte_pairs.hpp"

#include <queue>
#include <stdexcept>
#include <tuple>

namespace gyre::longbook {
namespace {

constexpr std::int32_t kNone = -1;

std::string utf8(unsigned letter) {  // below U+0800
  if (letter < 0x80) return {static_cast<char>(letter)};
  return {static_cast<char>(0xc0 | letter >> 6), static_cast<char>(0x80 | (letter & 0x3f))};
}

bool stands_for_itself(unsigned byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

/// How a vocabulary spells each byte.
std::array<std::string, 256> letters_of_bytes() {
  std::array<std::string, 256> letters;
  unsigned next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) letters[byte] = utf8(stands_for_itself(byte) ? byte : next++);
  return letters;
}

std::string in_quotes(std::string_view text) {
  return "'" + std::string(text.substr(0, 80)) + "'";
}

std::uint64_t pair_of(std::int32_t left, std::int32_t right) {
  return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
}

/// Letters as the bytes that they spell; what no letter of a byte is (a name such as <|end|> is all letters) stays as it is.
std::string spelt(std::string_view token, const std::unordered_map<std::string_view, char>& bytes) {
  std::string text;
  for (std::size_t at = 0; at < token.size();) {
    const std::size_t length = static_cast<unsigned char>(token[at]) >= 0xc0 ? 2 : 1;  // of letters that spell bytes
    const auto found = bytes.find(token.substr(at, length));
    if (found == bytes.end())
      text += token[at++];
    else
      text += found->second, at += length;
  }
  return text;
}

}  // namespace

BytePairs::BytePairs(std::span<const std::string> tokens, std::span<const std::string> merges) {
  std::unordered_map<std::string_view, std::int32_t> ids;
  for (const std::string& token : tokens)
    if (!ids.emplace(token, static_cast<std::int32_t>(ids.size())).second)
      throw std::invalid_argument("has the token " + in_quotes(token) + " twice");
  const auto id_of = [&](std::string_view token, const std::string& merge) {
    const auto found = ids.find(token);
    if (found == ids.end()) throw std::invalid_argument("has the merge " + in_quotes(merge) + ", but no token " + in_quotes(token));
    return found->second;
  };
  for (const std::string& merge : merges) {
    const std::size_t space = merge.find(' ');
    if (space == std::string::npos) throw std::invalid_argument("has the merge " + in_quotes(merge) + ", which is no pair");
    const std::string left = merge.substr(0, space), right = merge.substr(space + 1);
    const Merge made = {static_cast<std::int32_t>(merges_.size()), id_of(left + right, merge)};
    if (!merges_.emplace(pair_of(id_of(left, merge), id_of(right, merge)), made).second)
      throw std::invalid_argument("has the merge " + in_quotes(merge) + " twice");
  }
  const std::array<std::string, 256> letters = letters_of_bytes();
  std::unordered_map<std::string_view, char> bytes;
  for (std::size_t byte = 0; byte < letters.size(); ++byte) {
    const auto found = ids.find(letters[byte]);
    of_byte_[byte] = found == ids.end() ? kNone : found->second;
    bytes.emplace(letters[byte], static_cast<char>(byte));
  }
  for (const std::string& token : tokens) texts_.push_back(spelt(token, bytes));
}

const BytePairs::Merge* BytePairs::find(std::int32_t left, std::int32_t right) const {
  const auto found = merges_.find(pair_of(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void BytePairs::encode(std::string_view word, std::vector<std::int32_t>& tokens) const {
  // A list of what the word consists of so far, by place of the first byte; what was merged into its left neighbour is kNone.
  struct Link {
    std::int32_t token;
    std::int64_t before, behind;
  };
  const std::int64_t size = std::ssize(word);
  std::vector<Link> links;
  for (std::int64_t at = 0; at < size; ++at) {
    const auto byte = static_cast<unsigned char>(word[at]);
    if (of_byte_[byte] == kNone)
      throw std::invalid_argument("has the byte " + std::to_string(byte) + ", which no token of the model spells; remove it");
    links.push_back({of_byte_[byte], at - 1, at + 1});
  }
  // Pairs that can merge, by rank and place. A pair whose sides have changed since is no longer one.
  using Pair = std::tuple<std::int32_t, std::int64_t, std::int32_t, std::int32_t>;  // rank, place, left, right
  std::priority_queue<Pair, std::vector<Pair>, std::greater<>> pairs;
  const auto offer = [&](std::int64_t place) {
    if (place < 0 || links[place].behind >= size) return;
    const std::int32_t left = links[place].token, right = links[links[place].behind].token;
    if (const Merge* merge = find(left, right)) pairs.emplace(merge->rank, place, left, right);
  };
  for (std::int64_t at = 0; at < size; ++at) offer(at);
  while (!pairs.empty()) {
    const auto [rank, place, left, right] = pairs.top();
    pairs.pop();
    Link& link = links[place];
    if (link.token != left || link.behind >= size || links[link.behind].token != right) continue;
    link.token = find(left, right)->merged;
    links[link.behind].token = kNone;
    link.behind = links[link.behind].behind;
    if (link.behind < size) links[link.behind].before = place;
    offer(link.before), offer(place);
  }
  for (std::int64_t at = 0; at < size; at = links[at].behind) tokens.push_back(links[at].token);
}

}  // namespace gyre::longbook
