#include "runtime/machine.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>

namespace gyre {
namespace {

using Json = nlohmann::ordered_json;

struct Field {
  const char* section;
  const char* name;
  double& (*of)(Machine&);
  double least, most;
};

constexpr double kLeastRate = 1, kMostRate = 1e21, kMostSeconds = 1e3;

constexpr Field rate(const char* section, const char* name, double& (*of)(Machine&), double least = kLeastRate) {
  return {section, name, of, least, kMostRate};
}
constexpr Field seconds(const char* section, const char* name, double& (*of)(Machine&)) {
  return {section, name, of, 0, kMostSeconds};
}

constexpr Field kFields[] = {
    rate("kernels", "f32_flops_per_second", [](Machine& m) -> double& { return m.kernels.flops_per_second[0]; }),
    rate("kernels", "bf16_flops_per_second", [](Machine& m) -> double& { return m.kernels.flops_per_second[1]; }),
    rate("kernels", "f16_flops_per_second", [](Machine& m) -> double& { return m.kernels.flops_per_second[2]; }),
    seconds("kernels", "attend_seconds", [](Machine& m) -> double& { return m.kernels.attend_seconds; }),
    seconds("kernels", "row_unit_seconds", [](Machine& m) -> double& { return m.kernels.row_unit_seconds; }),
    rate("kernels", "memory_bytes_per_second", [](Machine& m) -> double& { return m.kernels.memory_bytes_per_second; }),
    rate("kernels", "packing_bytes_per_second", [](Machine& m) -> double& { return m.kernels.packing_bytes_per_second; }),
    seconds("shared_memory", "loan_seconds", [](Machine& m) -> double& { return m.loan_seconds; }),
    seconds("node", "latency_seconds", [](Machine& m) -> double& { return m.node.latency_seconds; }),
    rate("node", "bytes_per_second", [](Machine& m) -> double& { return m.node.bytes_per_second; }),
    seconds("node", "message_seconds", [](Machine& m) -> double& { return m.node.message_seconds; }),
    rate(
        "node", "processor_bytes_per_second", [](Machine& m) -> double& { return m.node.processor_bytes_per_second; }, 0),
    seconds("network", "latency_seconds", [](Machine& m) -> double& { return m.network.latency_seconds; }),
    rate("network", "bytes_per_second", [](Machine& m) -> double& { return m.network.bytes_per_second; }),
    seconds("network", "message_seconds", [](Machine& m) -> double& { return m.network.message_seconds; }),
    rate(
        "network", "processor_bytes_per_second", [](Machine& m) -> double& { return m.network.processor_bytes_per_second; }, 0),
    rate("network", "link_bytes_per_second", [](Machine& m) -> double& { return m.link_bytes_per_second; }),
    rate(
        "memory", "bytes_per_rank", [](Machine& m) -> double& { return m.memory_bytes_per_rank; }, 0),
};
constexpr int kMostLinks = 1024;
constexpr std::size_t kMostRates = 1024;
constexpr int kLargestListedDim = 1 << 16;

[[noreturn]] void refuse(const std::string& text) {
  throw std::invalid_argument("machine: " + text);
}

/// What a message shows of a text that may be anything.
std::string shown(std::string text) {
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  for (char& character : text)
    if (static_cast<unsigned char>(character) < ' ' || static_cast<unsigned char>(character) > '~') character = '?';
  return "'" + text + "'";
}

/// Lists and objects by their kind alone: they may be nested as deep as a file is long.
std::string shown(const Json& value) {
  if (!value.is_primitive()) return std::string("an ") + value.type_name();
  return shown(value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', true, Json::error_handler_t::replace));
}

/// The number or the truth of a field, which may stand with its source.
const Json& value_of(const std::string& name, const Json& given) {
  if (!given.is_object()) return given;
  for (const auto& [key, value] : given.items()) {
    if (key != "value" && key != "source") refuse(name + " has " + shown(key) + "; a number stands alone, or as value and source");
    if (key == "source" && !value.is_string()) refuse(name + " has the source " + shown(value) + "; make it a text");
  }
  if (!given.contains("value")) refuse(name + " has no value; give one");
  return given["value"];
}

double number_of(const std::string& name, const Json& given, double least, double most) {
  const Json& value = value_of(name, given);
  const double number = value.is_number() ? value.get<double>() : std::nan("");
  if (!(number >= least && number <= most)) {
    std::ostringstream limits;
    limits << least << " to " << most;
    refuse(name + " is " + shown(value) + "; give a number from " + limits.str());
  }
  return number;
}

Type type_named(const std::string& name, const Json& given) {
  for (const Type type : {Type::f32, Type::bf16, Type::f16})
    if (given.is_string() && given.get<std::string>() == to_string(type)) return type;
  refuse(name + " is " + shown(given) + "; use f32, bf16 or f16");
}

KernelRate read_rate(const std::string& entry, const Json& given) {
  if (!given.is_object())
    refuse(entry + " is " + shown(given) + "; make it an object of isa, dtype, head_dim and flops_per_second");
  KernelRate rate;
  for (const char* name : {"isa", "dtype", "head_dim", "flops_per_second"})
    if (!given.contains(name)) refuse(entry + " has no " + name + "; give one");
  for (const auto& [name, value] : given.items()) {
    const std::string full = std::string(entry).append(".").append(name);
    if (name == "isa") {
      if (!value.is_string() || value.get<std::string>().empty())
        refuse(full + " is " + shown(value) + "; name an instruction set");
      rate.isa = value.get<std::string>();
    } else if (name == "dtype") {
      rate.type = type_named(full, value);
    } else if (name == "head_dim") {
      const double dim = number_of(full, value, 1, kLargestListedDim);
      if (dim != std::floor(dim)) refuse(full + " is " + shown(value) + "; give a whole number");
      rate.head_dim = static_cast<int>(dim);
    } else if (name == "flops_per_second") {
      rate.flops_per_second = number_of(full, value, kLeastRate, kMostRate);
    } else if (name != "source" || !value.is_string()) {
      refuse(entry + " has " + shown(name) + " of " + shown(value) +
             "; an entry has isa, dtype, head_dim, flops_per_second, and a text as source");
    }
  }
  return rate;
}

std::vector<KernelRate> read_rates(const Json& given) {
  if (!given.is_array() || given.size() > kMostRates)
    refuse("kernels.rates is " + shown(given) + "; make it a list of at most " + std::to_string(kMostRates) + " objects");
  std::vector<KernelRate> rates;
  for (const Json& entry : given) {
    const std::string name = "kernels.rates[" + std::to_string(rates.size()) + "]";
    rates.push_back(read_rate(name, entry));
    const KernelRate& last = rates.back();
    for (std::size_t other = 0; other + 1 < rates.size(); ++other)
      if (rates[other].isa == last.isa && rates[other].type == last.type && rates[other].head_dim == last.head_dim)
        refuse(name + " is of the same isa, dtype and head_dim as entry " + std::to_string(other) + "; remove one");
  }
  return rates;
}

void read_field(const std::string& section, const std::string& name, const Json& given, Machine& machine) {
  const std::string full = section + "." + name;
  for (const Field& field : kFields) {
    if (section != field.section || name != field.name) continue;
    field.of(machine) = number_of(full, given, field.least, field.most);
    return;
  }
  if (full == "network.links_per_node") {
    const double links = number_of(full, given, 1, kMostLinks);
    if (links != std::floor(links)) refuse(full + " is " + shown(value_of(full, given)) + "; give a whole number");
    machine.links_per_node = static_cast<int>(links);
    return;
  }
  if (full == "kernels.rates") {
    machine.kernels.rates = read_rates(given);
    return;
  }
  if (full == "shared_memory.is_shared") {
    const Json& value = value_of(full, given);
    if (!value.is_boolean()) refuse(full + " is " + shown(value) + "; give true or false");
    machine.shares_memory = value.get<bool>();
    return;
  }
  refuse("there is no field " + shown(full) + "; launch/machines has files with all there are");
}

}  // namespace

double KernelModel::rate(Type type, double head_dim) const {
  const auto first = std::find_if(rates.begin(), rates.end(), [&](const KernelRate& rate) { return rate.type == type; });
  if (first == rates.end()) return flops_per_second[static_cast<std::size_t>(type)];
  const KernelRate *below = nullptr, *above = nullptr;  // the nearest on either side
  for (const KernelRate& rate : rates) {
    if (rate.type != type || rate.isa != first->isa) continue;
    if (rate.head_dim <= head_dim && (below == nullptr || rate.head_dim > below->head_dim)) below = &rate;
    if (rate.head_dim >= head_dim && (above == nullptr || rate.head_dim < above->head_dim)) above = &rate;
  }
  if (below == nullptr || above == nullptr) return (below == nullptr ? above : below)->flops_per_second;
  if (below == above) return below->flops_per_second;
  const double share = (1.0 / below->head_dim - 1 / head_dim) / (1.0 / below->head_dim - 1.0 / above->head_dim);
  return 1 / ((1 - share) / below->flops_per_second + share / above->flops_per_second);
}

Machine Machine::with_instruction_set(std::string_view isa) const {
  Machine chosen = *this;
  std::erase_if(chosen.kernels.rates, [&](const KernelRate& rate) { return rate.isa != isa; });
  return chosen.kernels.rates.empty() ? *this : chosen;
}

Machine Machine::with_threads(int threads) const {
  Machine faster = *this;
  for (double& rate : faster.kernels.flops_per_second) rate *= threads;
  for (KernelRate& rate : faster.kernels.rates) rate.flops_per_second *= threads;
  faster.kernels.row_unit_seconds /= threads;
  faster.kernels.packing_bytes_per_second *= threads;
  return faster;
}

Machine default_machine() {
  return {
      .name = "zen4-vm",
      .kernels = {.flops_per_second = {85e9, 155e9, 80e9},
                  .attend_seconds = 2e-5,
                  .row_unit_seconds = 4e-9,
                  .memory_bytes_per_second = 38e9,
                  .packing_bytes_per_second = 2.5e9},
      .shares_memory = true,
      .loan_seconds = 1e-6,
      .node = {.latency_seconds = 1e-6, .bytes_per_second = 5e9, .message_seconds = 1e-6, .processor_bytes_per_second = 5e9},
      .network = {.latency_seconds = 2e-5, .bytes_per_second = 1.25e9, .message_seconds = 2e-6, .processor_bytes_per_second = 2e9},
      .links_per_node = 1,
      .link_bytes_per_second = 1.25e9,
      .memory_bytes_per_rank = 0};
}

Machine parse_machine(std::string_view text) {
  const Json json = Json::parse(text.begin(), text.end(), nullptr, false);
  if (json.is_discarded()) refuse("the text is not JSON; see launch/machines for examples");
  if (!json.is_object()) refuse("the text is no JSON object; see launch/machines for examples");
  Machine machine = default_machine();
  machine.name = "unnamed";
  for (const auto& [section, fields] : json.items()) {
    if (section == "name" || section == "note") {
      if (!fields.is_string()) refuse(section + " is " + shown(fields) + "; make it a text");
      if (section == "name") machine.name = fields.get<std::string>();
      continue;
    }
    if (!fields.is_object())
      refuse(shown(section) + " is no section; use kernels, shared_memory, node, network and memory, with fields in each");
    for (const auto& [name, given] : fields.items()) read_field(section, name, given, machine);
  }
  return machine;
}

Machine read_machine(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::invalid_argument("machine file '" + path + "' cannot be read; give one that can, or none");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  try {
    return parse_machine(text);
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(path + ": " + error.what());
  }
}

std::string to_json(const Machine& machine, const MachineSources& sources) {
  const auto source_of = [&](const std::string& name) -> const std::string* {
    const auto found = sources.find(name);
    return found == sources.end() ? nullptr : &found->second;
  };
  const auto with_source = [&](const char* section, const char* name, Json value) -> Json {
    const std::string* const source = source_of(std::string(section) + "." + name);
    return source == nullptr ? value : Json{{"value", std::move(value)}, {"source", *source}};
  };
  Json json = {{"name", machine.name}};
  if (const std::string* const note = source_of("note")) json["note"] = *note;
  Machine copy = machine;
  for (const Field& field : kFields) json[field.section][field.name] = with_source(field.section, field.name, field.of(copy));
  for (const KernelRate& rate : machine.kernels.rates) {
    Json& entry = json["kernels"]["rates"].emplace_back(Json{{"isa", rate.isa},
                                                             {"dtype", to_string(rate.type)},
                                                             {"head_dim", rate.head_dim},
                                                             {"flops_per_second", rate.flops_per_second}});
    if (const std::string* const source = source_of("kernels.rates")) entry["source"] = *source;
  }
  json["network"]["links_per_node"] = with_source("network", "links_per_node", machine.links_per_node);
  json["shared_memory"]["is_shared"] = with_source("shared_memory", "is_shared", machine.shares_memory);
  return json.dump(2, ' ', true, Json::error_handler_t::replace) + "\n";
}

}  // namespace gyre
