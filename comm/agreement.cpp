#include "comm/agreement.hpp"

#include <xxhash.h>

#include <algorithm>
#include <exception>
#include <optional>
#include <stdexcept>

#include "comm/error.hpp"

namespace gyre {
namespace {

/// Lengths before texts, so that no two statements have the same bytes.
void append(std::string& bytes, const std::string& text) {
  const std::uint64_t length = text.size();
  bytes.append(reinterpret_cast<const char*>(&length), sizeof(length));
  bytes += text;
}

std::string serialized(const Statement& statement) {
  std::string bytes;
  for (const auto& [name, value] : statement) {
    append(bytes, name);
    append(bytes, value);
  }
  return bytes;
}

Statement parsed(std::string_view bytes) {
  const auto take = [&] {
    std::uint64_t length = 0;
    std::copy_n(bytes.data(), sizeof(length), reinterpret_cast<char*>(&length));
    const std::string text(bytes.substr(sizeof(length), length));
    bytes.remove_prefix(sizeof(length) + length);
    return text;
  };
  Statement statement;
  while (!bytes.empty()) {
    std::string name = take();
    statement.emplace_back(std::move(name), take());
  }
  return statement;
}

std::vector<Statement> gather_statements(Transport& transport, const std::string& mine) {
  std::vector<std::uint64_t> lengths(transport.ranks());
  all_gather_value<std::uint64_t>(transport, mine.size(), lengths);
  const std::size_t longest = *std::max_element(lengths.begin(), lengths.end());
  std::string padded = mine;
  padded.resize(longest);
  std::string all(longest * transport.ranks(), '\0');
  transport.all_gather(std::as_bytes(std::span(padded)), std::as_writable_bytes(std::span(all)));

  std::vector<Statement> statements;
  for (std::size_t rank = 0; rank < lengths.size(); ++rank) {
    statements.push_back(parsed(std::string_view(all).substr(rank * longest, lengths[rank])));
  }
  return statements;
}

using Item = std::optional<std::pair<std::string, std::string>>;  // nothing where a statement has ended

/// The item of every rank at the first place where they are not all the same.
std::vector<Item> first_difference(const std::vector<Statement>& statements) {
  for (std::size_t place = 0;; ++place) {
    std::vector<Item> items;
    for (const Statement& statement : statements) items.push_back(place < statement.size() ? Item(statement[place]) : std::nullopt);
    if (std::count(items.begin(), items.end(), items[0]) != std::ptrdiff_t(items.size())) return items;
  }
}

/// Long values (a list of ten thousand documents) are cut to the surroundings of the first difference.
std::string excerpt(const std::string& value, const std::string& other) {
  constexpr std::size_t kShown = 60;
  constexpr std::size_t kBefore = 20;
  if (value.empty()) return "nothing";
  if (value.size() <= kShown) return value;
  const auto difference = std::mismatch(value.begin(), value.end(), other.begin(), other.end()).first;
  const std::size_t same = difference - value.begin();
  const std::size_t begin = std::min(same > kBefore ? same - kBefore : 0, value.size() - kShown);
  return (begin > 0 ? "..." : "") + value.substr(begin, kShown) + (begin + kShown < value.size() ? "..." : "");
}

std::string describe(const std::vector<Item>& items) {
  const auto supporters = [&](const Item& item) { return std::count(items.begin(), items.end(), item); };
  const auto majority =
      std::max_element(items.begin(), items.end(), [&](const Item& a, const Item& b) { return supporters(a) < supporters(b); });
  const auto dissenter = std::find_if(items.begin(), items.end(), [&](const Item& item) { return item != *majority; });
  const auto at = [&](auto item) { return " on rank " + std::to_string(item - items.begin()); };

  if (*majority && *dissenter && (*majority)->first == (*dissenter)->first) {
    const std::string& left = (*majority)->second;
    const std::string& right = (*dissenter)->second;
    return "ranks disagree on " + (*majority)->first + ": " + excerpt(left, right) + at(majority) + ", " + excerpt(right, left) +
           at(dissenter);
  }
  const auto text = [](const Item& item) { return item ? item->first + " = " + excerpt(item->second, "") : "nothing more"; };
  return "ranks disagree on which inputs there are: " + text(*majority) + at(majority) + ", " + text(*dissenter) + at(dissenter);
}

/// What `step` threw, or nothing.
std::optional<std::string> failure_of(const std::function<void()>& step) {
  try {
    step();
    return std::nullopt;
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "an error that is not a std::exception";
  }
}

}  // namespace

void agree(Transport& transport, const Statement& statement) {
  const std::string mine = serialized(statement);
  std::vector<std::uint64_t> hashes(transport.ranks());
  all_gather_value<std::uint64_t>(transport, XXH3_64bits(mine.data(), mine.size()), hashes);
  if (std::count(hashes.begin(), hashes.end(), hashes[0]) == std::ptrdiff_t(hashes.size())) return;
  throw Disagreement(describe(first_difference(gather_statements(transport, mine))) + "; give every rank the same");
}

void together(Transport& transport, const std::function<void()>& step) {
  const std::optional<std::string> failure = failure_of(step);
  std::vector<std::uint64_t> lengths(transport.ranks());  // 0: went well; else one more than the length of the message
  all_gather_value<std::uint64_t>(transport, failure ? failure->size() + 1 : 0, lengths);
  const auto failed = std::find_if(lengths.begin(), lengths.end(), [](std::uint64_t length) { return length > 0; });
  if (failed == lengths.end()) return;
  std::string message = failure.value_or("");
  message.resize(*failed - 1);
  transport.broadcast(std::as_writable_bytes(std::span(message)), static_cast<int>(failed - lengths.begin()));
  throw std::invalid_argument(message);
}

}  // namespace gyre
