#include "bench/longbook/word_splitter.hpp"

#include <stdexcept>
#include <utility>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace gyre::longbook {
namespace {

struct Free {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

constexpr const char* kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

std::vector<const char*> expressions_of(const std::string& pre_tokenizer) {
  if (pre_tokenizer == "gpt-2") return {kGpt2};
  if (pre_tokenizer == "smollm") return {R"(\p{N})", kGpt2};
  throw std::invalid_argument("has the pre-tokenizer '" + pre_tokenizer +
                              "'; gpt-2 and smollm are known: take a model with one of them");
}

}  // namespace

struct WordSplitter::Expression {
  explicit Expression(const char* pattern) {
    int error = 0;
    PCRE2_SIZE at = 0;
    code.reset(
        pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &error, &at, nullptr));
    if (!code) throw std::logic_error(std::string(pattern) + " does not compile at " + std::to_string(at));
    pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);  // where it cannot, matches are interpreted
  }

  /// [first, second) of the first match from `begin` on; none: both are the end of the text.
  std::pair<std::size_t, std::size_t> find(std::string_view text, std::size_t begin, std::uint32_t options,
                                           pcre2_match_data* match) const {
    const int found =
        pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), begin, options, match, nullptr);
    if (found == PCRE2_ERROR_NOMATCH) return {text.size(), text.size()};
    if (found <= PCRE2_ERROR_UTF8_ERR1 && found >= PCRE2_ERROR_UTF8_ERR21)
      throw std::invalid_argument("is not UTF-8 at byte " + std::to_string(pcre2_get_startchar(match)) + "; convert it (iconv)");
    if (found < 0) throw std::runtime_error("a text cannot be cut into words: PCRE2's error " + std::to_string(found));
    const PCRE2_SIZE* const ends = pcre2_get_ovector_pointer(match);
    return {ends[0], ends[1]};
  }

  std::unique_ptr<pcre2_code, Free> code;
};

WordSplitter::WordSplitter(const std::string& pre_tokenizer) {
  for (const char* pattern : expressions_of(pre_tokenizer)) expressions_.push_back(std::make_shared<const Expression>(pattern));
}

void WordSplitter::split(std::string_view text, const std::function<bool(std::string_view)>& visit) const {
  if (text.empty()) return;
  const std::unique_ptr<pcre2_match_data, Free> match(pcre2_match_data_create(1, nullptr));
  expressions_[0]->find(text, 0, 0, match.get());  // looks whether all of it is UTF-8; later matches need not
  split_by(0, text, visit);
}

bool WordSplitter::split_by(std::size_t expression, std::string_view text,
                            const std::function<bool(std::string_view)>& visit) const {
  if (expression == expressions_.size()) return visit(text);
  const std::unique_ptr<pcre2_match_data, Free> match(pcre2_match_data_create(1, nullptr));
  for (std::size_t at = 0; at < text.size();) {
    const auto [begin, end] = expressions_[expression]->find(text, at, PCRE2_NO_UTF_CHECK, match.get());
    if (begin > at && !split_by(expression + 1, text.substr(at, begin - at), visit)) return false;
    if (end > begin && !split_by(expression + 1, text.substr(begin, end - begin), visit)) return false;
    at = end;
  }
  return true;
}

}  // namespace gyre::longbook
