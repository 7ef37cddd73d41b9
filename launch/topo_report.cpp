#include "launch/topo_report.hpp"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "launch/launch_line.hpp"
#include "launch/open_mpi_settings.hpp"
#include "launch/placement_warnings.hpp"

namespace gyre {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kAllowRoot[] = {"OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"};

std::string count_text(int count, const std::string& thing) {
  return std::to_string(count) + " " + thing + (count == 1 ? "" : "s");
}

std::string bytes_text(std::int64_t bytes) {
  const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  int unit = 0;
  for (; value >= 1024 && unit < 4; ++unit) value /= 1024;
  char text[32];
  std::snprintf(text, sizeof(text), value < 10 && unit > 2 ? "%.1f %s" : "%.0f %s", value, units[unit]);
  return text;
}

template <class Words>
std::vector<int> bits_of(const Words& words) {
  std::vector<int> bits;
  for (std::size_t word = 0; word < words.size(); ++word)
    for (int bit = 0; bit < 64; ++bit)
      if (words[word] >> bit & 1) bits.push_back(static_cast<int>(64 * word) + bit);
  return bits;
}

std::vector<int> numa_nodes_of(const RankPlace& place) {
  return bits_of(std::array{place.numa_nodes});
}

std::string hardware_text(const Hardware& hardware) {
  std::string text = std::string(hardware.host.data()) + ": " + count_text(hardware.packages, "package") + ", " +
                     count_text(hardware.node.numa_nodes, "NUMA node") + ", " + count_text(hardware.node.cores, "core") + ", " +
                     count_text(hardware.hardware_threads, "hardware thread");
  for (std::size_t level = 0; level < hardware.caches.size(); ++level) {
    const CacheLevel& cache = hardware.caches[level];
    if (cache.count == 0) continue;
    text += ", L" + std::to_string(level + 1) + " " + bytes_text(cache.bytes) + " for " +
            (cache.cores == 1 ? "each core" : "every " + count_text(cache.cores, "core"));
  }
  if (hardware.memory_bytes > 0) text += ", memory " + bytes_text(hardware.memory_bytes);
  if (hardware.available_bytes > 0) text += " (" + bytes_text(hardware.available_bytes) + " available)";
  return text + "\n";
}

std::string rank_text(const TopoReport& report, int rank) {
  const RankPlace& place = report.places[rank];
  const std::vector<int> sharing = shared_with(report, rank);
  char line[512];
  std::snprintf(line, sizeof(line), "rank %-4d %-16s %s (hardware threads %s), NUMA %s, %s, %s\n", rank, place.host_name.data(),
                count_text(static_cast<int>(place.cores), "core").c_str(), ranges_text(bits_of(place.hardware_threads)).c_str(),
                ranges_text(numa_nodes_of(place)).c_str(), count_text(report.threads[rank], "thread").c_str(),
                sharing.empty() ? "shared with nobody" : ("shared with " + ranges_text(sharing)).c_str());
  return line;
}

std::string line_text(const TopoReport& report, const LaunchLine& line) {
  std::string text = count_text(line.ranks, "rank") + " of " + count_text(line.threads, "thread");
  if (line.ranks_per_node > report.nodes[0].node.cores) text += ", more than there are cores: to try things, not to be fast";
  text += ":\n  ";
  if (report.root)
    for (const char* variable : kAllowRoot) text += std::string(variable) + "=1 ";
  return text + joined(line.mpirun) + " gyre run ...\n  " + joined(line.srun) + " gyre run ...\n";
}

std::vector<LaunchLine> lines_of(const TopoReport& report) {
  std::vector<LaunchLine> lines;
  for (const int ranks : report.suggested)
    lines.push_back(launch_line(report.nodes[0].node, ranks, static_cast<int>(report.nodes.size())));
  return lines;
}

std::string notes() {
  return "mpirun on several nodes over TCP: " + joined(open_mpi_words()) +
         "\n(gyre sets the first itself: else the two directions of a link take turns. Without the others mpirun notices a "
         "cut "
         "link\nafter 8 minutes, and Gyre after --deadline.)\n"
         "More ranks than cores: mpirun lets waiting ranks yield by itself; under srun set OMPI_MCA_mpi_yield_when_idle=1.\n";
}

std::vector<std::string> warnings_of(const TopoReport& report) {
  std::vector<std::string> warnings = placement_warnings(report.places, report.threads);
  warnings.insert(warnings.end(), report.launch_warnings.begin(), report.launch_warnings.end());
  return warnings;
}

Json hardware_json(const Hardware& hardware) {
  Json caches = Json::array();
  for (std::size_t level = 0; level < hardware.caches.size(); ++level) {
    const CacheLevel& cache = hardware.caches[level];
    if (cache.count > 0)
      caches.push_back({{"level", level + 1}, {"bytes", cache.bytes}, {"count", cache.count}, {"cores", cache.cores}});
  }
  return {{"host", hardware.host.data()},
          {"packages", hardware.packages},
          {"numa_nodes", hardware.node.numa_nodes},
          {"cores", hardware.node.cores},
          {"hardware_threads", hardware.hardware_threads},
          {"caches", caches},
          {"memory_bytes", hardware.memory_bytes},
          {"available_bytes", hardware.available_bytes}};
}

Json rank_json(const TopoReport& report, int rank) {
  const RankPlace& place = report.places[rank];
  return {{"rank", rank},
          {"host", place.host_name.data()},
          {"cores", place.cores},
          {"hardware_threads", bits_of(place.hardware_threads)},
          {"numa_nodes", numa_nodes_of(place)},
          {"threads", report.threads[rank]},
          {"shared_with", shared_with(report, rank)}};
}

}  // namespace

std::vector<int> shared_with(const TopoReport& report, int rank) {
  std::vector<int> ranks;
  for (int other = 0; other < static_cast<int>(report.places.size()); ++other)
    if (other != rank && share_a_core(report.places[rank], report.places[other])) ranks.push_back(other);
  return ranks;
}

std::string to_text(const TopoReport& report) {
  std::string text;
  for (const Hardware& hardware : report.nodes) text += hardware_text(hardware);
  text += "\n";
  for (int rank = 0; rank < static_cast<int>(report.places.size()); ++rank) text += rank_text(report, rank);
  for (const std::string& warning : warnings_of(report)) text += "warning: " + warning + "\n";
  text += "\n";
  for (const LaunchLine& line : lines_of(report)) text += line_text(report, line);
  return text + "\n" + notes();
}

std::string to_json(const TopoReport& report) {
  Json json{{"nodes", Json::array()}, {"ranks", Json::array()}};
  for (const Hardware& hardware : report.nodes) json["nodes"].push_back(hardware_json(hardware));
  for (int rank = 0; rank < static_cast<int>(report.places.size()); ++rank) json["ranks"].push_back(rank_json(report, rank));
  json["warnings"] = warnings_of(report);
  json["launch"] = Json::array();
  for (const LaunchLine& line : lines_of(report))
    json["launch"].push_back({{"ranks", line.ranks},
                              {"ranks_per_node", line.ranks_per_node},
                              {"threads", line.threads},
                              {"mpirun", line.mpirun},
                              {"srun", line.srun}});
  return json.dump(2) + "\n";
}

}  // namespace gyre
