// The grammar, by recursive descent. Spaces may stand between any two words.
//
//   union        = intersection { "|" intersection }
//   intersection = factor { "&" factor }
//   factor       = "(" union ")" | name [ "(" number { "," number } ")" ] | "documents" "(" file ")"
//                | "blocks" "(" file "," number [ "," number ] ")" | "columns" "(" file ")" | "diagonals" "(" file "," number ")"
//                | "slices" "(" file ")"
//   file         = anything up to "," or ")", or in quotation marks; one of documents begins with neither digit nor "-"
#include <array>
#include <charconv>
#include <stdexcept>

#include "partition/mask.hpp"

namespace gyre {
namespace {

using Arguments = std::span<const std::int64_t>;

struct Primitive {
  std::string_view name;
  std::size_t fewest, most;  // arguments
  std::int64_t least;        // value of an argument
  Mask (*make)(Arguments);
};

constexpr std::size_t kAnyNumber = ~std::size_t{0};

constexpr std::array kPrimitives{
    Primitive{"full", 0, 0, 0, [](Arguments) { return Mask::full(); }},
    Primitive{"causal", 0, 0, 0, [](Arguments) { return Mask::causal(); }},
    Primitive{"window", 1, 2, 0, [](Arguments a) { return Mask::window(a[0], a.size() == 2 ? a[1] : 0); }},
    Primitive{"sinks", 1, 1, 0, [](Arguments a) { return Mask::sinks(a[0]); }},
    Primitive{"prefix", 1, 1, 0, [](Arguments a) { return Mask::prefix(a[0]); }},
    Primitive{"documents", 1, kAnyNumber, 1, [](Arguments a) { return Mask::documents(a); }},
    Primitive{"dilated", 2, 2, 1, [](Arguments a) { return Mask::dilated(a[0], a[1]); }},
    Primitive{"strided", 1, 1, 1, [](Arguments a) { return Mask::strided(a[0]); }},
};

/// Those whose first argument is a file, and the numbers behind it.
struct FilePrimitive {
  std::string_view name;
  std::string_view form;
  std::size_t fewest, most;  // numbers, each at least 1
  bool (*readable)(const MaskFiles&);
  Mask (*make)(const MaskFiles&, const std::string& file, Arguments);
};

constexpr std::array kFilePrimitives{
    FilePrimitive{"blocks", "blocks(FILE,B)", 1, 2, [](const MaskFiles& files) { return files.blocks != nullptr; },
                  [](const MaskFiles& files, const std::string& file, Arguments a) {
                    return Mask::blocks(files.blocks(file, a[0], a[a.size() - 1]), file);
                  }},
    FilePrimitive{
        "columns", "columns(FILE)", 0, 0, [](const MaskFiles& files) { return files.rows != nullptr; },
        [](const MaskFiles& files, const std::string& file, Arguments) { return Mask::columns(files.rows(file, 1), file); }},
    FilePrimitive{
        "diagonals", "diagonals(FILE,C)", 1, 1, [](const MaskFiles& files) { return files.rows != nullptr; },
        [](const MaskFiles& files, const std::string& file, Arguments a) { return Mask::diagonals(files.rows(file, a[0]), file); }},
    FilePrimitive{
        "slices", "slices(FILE)", 0, 0, [](const MaskFiles& files) { return files.slices != nullptr; },
        [](const MaskFiles& files, const std::string& file, Arguments) { return Mask::slices(files.slices(file), file); }},
};

/// Behind an error in what may have been meant as the name of a file.
constexpr const char* kQuoting =
    "; a file whose name begins with a digit or '-', or has a comma in it, stands in quotation marks: documents(\"2024.npy\")";

constexpr std::string_view kUsage =
    "full, causal, window(L), window(L,R), sinks(N), prefix(N), documents(n1,n2,...), documents(FILE), dilated(L,D), strided(S), "
    "blocks(FILE,B), blocks(FILE,BQ,BK), columns(FILE), diagonals(FILE,C), slices(FILE) or '('";

bool is_letter(char c) {
  return ('a' <= c && c <= 'z') || ('A' <= c && c <= 'Z') || c == '_';
}
bool is_digit(char c) {
  return '0' <= c && c <= '9';
}
/// Such a character in or behind a number says that a file was meant.
bool is_of_a_name(char c) {
  return is_letter(c) || c == '.' || c == '-' || c == '/';
}
bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

class Parser {
 public:
  Parser(std::string_view text, const MaskFiles& files) : text_(text), files_(files) { skip_spaces(); }

  Mask parse() {
    Mask mask = parse_union();
    if (at_ != text_.size()) fail(at_, "expected '&', '|' or the end");
    return mask;
  }

 private:
  static constexpr int kDeepest = 200;  // parentheses; the stack needs three frames for each

  Mask parse_union() {
    Mask mask = parse_intersection();
    for (std::size_t sign = at_; accept('|'); sign = at_) {
      const Mask right = parse_intersection();
      mask = at_column(sign, [&] { return mask | right; });
    }
    return mask;
  }

  Mask parse_intersection() {
    Mask mask = parse_factor();
    for (std::size_t sign = at_; accept('&'); sign = at_) {
      const Mask right = parse_factor();
      mask = at_column(sign, [&] { return mask & right; });
    }
    return mask;
  }

  Mask parse_factor() {
    const std::size_t begin = at_;
    if (!accept('(')) return parse_primitive();
    if (++depth_ > kDeepest) fail(begin, "more than " + std::to_string(kDeepest) + " nested parentheses: remove some");
    Mask mask = parse_union();
    if (!accept(')')) fail(at_, "expected '&', '|' or ')'");
    --depth_;
    return mask;
  }

  Mask parse_primitive() {
    const std::size_t begin = at_;
    const std::string_view name = word();
    if (name.empty()) fail(begin, "expected " + std::string(kUsage));
    for (const FilePrimitive& primitive : kFilePrimitives) {
      if (primitive.name == name) return parse_file_primitive(primitive, begin);
    }
    for (const Primitive& primitive : kPrimitives) {
      if (primitive.name != name) continue;
      if (name == "documents" && names_file()) return parse_documents_file();
      const std::vector<std::int64_t> arguments = parse_arguments(primitive);
      return at_column(begin, [&] { return primitive.make(arguments); });
    }
    fail(begin, "unknown primitive '" + excerpt(name) + "': expected " + std::string(kUsage));
  }

  std::vector<std::int64_t> parse_arguments(const Primitive& primitive) {
    std::vector<std::int64_t> arguments;
    if (primitive.most == 0) return arguments;
    if (!accept('(')) fail(at_, "expected '(' after " + std::string(primitive.name));
    do {
      arguments.push_back(parse_number(primitive.name, primitive.least, primitive.name == "documents"));
    } while (arguments.size() < primitive.most && accept(','));
    const bool comma = arguments.size() < primitive.most, close = arguments.size() >= primitive.fewest;
    if (!close || !accept(')')) fail(at_, comma && close ? "expected ',' or ')'" : comma ? "expected ','" : "expected ')'");
    return arguments;
  }

  /// may_be_file: what stands there instead of a number may have been meant as one.
  std::int64_t parse_number(std::string_view primitive, std::int64_t least, bool may_be_file) {
    const std::size_t begin = at_;
    std::size_t end = begin + (begin < text_.size() && text_[begin] == '-');
    while (end < text_.size() && is_digit(text_[end])) ++end;
    std::int64_t value = 0;
    const auto [stop, error] = std::from_chars(text_.data() + begin, text_.data() + end, value);
    const bool name = may_be_file && end < text_.size() && is_of_a_name(text_[end]);
    const std::string hint = name ? kQuoting : "";
    if (error == std::errc::invalid_argument) fail(at_, "expected a number" + hint);
    if (name) fail(end, "expected ',' or ')'" + hint);
    const std::string limits = "at least " + std::to_string(least) + " and below 2^60";
    if (error != std::errc{} || value < least || value >= kUnbounded) {
      fail(begin, excerpt(text_.substr(begin, end - begin)) + " is no argument of " + std::string(primitive) +
                      ": expected a number of " + limits);
    }
    at_ = end;
    skip_spaces();
    return value;
  }

  /// Whether what stands between the parentheses of documents() is a file.
  bool names_file() const {
    if (at_ == text_.size() || text_[at_] != '(') return false;
    std::size_t next = at_ + 1;
    while (next < text_.size() && is_space(text_[next])) ++next;
    return next < text_.size() && !is_digit(text_[next]) && std::string_view("-,)").find(text_[next]) == std::string_view::npos;
  }

  Mask parse_documents_file() {
    accept('(');
    const std::size_t begin = at_;
    const std::string file = parse_file();
    if (!accept(')')) fail(at_, std::string("expected ')'") + (at_ < text_.size() ? kQuoting : ""));
    if (!files_.lengths) {
      fail(begin, "documents(FILE) reads a file, which cannot be done here: expected lengths, as in documents(n1,n2,...)");
    }
    return at_column(begin, [&] { return Mask::documents(files_.lengths(file), file); });
  }

  Mask parse_file_primitive(const FilePrimitive& primitive, std::size_t name) {
    if (!accept('(')) fail(at_, "expected '(' after " + std::string(primitive.name));
    const std::size_t begin = at_;
    const std::string file = parse_file();
    std::vector<std::int64_t> numbers;
    while (numbers.size() < primitive.most) {
      if (!accept(',')) {
        if (numbers.size() >= primitive.fewest) break;
        fail(at_, "expected ','");
      }
      numbers.push_back(parse_number(primitive.name, 1, true));
    }
    if (!accept(')')) fail(at_, numbers.size() < primitive.most ? "expected ',' or ')'" : "expected ')'");
    if (!primitive.readable(files_)) {
      fail(name,
           std::string(primitive.form) + " reads a file, which cannot be done here: use documents, windows, dilated or strided");
    }
    return at_column(begin, [&] { return primitive.make(files_, file, numbers); });
  }

  std::string parse_file() {
    const bool quoted = at_ < text_.size() && text_[at_] == '"';
    const std::size_t begin = at_ + quoted;
    std::size_t end = std::min(quoted ? text_.find('"', begin) : text_.find_first_of(",)", begin), text_.size());
    at_ = end + quoted;
    if (quoted && end == text_.size()) fail(end, "expected '\"' after the name of a file");
    while (!quoted && end > begin && is_space(text_[end - 1])) --end;
    if (end == begin) fail(begin, "expected the name of a file");
    const std::string_view file = text_.substr(begin, end - begin);
    if (const std::size_t mark = file.find('"'); mark != std::string_view::npos) {
      fail(begin + mark, "a quotation mark inside the name of a file: rename the file");
    }
    skip_spaces();
    return std::string(file);
  }

  // What a mask itself refuses (too many bands, documents that disagree) gets the column, too.
  template <class Make>
  Mask at_column(std::size_t column, Make&& make) {
    try {
      return make();
    } catch (const std::invalid_argument& error) {
      fail(column, error.what());
    }
  }

  bool accept(char sign) {
    if (at_ == text_.size() || text_[at_] != sign) return false;
    ++at_;
    skip_spaces();
    return true;
  }

  std::string_view word() {
    const std::size_t begin = at_;
    while (at_ < text_.size() && (is_letter(text_[at_]) || (at_ > begin && is_digit(text_[at_])))) ++at_;
    const std::string_view found = text_.substr(begin, at_ - begin);
    skip_spaces();
    return found;
  }

  void skip_spaces() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  }

  // Errors are one line of readable length, however long the expression: control characters become spaces.
  static std::string one_line(std::string text) {
    for (char& c : text) {
      if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = ' ';
    }
    return text;
  }
  static std::string excerpt(std::string_view text) {
    constexpr std::size_t kLongest = 200;
    return one_line(std::string(text.substr(0, kLongest))) + (text.size() > kLongest ? "..." : "");
  }

  [[noreturn]] void fail(std::size_t at, const std::string& what) const {
    throw std::invalid_argument(one_line("mask \"" + excerpt(text_) + "\" column " + std::to_string(at + 1) + ": " + what));
  }

  std::string_view text_;
  const MaskFiles& files_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

Mask Mask::parse(std::string_view expression, const MaskFiles& files) {
  return Parser(expression, files).parse();
}

}  // namespace gyre
