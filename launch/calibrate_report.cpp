#include "launch/calibrate_report.hpp"

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "runtime/text.hpp"

namespace gyre {
namespace {

std::string rate_text(double bytes_per_second) {
  return bytes_text(bytes_per_second) + "/s";
}

/// Four digits are more than what is measured again agrees in.
double rounded(double value) {
  if (value <= 0 || !std::isfinite(value)) return 0;
  const double digit = std::pow(10.0, std::floor(std::log10(value)) - 3);
  return digit >= 1 ? std::round(value / digit) * digit : std::round(value / digit) / std::round(1 / digit);
}

LinkModel model_of(const LinkFigures& figures) {
  const double copied = figures.processor_seconds_per_byte > 0 ? 1 / figures.processor_seconds_per_byte : 0;
  return {.latency_seconds = rounded(figures.latency_seconds),
          .bytes_per_second = rounded(figures.both_ways_bytes_per_second),
          .message_seconds = rounded(figures.message_seconds),
          .processor_bytes_per_second = rounded(copied)};
}

std::string where(const Calibration& found) {
  return "gyre calibrate on " + found.host + ", " + found.date + ", median of " + plural(found.rounds, "round");
}

/// Of one pair class.
void say_link(MachineSources& sources, const std::string& section, const LinkFigures& figures, const Calibration& found) {
  const std::string here = where(found) + ": ";
  const std::string message = "messages of " + bytes_text(static_cast<double>(figures.message_bytes));
  const auto set = [&](const char* field, const std::string& how) { sources[section + "." + field] = here + how; };
  set("latency_seconds", "half a round trip of 8 bytes");
  set("bytes_per_second", message + " both ways at once; one way alone " + rate_text(figures.one_way_bytes_per_second) +
                              ", both ways with attention computed beside them " + rate_text(figures.beside_work_bytes_per_second) +
                              " from end to end");
  set("message_seconds", "many messages of 64 bytes at once, both ways");
  set("processor_bytes_per_second", figures.processor_seconds_per_byte > 0
                                        ? message + " both ways: what attention beside them takes longer, for bytes received"
                                        : message + " both ways did not make attention beside them longer");
}

void assume(MachineSources& sources, const std::string& section, std::initializer_list<const char*> fields, const char* why) {
  for (const char* field : fields) sources[section + "." + field] = std::string("assumed, not measured: ") + why;
}

MachineSources sources_of(const Calibration& found) {
  MachineSources sources;
  const std::string here = where(found);
  sources["note"] = here + ", " + plural(found.ranks, "rank") + " on " + plural(found.nodes, "node") + ", one thread each" +
                    (found.one_process ? ", all in one process: messages are copies in memory, and not MPI's." : ".");
  sources["kernels.rates"] = here + " with all ranks computing: long attends, less what attend_seconds and row_unit_seconds say";
  for (const char* type : {"f32", "bf16", "f16"})
    sources["kernels." + std::string(type) + "_flops_per_second"] = "of rates: the first instruction set, head dim 64";
  sources["kernels.attend_seconds"] = here + ": 16 queries, 16 keys";
  sources["kernels.row_unit_seconds"] = here + ": units of 64 keys against units of 512, head dim 64, f32";
  sources["kernels.memory_bytes_per_second"] = here + ": one query over keys that no cache holds, f32";
  sources["kernels.packing_bytes_per_second"] = here + ": queries, keys and values packed, partials cleared and finished, f32";
  sources["memory.bytes_per_rank"] = "what the system says there is, divided by the ranks of a node";
  const AllLinkFigures& links = found.links;
  const auto link_fields = {"latency_seconds", "bytes_per_second", "message_seconds", "processor_bytes_per_second"};
  if (links.node)
    say_link(sources, "node", *links.node, found);
  else
    assume(sources, "node", link_fields, "no node had two ranks");
  if (links.loans) {
    sources["shared_memory.is_shared"] = here + ": memory of a neighbour was read at " +
                                         rate_text(links.loans->neighbour_bytes_per_second) + ", own memory at " +
                                         rate_text(links.loans->own_bytes_per_second);
    sources["shared_memory.loan_seconds"] = here + ": half of lending and giving back";
  } else {
    const std::string why = links.unshared.empty() ? "no node had two ranks" : links.unshared;
    assume(sources, "shared_memory", {"is_shared", "loan_seconds"}, why.c_str());
  }
  if (links.network) {
    say_link(sources, "network", *links.network, found);
    sources["network.link_bytes_per_second"] =
        here + ": " +
        (links.ranks_per_node == 1 ? "as bytes_per_second, with one rank a node"
                                   : plural(links.ranks_per_node, "rank") + " of each node at once, both ways");
    sources["network.links_per_node"] = "all links of a node together count as one";
  } else {
    assume(sources, "network", link_fields, "all ranks were on one node");
    assume(sources, "network", {"links_per_node", "link_bytes_per_second"}, "all ranks were on one node");
  }
  return sources;
}

std::string kernels_text(const KernelModel& kernels) {
  std::set<int> dims;
  for (const KernelRate& rate : kernels.rates) dims.insert(rate.head_dim);
  std::string text = "  GFLOP/s of a rank, head dim  ";
  for (const int dim : dims) text += format("%8d", dim);
  text += "\n";
  std::vector<std::string> lines, names;  // in the order of the rates' first appearance
  for (const KernelRate& rate : kernels.rates) {
    const std::string name = rate.isa + " " + to_string(rate.type);
    const auto found = std::find(names.begin(), names.end(), name);
    const auto line = static_cast<std::size_t>(found - names.begin());
    if (found == names.end()) names.push_back(name), lines.push_back(format("    %-27s", name.c_str()));
    lines[line] += format("%8.1f", 1e-9 * rate.flops_per_second);
  }
  for (const std::string& line : lines) text += line + "\n";
  return text + format("  beside them  %s an attend, %s a row and unit, keys from memory at %s, packing at %s\n\n",
                       seconds_text(kernels.attend_seconds).c_str(), seconds_text(kernels.row_unit_seconds).c_str(),
                       rate_text(kernels.memory_bytes_per_second).c_str(), rate_text(kernels.packing_bytes_per_second).c_str());
}

std::string link_row(const char* name, const LinkFigures& figures) {
  const std::string processor =
      figures.processor_seconds_per_byte > 0 ? format("%.3g s/GB", 1e9 * figures.processor_seconds_per_byte) : "none";
  return format("  %-12s %10s %12s %12s %14s %12s %12s\n", name, seconds_text(figures.latency_seconds).c_str(),
                rate_text(figures.one_way_bytes_per_second).c_str(), rate_text(figures.both_ways_bytes_per_second).c_str(),
                rate_text(figures.beside_work_bytes_per_second).c_str(), processor.c_str(),
                seconds_text(figures.message_seconds).c_str());
}

}  // namespace

Machine machine_of(const Calibration& found, const std::string& name) {
  Machine machine = default_machine();
  machine.name = name;
  machine.kernels = found.kernels;
  KernelModel& kernels = machine.kernels;
  for (double& rate : kernels.flops_per_second) rate = rounded(rate);
  for (KernelRate& rate : kernels.rates) rate.flops_per_second = rounded(rate.flops_per_second);
  for (double* figure :
       {&kernels.attend_seconds, &kernels.row_unit_seconds, &kernels.memory_bytes_per_second, &kernels.packing_bytes_per_second})
    *figure = rounded(*figure);
  machine.memory_bytes_per_rank = std::floor(found.memory_bytes_per_rank);
  const AllLinkFigures& links = found.links;
  machine.shares_memory = links.unshared.empty();
  if (links.loans) machine.loan_seconds = rounded(links.loans->loan_seconds);
  if (links.node) machine.node = model_of(*links.node);
  if (links.network) {
    machine.network = model_of(*links.network);
    machine.links_per_node = 1;
    machine.link_bytes_per_second = rounded(links.node_link_bytes_per_second);
  }
  return machine;
}

std::string machine_file(const Calibration& found, const std::string& name) {
  return to_json(machine_of(found, name), sources_of(found));
}

std::string to_text(const Calibration& found, const std::string& file) {
  std::string text = format("gyre calibrate: %s on %s (%s), one thread each, medians of %s, %s\n\n",
                            plural(found.ranks, "rank").c_str(), plural(found.nodes, "node").c_str(), found.host.c_str(),
                            plural(found.rounds, "round").c_str(), seconds_text(found.seconds).c_str());
  text += kernels_text(found.kernels);
  const AllLinkFigures& links = found.links;
  if (links.node || links.network)
    text += format("  %-12s %10s %12s %12s %14s %12s %12s\n", "between", "latency", "one way", "both ways", "beside work",
                   "processor", "a message");
  if (links.node) text += link_row("one node", *links.node);
  if (links.network) text += link_row("two nodes", *links.network);
  if (links.network && links.ranks_per_node > 1)
    text += format("  %d ranks of a node together: %s each way\n", links.ranks_per_node,
                   rate_text(links.node_link_bytes_per_second).c_str());
  if (links.loans)
    text += format("  in shared memory: seen after %s; a neighbour's memory read at %s, own at %s\n",
                   seconds_text(links.loans->loan_seconds).c_str(), rate_text(links.loans->neighbour_bytes_per_second).c_str(),
                   rate_text(links.loans->own_bytes_per_second).c_str());
  if (!links.unshared.empty()) text += "  no shared memory: " + links.unshared + "\n";
  if (!links.node) text += "  not measured, and assumed: messages and shared memory inside a node, where no node has two ranks\n";
  if (!links.network) text += "  not measured, and assumed: the network, where all ranks are on one node\n";
  return text + "\nwrote " + file + ", for --machine\n";
}

}  // namespace gyre
