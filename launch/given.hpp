// The options of a command line, with conversions that say what is wrong.
#pragma once

#include <charconv>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace boost::program_options {
class options_description;
template <class Character>
class basic_option;
}  // namespace boost::program_options

namespace gyre {

/// Throws std::invalid_argument.
[[noreturn]] void refuse(const std::string& text);

/// As the name of a file.
inline constexpr const char* kStandardOutput = "-";

class Given {
 public:
  /// Long options, each once and never abbreviated, so that "-3" is a value. Flags take none, all others one. Throws
  /// std::invalid_argument naming option, value and remedy. `command`: whose options they are, for the messages.
  Given(std::string_view command, const boost::program_options::options_description& description,
        const std::vector<std::string>& arguments);

  bool has(const std::string& name) const { return values_.contains(name); }
  std::string text(const std::string& name, const std::string& otherwise = "") const;
  std::optional<double> real(const std::string& name, double least, double most) const;
  template <class Integer>
  std::optional<Integer> integer(const std::string& name, Integer least, Integer most = std::numeric_limits<Integer>::max()) const {
    if (!has(name)) return std::nullopt;
    const std::string& given = values_.at(name);
    Integer value = 0;
    const auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), value);
    if (error != std::errc{} || end != given.data() + given.size() || value < least || value > most)
      refuse("--" + name + " is '" + given + "'; give a whole number from " + std::to_string(least) + " to " +
             std::to_string(most));
    return value;
  }
  const std::map<std::string, std::string>& all() const { return values_; }

 private:
  void take(std::string_view command, const boost::program_options::basic_option<char>& option,
            const boost::program_options::options_description& description);

  std::map<std::string, std::string> values_;
};

}  // namespace gyre
