#include "launch/report.hpp"

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace gyre {
namespace {

/// printf into a string.
template <class... Values>
std::string format(const char* pattern, Values... values) {
  char line[256];
  std::snprintf(line, sizeof(line), pattern, values...);
  return line;
}

std::string bytes_text(double bytes) {
  const char* const units[] = {"B", "kB", "MB", "GB", "TB"};
  int unit = 0;
  for (; bytes >= 1000 && unit < 4; ++unit) bytes /= 1000;
  return format(unit == 0 ? "%.0f %s" : "%.3g %s", bytes, units[unit]);
}

std::string plural(std::int64_t count, const std::string& word) {
  return std::to_string(count) + " " + word + (count == 1 ? "" : "s");
}

/// JSON has no infinity: a check that found a NaN has an infinite error.
nlohmann::ordered_json finite_or_text(double value) {
  if (std::isfinite(value)) return value;
  return "infinite";
}

nlohmann::ordered_json check_json(const CheckResult& check) {
  return {{"rows", check.rows},
          {"out_error", finite_or_text(check.out_error)},
          {"lse_error", finite_or_text(check.lse_error)},
          {"share_of_bound", finite_or_text(check.share_of_bound)},
          {"passed", check.failure.empty()}};
}

}  // namespace

double Report::flops() const {
  return 2.0 * static_cast<double>(visible_pairs) * problem.query_heads * (problem.head_dim + problem.value_dim);
}

double Report::gflops_per_rank() const {
  const double seconds = measured.call.total_seconds;
  return seconds > 0 ? flops() / seconds / ranks / 1e9 : 0;
}

double Report::peak_fraction() const {
  return peak_flops > 0 ? gflops_per_rank() * 1e9 * ranks / peak_flops : 0;
}

std::string to_text(const Report& report) {
  const Problem& problem = report.problem;
  const CallTime& call = report.measured.call;
  std::string text = format("gyre %s: %s, %s placement, %s on %s, %s, %s\n", version(), report.strategy.c_str(),
                            report.partition.c_str(), plural(report.ranks, "rank").c_str(), plural(report.nodes, "node").c_str(),
                            plural(report.threads, "thread").c_str(), report.isa.c_str());
  text += format("  problem   %lld queries x %lld keys, %d heads (%d key/value), head dim %d, value dim %d\n",
                 static_cast<long long>(problem.query_tokens), static_cast<long long>(problem.key_tokens), problem.query_heads,
                 problem.key_heads, problem.head_dim, problem.value_dim);
  const std::string mask = problem.mask.text().size() > 80 ? problem.mask.text().substr(0, 77) + "..." : problem.mask.text();
  text += format("  mask      %s; query 0 at key position %lld; scale %.6g\n", mask.c_str(),
                 static_cast<long long>(problem.first_query_position()), problem.score_scale());
  text += format("  time      %.6f s (%s)\n", call.total_seconds,
                 report.measured.repetitions == 1 ? "one call, slowest rank"
                                                  : format("median of %d, slowest rank", report.measured.repetitions).c_str());
  text += format("  of that   computing %.6f s, packing %.6f s, waiting %.6f s (most of any rank)\n", call.computing_seconds,
                 call.packing_seconds, call.waiting_seconds);
  text += format("  speed     %.4g GFLOP/s a rank, %.1f%% of a multiply-add loop beside it (%.4g)\n", report.gflops_per_rank(),
                 100 * report.peak_fraction(), report.peak_flops / report.ranks / 1e9);
  text +=
      format("  sent      %s in a call, all ranks together\n", bytes_text(static_cast<double>(report.measured.bytes_sent)).c_str());
  text += format("  memory    arena %s, scratch %s, resident at most %s (largest rank)\n",
                 bytes_text(static_cast<double>(report.arena_bytes)).c_str(),
                 bytes_text(static_cast<double>(report.scratch_bytes)).c_str(),
                 bytes_text(static_cast<double>(report.peak_memory_bytes)).c_str());
  if (report.check)
    text += format("  check     %s in float64: output off by %.2g of the largest, log-sum-exp by %.2g; %.1f%% of the bound\n",
                   plural(report.check->rows, "row").c_str(), report.check->out_error, report.check->lse_error,
                   100 * report.check->share_of_bound);
  return text;
}

std::string to_json(const Report& report) {
  const Problem& problem = report.problem;
  const CallTime& call = report.measured.call;
  nlohmann::ordered_json json = {
      {"version", version()},
      {"strategy", report.strategy},
      {"partition", report.partition},
      {"ranks", report.ranks},
      {"nodes", report.nodes},
      {"threads", report.threads},
      {"isa", report.isa},
      {"query_tokens", problem.query_tokens},
      {"key_tokens", problem.key_tokens},
      {"heads", problem.query_heads},
      {"kv_heads", problem.key_heads},
      {"head_dim", problem.head_dim},
      {"value_dim", problem.value_dim},
      {"mask", problem.mask.text()},
      {"query_offset", problem.first_query_position()},
      {"scale", problem.score_scale()},
      {"repeat", report.measured.repetitions},
      {"seconds", call.total_seconds},
      {"flops", report.flops()},
      {"gflops_per_rank", report.gflops_per_rank()},
      {"peak_fraction", report.peak_fraction()},
      {"peak_gflops_per_rank", report.peak_flops / report.ranks / 1e9},
      {"computing_seconds", call.computing_seconds},
      {"packing_seconds", call.packing_seconds},
      {"waiting_seconds", call.waiting_seconds},
      {"exposed_communication_seconds", nullptr},
      {"bytes_sent", report.measured.bytes_sent},
      {"bytes_borrowed", 0},
      {"arena_bytes", report.arena_bytes},
      {"scratch_bytes", report.scratch_bytes},
      {"peak_memory_bytes", report.peak_memory_bytes},
  };
  json["check"] = report.check ? check_json(*report.check) : nlohmann::ordered_json(nullptr);
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace gyre
