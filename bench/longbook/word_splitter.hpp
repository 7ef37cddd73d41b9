// A text cut into the words within which byte pairs merge, as the expressions of a model's pre-tokenizer say.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace gyre::longbook {

class WordSplitter {
 public:
  /// As tokenizer.ggml.pre names it: gpt-2, or smollm, which parts digits first. Throws std::invalid_argument for another one.
  explicit WordSplitter(const std::string& pre_tokenizer);

  /// Calls visit for every word from the first on, while it returns true; words behind one another are the text. Throws
  /// std::invalid_argument where the text is not UTF-8, naming the byte.
  void split(std::string_view text, const std::function<bool(std::string_view)>& visit) const;

 private:
  struct Expression;
  /// Matches, and what is between them, each as a text of its own for the next expression.
  bool split_by(std::size_t expression, std::string_view text, const std::function<bool(std::string_view)>& visit) const;

  std::vector<std::shared_ptr<const Expression>> expressions_;
};

}  // namespace gyre::longbook
