// A machine as data: what a simulation and the choice of a strategy know of the hardware.
//
//   {"name": "...", "network": {"latency_seconds": {"value": 2e-5, "source": "ping between two nodes"}, "links_per_node": 1, ...},
//   "kernels": {"rates": [{"isa": "avx512", "dtype": "f32", "head_dim": 64, "flops_per_second": 8e10, "source": "..."}, ...], ...},
//   ...}
//
// Every number may stand alone or with its source. What a file leaves out is as on the machine that is assumed without a file.
// `gyre calibrate` writes such files.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/tensor.hpp"

namespace gyre {

/// What one kernel reaches with heads of that dim.
struct KernelRate {
  std::string isa;  // as --isa says it
  Type type = Type::f32;
  int head_dim = 0;
  double flops_per_second = 0;
};

/// Attention on one rank. An attend takes
///
///   attend_seconds + (query rows x key units) row_unit_seconds + max(flops / rate, key bytes / memory_bytes_per_second)
///
/// the first for dividing and joining its work, the second for what each (row, unit) adds to a partial: small tiles and short units
/// are slower by these two. flops are 2 (head dim + value dim) of every visible pair.
struct KernelModel {
  std::array<double, 3> flops_per_second{};  // by Type; where rates has nothing of that type
  std::vector<KernelRate> rates{};
  double attend_seconds = 0;
  double row_unit_seconds = 0;
  double memory_bytes_per_second = 0;   // at which cells are read that serve few queries
  double packing_bytes_per_second = 0;  // of the cells that are packed, cleared, settled, combined or finished

  /// FLOP/s by `rates`, of the instruction set that stands first for the type. A weight costs the same for each pair, however large
  /// the head, so between two dims that are listed the time for a flop is a + b / head_dim; beyond them it is the nearest one's.
  double rate(Type type, double head_dim) const;
};

/// Messages between two ranks. One that both sides have posted takes latency_seconds + bytes / bytes_per_second alone on its links.
struct LinkModel {
  double latency_seconds = 0;
  double bytes_per_second = 0;            // of one rank, each way
  double message_seconds = 0;             // of the processor of each side, for every message
  double processor_bytes_per_second = 0;  // at which the receiver's processor copies, instead of computing; 0: the hardware does
};

struct Machine {
  std::string name;
  KernelModel kernels;
  bool shares_memory = true;         // ranks of a node read each other's cells where they lie
  double loan_seconds = 0;           // of each side, for every loan
  LinkModel node;                    // messages between ranks of a node
  LinkModel network;                 // between ranks of two nodes
  int links_per_node = 1;            // into the network, shared by the node's ranks
  double link_bytes_per_second = 0;  // of each, each way
  double memory_bytes_per_rank = 0;  // 0: unknown

  /// This kind of machine with several threads a rank: kernels and packing are that much faster.
  Machine with_threads(int threads) const;
  /// With rates of that instruction set alone; as it is where there are none.
  Machine with_instruction_set(std::string_view isa) const;
};

/// Without a file: virtual cores of Zen 4, a rank on each, and TCP between nodes. The same as launch/machines/zen4-vm.json.
Machine default_machine();

/// The text of a machine file. Throws std::invalid_argument naming field, value, limits and remedy: for fields that there are not,
/// numbers out of their limits, and text that is not JSON. Any bytes are safe.
Machine parse_machine(std::string_view text);
/// The file; its name stands before what is wrong with it.
Machine read_machine(const std::string& path);

/// Where numbers come from: by "section.field", "kernels.rates" for all of these, and "note" for the file.
using MachineSources = std::map<std::string, std::string>;
/// Parses to the same machine.
std::string to_json(const Machine& machine, const MachineSources& sources = {});

}  // namespace gyre
