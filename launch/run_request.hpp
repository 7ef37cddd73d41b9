// What `gyre run` was asked to do, as data: the command line, understood and free of contradictions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "launch/print.hpp"
#include "runtime/io/stored_tensor.hpp"
#include "runtime/problem.hpp"

namespace gyre {

/// Of the command: people sit before it, so it is shorter than the library's.
inline constexpr double kDefaultDeadlineSeconds = 30;
inline constexpr double kLongestDeadlineSeconds = 1e9;

/// Seeded random tensors instead of files.
struct Synthetic {
  std::int64_t tokens = 0;
  int heads = 8;
  int key_heads = 8;
  int head_dim = 64;
  int value_dim = 64;
};

/// When a line on standard error says where the run stands.
enum class LiveWhen : std::uint8_t { on_a_terminal, always, never };

struct RunRequest {
  std::optional<Synthetic> synthetic;                       // nothing: one file, or three
  std::string input_file;                                   // .safetensors of all three; empty: a file each
  std::string query_file, key_file, value_file;             // .npy
  std::string grad_out_file;                                // gradient of the output; empty: none, or synthetic
  std::string out_file, lse_file, report_file, trace_file;  // empty: not wanted
  std::string grad_query_file, grad_key_file, grad_value_file, grad_sinks_file;
  Printed printed = Printed::page;    // json: of the report, which then has no file
  FileType out_type = FileType::f32;  // of out_file

  bool backward() const { return options.backward != Backward::none; }

  Mask mask;
  std::vector<std::string> mask_files;    // that it and its choices are read from
  std::vector<std::string> layout_files;  // of --partition
  std::string sparse;                     // of --sparse: a choice, or a file of them; empty: none
  bool against_dense = false;             // also time the mask without choices
  std::int64_t recall_rows = 0;           // query tokens
  std::optional<std::int64_t> query_offset;
  std::optional<double> scale;
  std::optional<double> softcap;
  std::optional<Rotary> rotary;
  std::optional<DualChunk> dual_chunk;
  PositionBias bias = PositionBias::none;
  std::string sinks_file;  // .npy of sink logits; empty: none
  std::optional<Dropout> dropout;
  Type type = Type::f32;           // of the rows that a rank holds, and of cells
  Options options;                 // threads are resolved when it runs
  std::optional<int> threads;      // nothing: this rank's share of its cores
  int ranks = 1;                   // inside this process; without a launcher
  std::optional<int> repetitions;  // nothing: one call without a warm-up
  bool measure_overlap = false;    // also without communication
  std::string replay;              // a machine file or "default": computation is slept for as long as that would take; empty: not
  std::int64_t check_rows = 0;
  LiveWhen live = LiveWhen::on_a_terminal;
  std::uint64_t seed = 1;

  /// The options as given, but for --threads: what has to be the same on every rank.
  std::vector<std::pair<std::string, std::string>> given;
};

}  // namespace gyre
