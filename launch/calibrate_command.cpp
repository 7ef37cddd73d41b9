#include "launch/calibrate_command.hpp"

#include <algorithm>
#include <boost/program_options.hpp>
#include <chrono>
#include <ctime>
#include <sstream>

#include "comm/agreement.hpp"
#include "comm/hardware.hpp"
#include "comm/heartbeat.hpp"
#include "comm/topology.hpp"
#include "launch/calibrate_kernels.hpp"
#include "launch/calibrate_links.hpp"
#include "launch/calibrate_report.hpp"
#include "launch/given.hpp"
#include "launch/print.hpp"
#include "launch/run_command.hpp"
#include "launch/run_options.hpp"
#include "launch/run_request.hpp"
#include "launch/topo_command.hpp"
#include "runtime/io/whole_file.hpp"

namespace gyre {
namespace {

namespace po = boost::program_options;

constexpr int kMostRanks = 64, kMostRounds = 1000;
constexpr std::size_t kLongestName = 100;

po::options_description describe_options() {
  po::options_description options("Options of gyre calibrate");
  const auto option = [&](const char* name, const char* value, const std::string& text) {
    options.add_options()(name, po::value<std::string>()->value_name(value), text.c_str());
  };
  option("out", "FILE", "the machine file, JSON: for --machine of gyre run and gyre plan, and --replay; -: on standard output");
  option("name", "NAME", "of the machine, in the file (the host's)");
  option("ranks", "N", "without mpirun, ranks inside this process, " + limits_text(1, kMostRanks) + " (2; 1 on a single core)");
  option("repeat", "N", "rounds that medians are of, " + limits_text(1, kMostRounds) + " (7; 3 if quick)");
  options.add_options()("quick", "small shapes and messages: rough figures, in a second or two")("help", "this text");
  return options;
}

/// "2026-03-01", of universal time.
std::string today() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  std::ostringstream text;
  text << 1900 + parts.tm_year << (parts.tm_mon < 9 ? "-0" : "-") << 1 + parts.tm_mon << (parts.tm_mday < 10 ? "-0" : "-")
       << parts.tm_mday;
  return text.str();
}

/// Of the node that has least for each of its ranks. 0: the system does not tell.
double memory_per_rank(Transport& transport, const Topology& topology) {
  const auto mine = static_cast<double>(this_hardware().memory_bytes);
  const auto same_node = std::count(topology.node_of_rank.begin(), topology.node_of_rank.end(),
                                    topology.node_of_rank[static_cast<std::size_t>(transport.rank())]);
  return minimum_over_ranks(transport, mine / static_cast<double>(same_node));
}

}  // namespace

std::optional<CalibrateRequest> parse_calibrate(const std::vector<std::string>& arguments, bool launched) {
  const Given given("calibrate", describe_options(), arguments);
  if (given.has("help")) return std::nullopt;
  if (launched && given.has("ranks")) refuse("--ranks is for runs without mpirun or srun, which say it themselves; remove it");
  CalibrateRequest request;
  request.out_file = given.text("out");
  if (request.out_file.empty()) refuse("--out is missing; name the machine file, or - for standard output");
  if (request.out_file == kStandardOutput) request.out_file.clear();
  request.name = given.text("name");
  if (request.name.size() > kLongestName)
    refuse("--name has " + std::to_string(request.name.size()) + " bytes; give at most " + std::to_string(kLongestName));
  request.ranks = given.integer("ranks", 1, kMostRanks).value_or(0);
  request.quick = given.has("quick");
  request.rounds = given.integer("repeat", 1, kMostRounds).value_or(request.quick ? 3 : request.rounds);
  return request;
}

std::string calibrate_help() {
  std::ostringstream text;
  text << describe_options();
  return text.str();
}

int ranks_of(const CalibrateRequest& request) {
  if (request.ranks > 0) return request.ranks;
  return this_place().cores > 1 ? 2 : 1;
}

int calibrate_command(Transport& transport, const CalibrateRequest& request) {
  agree(transport, {{"--name", request.name},
                    {"--out", request.out_file},
                    {"--quick", request.quick ? "given" : "not given"},
                    {"--repeat", std::to_string(request.rounds)}});
  transport.heartbeat().set_deadline(kDefaultDeadlineSeconds);
  const bool first = transport.rank() == 0;
  std::optional<WholeFile> file;
  together(transport, [&] {
    if (first && !request.out_file.empty()) file.emplace(request.out_file, 0, true);
  });
  const Topology topology = discover_topology(transport);
  const std::vector<int> threads = gather_threads(transport, 1);
  if (first) warn_of_launch(topology, threads, transport.heartbeat().deadline_seconds());
  const double start = seconds_now();
  Calibration found{.kernels = measure_kernels(transport, request),
                    .links = measure_links(transport, request),
                    .memory_bytes_per_rank = memory_per_rank(transport, topology),
                    .ranks = transport.ranks(),
                    .nodes = topology.nodes(),
                    .rounds = request.rounds,
                    .host = topology.places[0].host_name.data(),
                    .date = today()};
  found.one_process =
      transport.ranks() > 1 && topology.places.front().process == topology.places.back().process && topology.nodes() == 1;
  found.seconds = seconds_now() - start;
  together(transport, [&] {
    if (!first) return;
    const std::string json = machine_file(found, request.name.empty() ? found.host : request.name);
    if (file) {
      file->write(0, json);
      file->publish();
    }
    print(file ? to_text(found, request.out_file) : json);
  });
  return kSuccess;
}

}  // namespace gyre
