#include "launch/topo_command.hpp"

#include <unistd.h>

#include <boost/program_options.hpp>
#include <cstdio>
#include <sstream>

#include "comm/agreement.hpp"
#include "comm/heartbeat.hpp"
#include "launch/given.hpp"
#include "launch/launch_line.hpp"
#include "launch/open_mpi_settings.hpp"
#include "launch/placement_warnings.hpp"
#include "launch/print.hpp"
#include "launch/run_command.hpp"
#include "launch/topo_report.hpp"
#include "runtime/io/whole_file.hpp"

namespace gyre {
namespace {

namespace po = boost::program_options;

constexpr int kMostRanks = 1 << 20;

po::options_description describe_options() {
  po::options_description options("Options of gyre topo");
  options.add_options()("ranks", po::value<std::string>()->value_name("N"), "how to start that many ranks on such nodes")(
      "json", po::value<std::string>()->value_name("FILE"), "the same, as JSON; -: on standard output, instead of the text")(
      "help", "this text");
  return options;
}

/// One for each host, by its lowest rank. Collective.
std::vector<Hardware> gather_hardware(Transport& transport, std::span<const RankPlace> places) {
  std::vector<Hardware> all(transport.ranks());
  all_gather_value(transport, this_hardware(), std::span(all));
  std::vector<Hardware> nodes;
  std::vector<std::uint64_t> seen;
  for (std::size_t rank = 0; rank < places.size(); ++rank) {
    if (std::find(seen.begin(), seen.end(), places[rank].host) != seen.end()) continue;
    seen.push_back(places[rank].host);
    nodes.push_back(all[rank]);
  }
  return nodes;
}

}  // namespace

std::vector<int> gather_threads(Transport& transport, int threads) {
  std::vector<int> all(transport.ranks());
  all_gather_value(transport, threads, std::span(all));
  return all;
}

std::optional<TopoRequest> parse_topo(const std::vector<std::string>& arguments) {
  const Given given("topo", describe_options(), arguments);
  if (given.has("help")) return std::nullopt;
  TopoRequest request{.ranks = given.integer("ranks", 1, kMostRanks), .json_file = given.text("json")};
  if (request.json_file == kStandardOutput) request.json_file.clear(), request.printed = Printed::json;
  return request;
}

std::string topo_help() {
  std::ostringstream text;
  text << describe_options();
  return text.str();
}

int topo_command(Transport& transport, const TopoRequest& request) {
  const bool first = transport.rank() == 0;
  std::optional<WholeFile> json;
  together(transport, [&] {
    if (first && !request.json_file.empty()) json.emplace(request.json_file, 0, true);
  });
  const Topology topology = discover_topology(transport);
  TopoReport report{.places = topology.places,
                    .threads = gather_threads(transport, topology.default_threads()),
                    .nodes = gather_hardware(transport, topology.places),
                    .root = geteuid() == 0};
  if (const auto warning = open_mpi_warning(topology.nodes(), transport.heartbeat().deadline_seconds()))
    report.launch_warnings = {*warning};
  if (request.ranks) {
    report.suggested = {*request.ranks};
  } else if (transport.ranks() > 1) {
    report.suggested = {transport.ranks()};
  } else {
    report.suggested = suitable_ranks(report.nodes[0].node);
  }
  together(transport, [&] {
    if (!first) return;
    if (json) {
      json->write(0, to_json(report));
      json->publish();
    }
    print(request.printed == Printed::json ? to_json(report) : to_text(report));
  });
  return kSuccess;
}

void warn_of_launch(const Topology& topology, std::span<const int> threads, double deadline_seconds) {
  std::vector<std::string> warnings = placement_warnings(topology.places, threads);
  if (const auto warning = open_mpi_warning(topology.nodes(), deadline_seconds)) warnings.insert(warnings.begin(), *warning);
  if (warnings.empty()) return;
  std::string line = "gyre: warning: " + warnings[0];
  if (warnings.size() > 1) line += " (and " + std::to_string(warnings.size() - 1) + " more: gyre topo shows them)";
  std::fprintf(stderr, "%s\n", line.c_str());
}

}  // namespace gyre
