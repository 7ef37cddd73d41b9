#include "runtime/text.hpp"

#include <cmath>

namespace gyre {

std::string number_text(double value) {
  return std::isnan(value) ? "nan" : format("%g", value);
}

std::string bytes_text(double bytes) {
  const char* const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  int unit = 0;
  for (; bytes >= 1000 && unit < 5; ++unit) bytes /= 1000;
  return format(unit == 0 ? "%.0f %s" : "%.3g %s", bytes, units[unit]);
}

std::string seconds_text(double seconds) {
  if (seconds >= 1) return format("%.3f s", seconds);
  return seconds >= 1e-3 ? format("%.3g ms", 1e3 * seconds) : format("%.3g us", 1e6 * seconds);
}

std::string duration_text(double seconds) {
  const long long whole = std::llround(seconds);
  if (whole < 100) return format("%lld s", whole);
  if (whole < 6000) return format("%lld min %lld s", whole / 60, whole % 60);
  return format("%lld h %lld min", whole / 3600, whole / 60 % 60);
}

std::string grouped_text(std::int64_t count) {
  const std::string digits = std::to_string(count);
  std::string text;
  for (std::size_t place = 0; place < digits.size(); ++place) {
    if (place > 0 && digits[place - 1] != '-' && (digits.size() - place) % 3 == 0) text += ',';
    text += digits[place];
  }
  return text;
}

std::string plural(std::int64_t count, const std::string& word) {
  return std::to_string(count) + " " + word + (count == 1 ? "" : "s");
}

}  // namespace gyre
