#include "runtime/mechanism/sparse_choice.hpp"

#include <charconv>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <string_view>

#include "runtime/text.hpp"

namespace gyre {
namespace {

constexpr std::int64_t kMostArgument = std::int64_t{1} << 31;
constexpr const char* kAll =
    "use dense, a_shape(FIRST,WINDOW), vertical_slash(COLUMNS,DIAGONALS), block_topk(BLOCKS), xattention(STRIDE,THRESHOLD) or "
    "moba(BLOCK,BLOCKS)";

/// A name and its arguments, of which nothing is known yet.
struct Spec {
  std::string text;
  std::string_view name;
  std::vector<std::string_view> arguments;

  explicit Spec(const std::string& given) : text(given) {
    const std::string_view all = text;
    const std::size_t open = all.find('(');
    name = all.substr(0, open);
    if (open == std::string_view::npos) return;
    if (all.back() != ')') throw std::invalid_argument("sparse choice '" + text + "' has no closing parenthesis; " + kAll);
    std::string_view rest = all.substr(open + 1, all.size() - open - 2);
    while (true) {
      const std::size_t comma = rest.find(',');
      arguments.push_back(rest.substr(0, comma));
      if (comma == std::string_view::npos) return;
      rest.remove_prefix(comma + 1);
    }
  }
  void require(std::size_t count) const {
    if (arguments.size() == count) return;
    throw std::invalid_argument("sparse choice '" + text + "' has " + plural(std::ssize(arguments), "argument") + "; " +
                                std::string(name) + " takes " + std::to_string(count) + ": " + kAll);
  }
  template <class Number>
  Number number(std::size_t index, const char* what, Number least, Number most) const {
    Number value{};
    const std::string_view argument = arguments[index];
    const auto [end, error] = std::from_chars(argument.data(), argument.data() + argument.size(), value);
    if (error == std::errc() && end == argument.data() + argument.size() && value >= least && value <= most) return value;
    throw std::invalid_argument(
        "sparse choice '" + text + "' has '" + std::string(argument) + "' for " + what +
        format("; give a number from %.10g to %.10g", static_cast<double>(least), static_cast<double>(most)));
  }
  std::int64_t whole(std::size_t index, const char* what, std::int64_t least, std::int64_t most = kMostArgument) const {
    return number<std::int64_t>(index, what, least, most);
  }
};

XAttention xattention_of(const Spec& spec) {
  XAttention choice;
  choice.stride = spec.whole(0, "the stride", 1, XAttention::kBlock);
  choice.threshold = spec.number<double>(1, "the threshold", 1e-6, 1);
  if (XAttention::kBlock % choice.stride != 0)
    throw std::invalid_argument("sparse choice '" + spec.text + "' has stride " + std::to_string(choice.stride) +
                                "; give a divisor of 128, as 8 or 16");
  return choice;
}

std::string text_of(EveryPair) {
  return "dense";
}
std::string text_of(const AShape& choice) {
  return "a_shape(" + std::to_string(choice.first_keys) + ',' + std::to_string(choice.window_keys) + ')';
}
std::string text_of(const VerticalSlash& choice) {
  return "vertical_slash(" + std::to_string(choice.columns) + ',' + std::to_string(choice.diagonals) + ')';
}
std::string text_of(const BlockTopk& choice) {
  return "block_topk(" + std::to_string(choice.blocks) + ')';
}
std::string text_of(const XAttention& choice) {
  char digits[32];  // the fewest that give the same number again
  const auto written = std::to_chars(std::begin(digits), std::end(digits), choice.threshold);
  return "xattention(" + std::to_string(choice.stride) + ',' + std::string(digits, written.ptr) + ')';
}
std::string text_of(const Moba& choice) {
  return "moba(" + std::to_string(choice.block_tokens) + ',' + std::to_string(choice.blocks) + ')';
}

}  // namespace

SparseChoice parse_sparse_choice(const std::string& text) {
  const Spec spec(text);
  if (spec.name == "dense") return spec.require(0), EveryPair{};
  if (spec.name == "a_shape") {
    spec.require(2);
    return AShape{spec.whole(0, "the first keys", 0), spec.whole(1, "the window", 1)};
  }
  if (spec.name == "vertical_slash") {
    spec.require(2);
    return VerticalSlash{spec.whole(0, "the columns, of which the first 30 always count", VerticalSlash::kForcedColumns),
                         spec.whole(1, "the diagonals, of which the first 100 always count", VerticalSlash::kForcedDiagonals)};
  }
  if (spec.name == "block_topk") return spec.require(1), BlockTopk{spec.whole(0, "the blocks", 1)};
  if (spec.name == "xattention") return spec.require(2), xattention_of(spec);
  if (spec.name == "moba") {
    spec.require(2);
    return Moba{spec.whole(0, "the tokens of a block", 1), spec.whole(1, "the blocks", 1)};
  }
  throw std::invalid_argument("sparse choice '" + text + "' is unknown; " + kAll);
}

std::string to_string(const SparseChoice& choice) {
  return std::visit([](const auto& method) { return text_of(method); }, choice);
}

bool estimates(const SparseChoice& choice) {
  return !std::holds_alternative<EveryPair>(choice) && !std::holds_alternative<AShape>(choice);
}

std::vector<SparseChoice> read_sparse_choices(const std::string& text) {
  if (!text.ends_with(".json")) return {parse_sparse_choice(text)};
  std::ifstream file(text);
  if (!file) throw std::invalid_argument(text + " cannot be read; give a JSON file that lists a choice for each query head");
  const auto json = nlohmann::json::parse(file, nullptr, false);
  const char* const wanted = "; give a list with a choice for each query head, as [\"dense\", \"moba(512,8)\"]";
  if (!json.is_array() || json.empty()) throw std::invalid_argument(text + " is no JSON list" + wanted);
  std::vector<SparseChoice> choices;
  for (const auto& entry : json) {
    const std::string where = text + ", entry " + std::to_string(choices.size());
    if (!entry.is_string()) throw std::invalid_argument(where + " is no text" + wanted);
    try {
      choices.push_back(parse_sparse_choice(entry.get<std::string>()));
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(where + ": " + error.what());
    }
  }
  return choices;
}

}  // namespace gyre
