// Numbers as a person reads them.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

namespace gyre {

/// printf into a string, of at most 255 characters.
template <class... Values>
std::string format(const char* pattern, Values... values) {
  char line[256];
  std::snprintf(line, sizeof(line), pattern, values...);
  return line;
}

std::string number_text(double value);                            // "0.0625", six digits; NaN without a sign
std::string bytes_text(double bytes);                             // "4.19 MB", decimal
std::string seconds_text(double seconds);                         // "12.3 ms", three digits; from 1 s on to the millisecond
std::string duration_text(double seconds);                        // "2 min 5 s": to come, or long past
std::string grouped_text(std::int64_t count);                     // "65,536"
std::string plural(std::int64_t count, const std::string& word);  // "3 ranks"

}  // namespace gyre
