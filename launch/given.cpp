#include "launch/given.hpp"

#include <boost/program_options.hpp>
#include <stdexcept>

#include "launch/option_names.hpp"
#include "runtime/text.hpp"

namespace gyre {

namespace po = boost::program_options;

void refuse(const std::string& text) {
  throw std::invalid_argument(text);
}

Given::Given(std::string_view command, const po::options_description& description, const std::vector<std::string>& arguments) {
  const int style =
      po::command_line_style::allow_long | po::command_line_style::long_allow_adjacent | po::command_line_style::long_allow_next;
  const po::parsed_options parsed = [&] {
    try {
      return po::command_line_parser(arguments).options(description).style(style).allow_unregistered().run();
    } catch (const po::invalid_command_line_syntax& error) {
      const std::string name = error.get_option_name();
      const std::size_t begin = name.find_first_not_of('-');
      const auto* const option = begin == std::string::npos ? nullptr : description.find_nothrow(name.substr(begin), false);
      if (option == nullptr) refuse(std::string(error.what()) + "; options are --NAME VALUE or --NAME=VALUE");
      if (option->semantic()->max_tokens() == 0) refuse(name + " takes no value; give " + name + " alone");
      refuse(name + " needs a value; give one: " + name + " " + option->format_parameter());
    } catch (const po::error& error) {
      refuse(error.what());
    }
  }();
  for (const po::option& option : parsed.options) take(command, option, description);
}

void Given::take(std::string_view command, const po::option& option, const po::options_description& description) {
  const std::string& name = option.string_key;
  if (name.empty()) refuse("unexpected argument '" + (option.value.empty() ? "" : option.value[0]) + "'; options begin with --");
  if (option.unregistered) {
    std::vector<std::string> known;
    for (const auto& there : description.options()) known.push_back(there->long_name());
    refuse_option(command, name, known);
  }
  const std::string value = option.value.empty() ? "" : option.value[0];
  const bool flag = description.find(name, false).semantic()->max_tokens() == 0;
  if (!flag && (value.empty() || value.starts_with("--")))
    refuse("--" + name + " needs a value" + (value.empty() ? "" : ", and " + value + " follows it") + "; give one: --" + name +
           " " + description.find(name, false).format_parameter());
  if (!values_.emplace(name, value).second) refuse("--" + name + " is given twice; give it once");
}

std::string Given::text(const std::string& name, const std::string& otherwise) const {
  const auto found = values_.find(name);
  return found == values_.end() ? otherwise : found->second;
}

std::optional<double> Given::real(const std::string& name, double least, double most) const {
  if (!has(name)) return std::nullopt;
  const std::string& given = values_.at(name);
  double value = 0;
  const auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), value);
  if (error != std::errc{} || end != given.data() + given.size() || !(value >= least && value <= most))
    refuse("--" + name + " is '" + given + "'; give a number from " + number_text(least) + " to " + number_text(most));
  return value;
}

}  // namespace gyre
