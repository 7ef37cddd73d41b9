// Scalable Vector Graphics, as far as pictures here need them: rectangles, lines and text, in pixels from the top left.
#pragma once

#include <string>
#include <string_view>

namespace gyre {

/// As text between tags or in an attribute. What is not printable ASCII becomes "?", so that any bytes are safe.
std::string xml_text(std::string_view text);

struct Rectangle {
  double x = 0, y = 0, width = 0, height = 0;
};

struct SvgText {
  double x = 0, y = 0;  // of the baseline
  std::string text;     // escaped when it is written
  enum class Anchor { start, middle, end } anchor = Anchor::start;
  std::string colour = "#222";
  bool bold = false;
  double size = 0;  // 0: the picture's
};

class Svg {
 public:
  /// more: attributes, as they are to be written. tooltip: may be empty.
  void rectangle(const Rectangle& where, std::string_view fill, std::string_view more = "", std::string_view tooltip = "");
  void line(double x1, double y1, double x2, double y2, std::string_view colour, std::string_view more = "");
  void text(const SvgText& text);
  void open_group(std::string_view attributes);
  void close_group() { body_ += "</g>\n"; }

  /// The whole file. title: for those who cannot see it. definitions: patterns and the like.
  std::string finish(double width, double height, std::string_view title, std::string_view definitions) const;

 private:
  std::string body_;
};

}  // namespace gyre
