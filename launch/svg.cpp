#include "launch/svg.hpp"

#include <cmath>

#include "runtime/text.hpp"

namespace gyre {
namespace {

/// Hundredths of a pixel, without zeros at the end.
std::string pixels(double value) {
  return number_text(std::round(100 * value) / 100);
}

}  // namespace

std::string xml_text(std::string_view text) {
  std::string safe;
  for (const char character : text) {
    switch (character) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      default:
        safe += character >= ' ' && character <= '~' ? character : '?';
    }
  }
  return safe;
}

void Svg::rectangle(const Rectangle& where, std::string_view fill, std::string_view more, std::string_view tooltip) {
  body_ += "<rect x=\"" + pixels(where.x) + "\" y=\"" + pixels(where.y) + "\" width=\"" + pixels(where.width) + "\" height=\"" +
           pixels(where.height) + "\" fill=\"";
  ((body_ += fill) += "\"") += more.empty() ? "" : " ";
  body_ += more;
  body_ += tooltip.empty() ? "/>\n" : "><title>" + xml_text(tooltip) + "</title></rect>\n";
}

void Svg::line(double x1, double y1, double x2, double y2, std::string_view colour, std::string_view more) {
  body_ += "<path d=\"M" + pixels(x1) + " " + pixels(y1) + "L" + pixels(x2) + " " + pixels(y2) + "\" stroke=\"";
  ((body_ += colour) += "\" ") += more;
  body_ += "/>\n";
}

void Svg::text(const SvgText& text) {
  body_ += "<text x=\"" + pixels(text.x) + "\" y=\"" + pixels(text.y) + "\" fill=\"" + text.colour + "\"";
  if (text.anchor != SvgText::Anchor::start)
    body_ += text.anchor == SvgText::Anchor::middle ? " text-anchor=\"middle\"" : " text-anchor=\"end\"";
  if (text.bold) body_ += " font-weight=\"600\"";
  if (text.size > 0) body_ += " font-size=\"" + pixels(text.size) + "\"";
  body_ += ">" + xml_text(text.text) + "</text>\n";
}

void Svg::open_group(std::string_view attributes) {
  ((body_ += "<g ") += attributes) += ">\n";
}

std::string Svg::finish(double width, double height, std::string_view title, std::string_view definitions) const {
  std::string file = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + pixels(width) + " " + pixels(height) +
                     "\" font-family=\"sans-serif\" font-size=\"11\">\n<title>" + xml_text(title) + "</title>\n<defs>";
  file += definitions;
  return file + "</defs>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n" + body_ + "</svg>\n";
}

}  // namespace gyre
