// A command line, one argument a line: a request whose choices say the same again as text, or one refusal.
#include <stdexcept>
#include <string>
#include <vector>

#include "launch/command_line.hpp"
#include "memory_file.hpp"
#include "runtime/attention.hpp"

namespace gyre {

// What parsing asks others for: kernels and hardware are not compiled a second time.
const KernelTable& select_kernels(std::string_view name) {
  throw std::invalid_argument("no instruction set '" + std::string(name) + "'; leave it out");
}
std::vector<const KernelTable*> available_kernels() {
  return {};
}
const char* version() {
  return "0";
}

std::optional<TopoRequest> parse_topo(const std::vector<std::string>&) {
  return std::nullopt;
}
std::string topo_help() {
  return "help";
}
std::optional<PlanRequest> parse_plan(const std::vector<std::string>&, const MaskFiles&) {
  return std::nullopt;
}
std::string plan_help() {
  return "help";
}
std::optional<CalibrateRequest> parse_calibrate(const std::vector<std::string>&, bool) {
  return std::nullopt;
}
std::string calibrate_help() {
  return "help";
}

namespace {

/// Layouts that are always there: their chunks come from their names.
std::vector<Chunk> invented_chunks(const std::string& path) {
  if (path.size() > 9) throw std::invalid_argument("there is no file with a name that long");
  std::vector<Chunk> chunks;
  for (const char c : path) {
    const std::int64_t begin = chunks.empty() ? 0 : chunks.back().tokens.end;
    chunks.push_back({.tokens = {begin, begin + 1 + c % 5}, .rank = c & 3});
  }
  return chunks;
}

void check(const RunRequest& request) {
  require(PartitionChoice::parse(request.options.partition.text(), invented_chunks) == request.options.partition);
  require(parse_strategy(to_string(request.options.strategy)) == request.options.strategy);
  require(!request.synthetic || request.input_file.empty());
  require(Mask::parse(request.mask.text()).text() == request.mask.text());
  if (request.out_type == FileType::bf16) require(request.out_file.ends_with(".safetensors"));
}

}  // namespace
}  // namespace gyre

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::string> arguments{"run"};
  for (std::size_t k = 0; k < size; ++k) {
    if (k == 0 || data[k] == '\n') arguments.emplace_back();
    if (data[k] != '\n') arguments.back() += static_cast<char>(data[k]);
  }
  try {
    const gyre::Command command = gyre::parse_command_line(arguments, size % 2 == 0, {}, gyre::invented_chunks);
    gyre::require(command.run.has_value() == command.text.empty());
    if (command.run) gyre::check(*command.run);
  } catch (const std::invalid_argument&) {
  }
  return 0;
}
