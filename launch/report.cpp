#include "launch/report.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "runtime/text.hpp"

namespace gyre {
namespace {

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

std::string problem_text(const Problem& problem) {
  const std::string mask = problem.mask.text().size() > 80 ? problem.mask.text().substr(0, 77) + "..." : problem.mask.text();
  const std::string softcap = problem.softcap ? format(", softcap %.6g", *problem.softcap) : "";
  const std::string queries = problem.query_tokens == 1 ? "1 query" : std::to_string(problem.query_tokens) + " queries";
  return format("  problem    %s x %s, %s (%d key/value), head dim %d, value dim %d, %s\n", queries.c_str(),
                plural(problem.key_tokens, "key").c_str(), plural(problem.query_heads, "head").c_str(), problem.key_heads,
                problem.head_dim, problem.value_dim, to_string(problem.type).c_str()) +
         format("  mask       %s; query 0 at key position %lld; scale %.6g%s\n", mask.c_str(),
                static_cast<long long>(problem.first_query_position()), problem.score_scale(), softcap.c_str());
}

std::string time_text(const Report& report) {
  const Measurement& measured = report.measured;
  std::string text =
      format("  time       %s, %.4g tokens a second (", seconds_text(measured.seconds).c_str(), report.tokens_per_second());
  if (measured.repetitions == 1) text += "one call";
  if (measured.repetitions > 1)
    text += format("median of %d calls, %s to %s", measured.repetitions, seconds_text(measured.fastest_seconds).c_str(),
                   seconds_text(measured.slowest_seconds).c_str());
  text += report.ranks > 1 ? ", by the slowest rank)\n" : ")\n";
  if (report.replay) return text;
  return text + format("  speed      %.4g GFLOP/s a rank, %.1f%% of a multiply-add loop beside it (%.4g)\n",
                       report.gflops_per_rank(), 100 * report.peak_fraction(), report.peak_flops / report.ranks / 1e9);
}

/// One part of a call: the rank that has most of it beside the mean of all.
/// What is said behind it is of parts that lie inside others: nobody is to add them up.
std::string part_text(const char* name, const Report& report, double CallTime::*part, const char* inside = "") {
  const Spread spread = report.measured.spread(part);
  std::string text = format("  %-10s %s", name, seconds_text(spread.most).c_str());
  if (report.ranks > 1) text += format(" on rank %d, %s on the mean rank", spread.rank, seconds_text(spread.mean).c_str());
  if (report.ranks > 1 && part == &CallTime::computing_seconds) text += format(" (imbalance %.1f%%)", 100 * spread.imbalance());
  return text + inside + "\n";
}

std::string bytes_line(const char* name, const Report& report, std::uint64_t RankFigures::*bytes) {
  const Spread spread = report.measured.spread(bytes);
  std::string text = format("  %-10s %s in a call", name, bytes_text(static_cast<double>(report.measured.sum(bytes))).c_str());
  if (spread.most > 0) text += format(", %s of them by rank %d", bytes_text(spread.most).c_str(), spread.rank);
  return text + "\n";
}

std::string replay_text(const Report& report) {
  if (!report.replay) return "";
  return "  replay     nothing was computed, only slept as on " + *report.replay + "\n";
}

std::string predicted_text(const Report& report) {
  if (!report.predicted) return "";
  const Report::Predicted& predicted = *report.predicted;
  if (!predicted.left_out.empty()) return "  predicted  nothing: " + predicted.left_out + "\n";
  return "  predicted  " + seconds_text(predicted.seconds) + " on " + predicted.machine +
         format(", %.3g of what it took\n", predicted.seconds / std::max(report.measured.seconds, 1e-12));
}

/// What the mask saves on the way.
std::string saved_text(const Report& report) {
  if (report.dense_bytes == 0) return "";
  const auto dense = static_cast<double>(report.dense_bytes);
  const double saved = dense - static_cast<double>(report.arriving_bytes);
  return format("  saved      %s of %s (%.0f%%) that would travel if every query saw every key\n", bytes_text(saved).c_str(),
                bytes_text(dense).c_str(), 100 * saved / dense);
}

std::string overlap_text(const Measurement& measured) {
  const double exposed = measured.exposed_communication_seconds().value();
  return format("  exposed    %s of communication (%.1f%%): the same work without it takes %s, and %s of all cores\n",
                seconds_text(exposed).c_str(), 100 * exposed / std::max(measured.seconds, 1e-12),
                seconds_text(measured.silent->seconds).c_str(), seconds_text(measured.silent->cpu_seconds).c_str());
}

nlohmann::ordered_json number_or_null(std::optional<double> value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

/// One number for every rank.
template <class Value>
nlohmann::ordered_json of_ranks(const Report& report, Value&& value) {
  auto list = nlohmann::ordered_json::array();
  for (const RankFigures& rank : report.measured.ranks) list.push_back(value(rank));
  return list;
}

nlohmann::ordered_json per_rank_json(const Report& report) {
  const auto seconds = [&](double CallTime::*part) {
    return of_ranks(report, [&](const RankFigures& rank) { return rank.call.*part; });
  };
  return {{"total_seconds", seconds(&CallTime::total_seconds)},
          {"computing_seconds", seconds(&CallTime::computing_seconds)},
          {"packing_seconds", seconds(&CallTime::packing_seconds)},
          {"communicating_seconds", seconds(&CallTime::communicating_seconds)},
          {"waiting_seconds", seconds(&CallTime::waiting_seconds)},
          {"bytes_sent", of_ranks(report, [](const RankFigures& rank) { return rank.bytes_sent; })},
          {"bytes_borrowed", of_ranks(report, [](const RankFigures& rank) { return rank.bytes_borrowed; })}};
}

}  // namespace

double Report::flops() const {
  return 2 * visible_pairs * (problem.head_dim + problem.value_dim);
}

double Report::gflops_per_rank() const {
  return measured.seconds > 0 ? flops() / measured.seconds / ranks / 1e9 : 0;
}

double Report::tokens_per_second() const {
  return measured.seconds > 0 ? static_cast<double>(problem.query_tokens) / measured.seconds : 0;
}

double Report::peak_fraction() const {
  return peak_flops > 0 ? gflops_per_rank() * 1e9 * ranks / peak_flops : 0;
}

std::string to_text(const Report& report) {
  std::string text = format("gyre %s: %s, %s placement, %s on %s, %s, %s\n", version(), report.strategy.c_str(),
                            report.partition.c_str(), plural(report.ranks, "rank").c_str(), plural(report.nodes, "node").c_str(),
                            plural(report.threads, "thread").c_str(), report.isa.c_str());
  if (!report.why.empty()) text += "  strategy   " + report.why + "\n";
  text += problem_text(report.problem) + time_text(report);
  text += replay_text(report) + predicted_text(report);
  text += part_text("computing", report, &CallTime::computing_seconds);
  text += part_text("packing", report, &CallTime::packing_seconds);
  text += part_text("waiting", report, &CallTime::waiting_seconds);
  text += part_text("transport", report, &CallTime::communicating_seconds, "; its polls are part of computing and packing");
  if (report.measured.spread(&CallTime::integrity_seconds).most > 0)
    text += part_text("integrity", report, &CallTime::integrity_seconds, "; writing checksums is part of packing");
  if (report.measured.silent) text += overlap_text(report.measured);
  text += format("  cores      %s of all processes in a mean call\n", seconds_text(report.measured.cpu_seconds).c_str());
  text += bytes_line("sent", report, &RankFigures::bytes_sent);
  text += bytes_line("borrowed", report, &RankFigures::bytes_borrowed);
  text += saved_text(report);
  if (report.ranks > 1 && !report.unshared.empty()) text += "  unshared   memory inside a node: " + report.unshared + "\n";
  text += format("  memory     arena %s, scratch %s, resident at most %s (largest rank)\n",
                 bytes_text(static_cast<double>(report.arena_bytes)).c_str(),
                 bytes_text(static_cast<double>(report.scratch_bytes)).c_str(),
                 bytes_text(static_cast<double>(report.peak_memory_bytes)).c_str());
  const Type type = report.problem.type;
  const std::string inputs = type == Type::f32 ? "" : ", of inputs as " + to_string(type) + " holds them";
  if (report.check)
    text += format("  check      %s in float64%s: output off by %.2g of the largest, log-sum-exp by %.2g; %.1f%% of the bound\n",
                   plural(report.check->rows, "row").c_str(), inputs.c_str(), report.check->out_error, report.check->lse_error,
                   100 * report.check->share_of_bound);
  return text;
}

std::string to_json(const Report& report) {
  const Problem& problem = report.problem;
  const Measurement& measured = report.measured;
  const bool predicted = report.predicted && report.predicted->left_out.empty();
  nlohmann::ordered_json json = {
      {"version", version()},
      {"strategy", report.strategy},
      {"strategy_why", report.why.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(report.why)},
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
      {"dtype", to_string(problem.type)},
      {"mask", problem.mask.text()},
      {"query_offset", problem.first_query_position()},
      {"scale", problem.score_scale()},
      {"softcap", problem.softcap ? nlohmann::ordered_json(*problem.softcap) : nlohmann::ordered_json(nullptr)},
      {"repeat", measured.repetitions},
      {"seconds", measured.seconds},
      {"fastest_seconds", measured.fastest_seconds},
      {"slowest_seconds", measured.slowest_seconds},
      {"tokens_per_second", report.tokens_per_second()},
      {"flops", report.flops()},
      {"gflops_per_rank", report.gflops_per_rank()},
      {"peak_fraction", report.peak_fraction()},
      {"peak_gflops_per_rank", report.peak_flops / report.ranks / 1e9},
      {"computing_seconds", measured.spread(&CallTime::computing_seconds).most},
      {"computing_imbalance", measured.spread(&CallTime::computing_seconds).imbalance()},
      {"packing_seconds", measured.spread(&CallTime::packing_seconds).most},
      {"communicating_seconds", measured.spread(&CallTime::communicating_seconds).most},
      {"integrity_seconds", measured.spread(&CallTime::integrity_seconds).most},
      {"waiting_seconds", measured.spread(&CallTime::waiting_seconds).most},
      {"exposed_communication_seconds", number_or_null(measured.exposed_communication_seconds())},
      {"silent_seconds", number_or_null(measured.silent ? std::optional(measured.silent->seconds) : std::nullopt)},
      {"cpu_seconds", measured.cpu_seconds},
      {"silent_cpu_seconds", number_or_null(measured.silent ? std::optional(measured.silent->cpu_seconds) : std::nullopt)},
      {"bytes_sent", measured.sum(&RankFigures::bytes_sent)},
      {"bytes_borrowed", measured.sum(&RankFigures::bytes_borrowed)},
      {"replay", report.replay ? nlohmann::ordered_json(*report.replay) : nlohmann::ordered_json(nullptr)},
      {"predicted_seconds", number_or_null(predicted ? std::optional(report.predicted->seconds) : std::nullopt)},
      {"predicted_machine", predicted ? nlohmann::ordered_json(report.predicted->machine) : nlohmann::ordered_json(nullptr)},
      {"bytes_arriving", report.arriving_bytes},
      {"bytes_dense", report.dense_bytes},
      {"unshared", report.unshared.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(report.unshared)},
      {"arena_bytes", report.arena_bytes},
      {"scratch_bytes", report.scratch_bytes},
      {"peak_memory_bytes", report.peak_memory_bytes},
  };
  json["per_rank"] = per_rank_json(report);
  json["check"] = report.check ? check_json(*report.check) : nlohmann::ordered_json(nullptr);
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace gyre
