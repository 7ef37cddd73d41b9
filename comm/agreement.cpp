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
    std::string text(bytes.substr(sizeof(length), length));
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

using Value = std::optional<std::string>;  // nothing where a rank was not given that input

/// One input as every rank has it.
struct Difference {
  std::string name;
  std::vector<Value> values;  // [rank]
};

Value value_of(const Statement& statement, const std::string& name) {
  const auto found = std::find_if(statement.begin(), statement.end(), [&](const auto& item) { return item.first == name; });
  return found == statement.end() ? std::nullopt : Value(found->second);
}

std::string names_of(const Statement& statement) {
  std::string names;
  for (const auto& [name, value] : statement) names += (names.empty() ? "" : ", ") + name;
  return names;
}

/// Of the inputs that are not the same on all ranks, the first of the lowest rank that has one.
Difference first_difference(const std::vector<Statement>& statements) {
  const auto same = [](const std::vector<Value>& values) {
    return std::count(values.begin(), values.end(), values[0]) == std::ptrdiff_t(values.size());
  };
  std::vector<Value> values(statements.size());
  for (const Statement& statement : statements) {
    for (const auto& input : statement) {
      std::transform(statements.begin(), statements.end(), values.begin(),
                     [&](const Statement& other) { return value_of(other, input.first); });
      if (!same(values)) return {input.first, values};
    }
  }
  std::transform(statements.begin(), statements.end(), values.begin(), names_of);
  return {"the order of their inputs", values};
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

std::string describe(const Difference& difference) {
  const std::vector<Value>& values = difference.values;
  const auto supporters = [&](const Value& value) { return std::count(values.begin(), values.end(), value); };
  const auto majority =
      std::max_element(values.begin(), values.end(), [&](const Value& a, const Value& b) { return supporters(a) < supporters(b); });
  const auto dissenter = std::find_if(values.begin(), values.end(), [&](const Value& value) { return value != *majority; });
  const auto text = [&](auto value, auto other) {
    return (*value ? excerpt(**value, other->value_or("")) : "not given") + " on rank " + std::to_string(value - values.begin());
  };
  return "ranks disagree on " + difference.name + ": " + text(majority, dissenter) + ", " + text(dissenter, majority);
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
