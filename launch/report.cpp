#include "launch/report.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

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
  std::string extras = problem.softcap ? format(", softcap %.6g", *problem.softcap) : "";
  if (problem.rotary) extras += ", rotary positions (" + to_string(*problem.rotary) + ")";
  if (problem.dual_chunk) extras += ", dual chunk (" + to_string(*problem.dual_chunk) + ")";
  if (problem.bias == PositionBias::alibi) extras += ", ALiBi";
  if (problem.sinks == SinkLogits::learned) extras += ", sinks";
  if (problem.dropout) extras += format(", dropout %.6g", problem.dropout->probability);
  const std::string queries = problem.query_tokens == 1 ? "1 query" : std::to_string(problem.query_tokens) + " queries";
  return format("  problem    %s x %s, %s (%d key/value), head dim %d, value dim %d, %s\n", queries.c_str(),
                plural(problem.key_tokens, "key").c_str(), plural(problem.query_heads, "head").c_str(), problem.key_heads,
                problem.head_dim, problem.value_dim, to_string(problem.type).c_str()) +
         format("  mask       %s; query 0 at key position %lld; scale %.6g%s\n", mask.c_str(),
                static_cast<long long>(problem.first_query_position()), problem.score_scale(), extras.c_str());
}

/// GFLOP/s of a rank.
double gflops(const Report& report, const Measurement& measured, double flops) {
  return measured.seconds > 0 ? flops / measured.seconds / report.ranks / 1e9 : 0;
}

std::string time_text(const Report& report, const char* name, const Measurement& measured, double flops) {
  const double tokens = measured.seconds > 0 ? static_cast<double>(report.problem.query_tokens) / measured.seconds : 0;
  std::string text = format("  %-10s %s, %.4g tokens a second (", name, seconds_text(measured.seconds).c_str(), tokens);
  if (measured.repetitions == 1) text += "one call";
  if (measured.repetitions > 1)
    text += format("median of %d calls, %s to %s", measured.repetitions, seconds_text(measured.fastest_seconds).c_str(),
                   seconds_text(measured.slowest_seconds).c_str());
  text += report.ranks > 1 ? ", by the slowest rank)\n" : ")\n";
  if (report.replay) return text;
  const double rate = gflops(report, measured, flops);
  return text + format("  speed      %.4g GFLOP/s a rank, %.1f%% of a multiply-add loop beside it (%.4g)\n", rate,
                       report.peak_flops > 0 ? 100 * rate * 1e9 * report.ranks / report.peak_flops : 0,
                       report.peak_flops / report.ranks / 1e9);
}

/// One part of a call: the rank that has most of it beside the mean of all.
/// What is said behind it is of parts that lie inside others: nobody is to add them up.
std::string part_text(const char* name, const Measurement& measured, double CallTime::*part, const char* inside = "") {
  const Spread spread = measured.spread(part);
  const bool several = measured.ranks.size() > 1;
  std::string text = format("  %-10s %s", name, seconds_text(spread.most).c_str());
  if (several) text += format(" on rank %d, %s on the mean rank", spread.rank, seconds_text(spread.mean).c_str());
  if (several && part == &CallTime::computing_seconds) text += format(" (imbalance %.1f%%)", 100 * spread.imbalance());
  return text + inside + "\n";
}

std::string bytes_line(const char* name, const Measurement& measured, std::uint64_t RankFigures::*bytes) {
  const Spread spread = measured.spread(bytes);
  std::string text = format("  %-10s %s in a call", name, bytes_text(static_cast<double>(measured.sum(bytes))).c_str());
  if (spread.most > 0) text += format(", %s of them by rank %d", bytes_text(spread.most).c_str(), spread.rank);
  return text + "\n";
}

std::string overlap_text(const Measurement& measured) {
  const double exposed = measured.exposed_communication_seconds().value();
  return format("  exposed    %s of communication (%.1f%%): the same work without it takes %s, and %s of all cores\n",
                seconds_text(exposed).c_str(), 100 * exposed / std::max(measured.seconds, 1e-12),
                seconds_text(measured.silent->seconds).c_str(), seconds_text(measured.silent->cpu_seconds).c_str());
}

/// Where the time of calls went, and what they moved.
std::string parts_text(const Measurement& measured) {
  std::string text = part_text("computing", measured, &CallTime::computing_seconds);
  text += part_text("packing", measured, &CallTime::packing_seconds);
  text += part_text("waiting", measured, &CallTime::waiting_seconds);
  text += part_text("transport", measured, &CallTime::communicating_seconds, "; its polls are part of computing and packing");
  if (measured.spread(&CallTime::integrity_seconds).most > 0)
    text += part_text("integrity", measured, &CallTime::integrity_seconds, "; writing checksums is part of packing");
  if (measured.silent) text += overlap_text(measured);
  text += format("  cores      %s of all processes in a mean call\n", seconds_text(measured.cpu_seconds).c_str());
  text += bytes_line("sent", measured, &RankFigures::bytes_sent);
  return text + bytes_line("borrowed", measured, &RankFigures::bytes_borrowed);
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

/// What heads chose, and what that saved of the calls.
std::string sparsity_text(const Report& report) {
  if (!report.sparsity) return "";
  const Sparsity& sparsity = *report.sparsity;
  std::string text =
      format("  sparse     %s: %.2f%% of the pairs of %s, chosen in %s\n", sparsity.choice.c_str(), 100 * report.kept_share(),
             sparsity.whole.text().c_str(), seconds_text(sparsity.estimate_seconds).c_str());
  if (sparsity.recall)
    text += format("  recall     %.4f of the exact weights on the mean of %s, %.4f on the least\n", sparsity.recall->mean,
                   plural(sparsity.recall->rows, "row").c_str(), sparsity.recall->least);
  if (sparsity.dense_seconds)
    text += format("  dense      %s: %.3g times as long, %.3g times as long as with the estimate\n",
                   seconds_text(*sparsity.dense_seconds).c_str(), *sparsity.dense_seconds / report.measured.seconds,
                   *sparsity.dense_seconds / (report.measured.seconds + sparsity.estimate_seconds));
  return text;
}

nlohmann::ordered_json number_or_null(std::optional<double> value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

/// One number for every rank.
template <class Value>
nlohmann::ordered_json of_ranks(const Measurement& measured, Value&& value) {
  auto list = nlohmann::ordered_json::array();
  for (const RankFigures& rank : measured.ranks) list.push_back(value(rank));
  return list;
}

nlohmann::ordered_json per_rank_json(const Measurement& measured) {
  const auto seconds = [&](double CallTime::*part) {
    return of_ranks(measured, [&](const RankFigures& rank) { return rank.call.*part; });
  };
  return {{"total_seconds", seconds(&CallTime::total_seconds)},
          {"computing_seconds", seconds(&CallTime::computing_seconds)},
          {"packing_seconds", seconds(&CallTime::packing_seconds)},
          {"communicating_seconds", seconds(&CallTime::communicating_seconds)},
          {"waiting_seconds", seconds(&CallTime::waiting_seconds)},
          {"bytes_sent", of_ranks(measured, [](const RankFigures& rank) { return rank.bytes_sent; })},
          {"bytes_borrowed", of_ranks(measured, [](const RankFigures& rank) { return rank.bytes_borrowed; })}};
}

/// Of calls, forward or backward.
void add_calls(nlohmann::ordered_json& json, const Report& report, const Measurement& measured, double flops) {
  const double rate = gflops(report, measured, flops);
  json["repeat"] = measured.repetitions;
  json["seconds"] = measured.seconds;
  json["fastest_seconds"] = measured.fastest_seconds;
  json["slowest_seconds"] = measured.slowest_seconds;
  json["tokens_per_second"] = measured.seconds > 0 ? static_cast<double>(report.problem.query_tokens) / measured.seconds : 0;
  json["flops"] = flops;
  json["gflops_per_rank"] = rate;
  json["peak_fraction"] = report.peak_flops > 0 ? rate * 1e9 * report.ranks / report.peak_flops : 0;
  json["peak_gflops_per_rank"] = report.peak_flops / report.ranks / 1e9;
  json["computing_seconds"] = measured.spread(&CallTime::computing_seconds).most;
  json["computing_imbalance"] = measured.spread(&CallTime::computing_seconds).imbalance();
  json["packing_seconds"] = measured.spread(&CallTime::packing_seconds).most;
  json["communicating_seconds"] = measured.spread(&CallTime::communicating_seconds).most;
  json["integrity_seconds"] = measured.spread(&CallTime::integrity_seconds).most;
  json["waiting_seconds"] = measured.spread(&CallTime::waiting_seconds).most;
  json["exposed_communication_seconds"] = number_or_null(measured.exposed_communication_seconds());
  json["silent_seconds"] = number_or_null(measured.silent ? std::optional(measured.silent->seconds) : std::nullopt);
  json["cpu_seconds"] = measured.cpu_seconds;
  json["silent_cpu_seconds"] = number_or_null(measured.silent ? std::optional(measured.silent->cpu_seconds) : std::nullopt);
  json["bytes_sent"] = measured.sum(&RankFigures::bytes_sent);
  json["bytes_borrowed"] = measured.sum(&RankFigures::bytes_borrowed);
}

nlohmann::ordered_json sparsity_json(const Report& report) {
  const Sparsity& sparsity = *report.sparsity;
  const auto speedup = [&](double seconds) {
    return number_or_null(sparsity.dense_seconds && seconds > 0 ? std::optional(*sparsity.dense_seconds / seconds) : std::nullopt);
  };
  const auto recall = [&](double Recall::*of) {
    return number_or_null(sparsity.recall ? std::optional((*sparsity.recall).*of) : std::nullopt);
  };
  return {{"choice", sparsity.choice},
          {"chosen_from", sparsity.whole.text()},
          {"kept_share", report.kept_share()},
          {"estimate_seconds", sparsity.estimate_seconds},
          {"recall", recall(&Recall::mean)},
          {"least_recall", recall(&Recall::least)},
          {"recall_rows", sparsity.recall ? sparsity.recall->rows : 0},
          {"dense_seconds", number_or_null(sparsity.dense_seconds)},
          {"speedup", speedup(report.measured.seconds)},
          {"speedup_with_estimate", speedup(report.measured.seconds + sparsity.estimate_seconds)}};
}

nlohmann::ordered_json gradients_json(const Report& report) {
  const Report::Gradients& gradients = *report.gradients;
  nlohmann::ordered_json json = {{"travels", gradients.travels}};
  add_calls(json, report, gradients.measured, report.backward_flops());
  json["bytes_arriving"] = gradients.arriving_bytes;
  json["per_rank"] = per_rank_json(gradients.measured);
  return json;
}

nlohmann::ordered_json check_json(const GradientCheck& check) {
  return {{"rows", check.rows},
          {"dq_error", finite_or_text(check.query_error)},
          {"dk_error", finite_or_text(check.key_error)},
          {"dv_error", finite_or_text(check.value_error)},
          {"share_of_bound", finite_or_text(check.share_of_bound)},
          {"passed", check.failure.empty()}};
}

std::string gradient_check_text(const Report& report) {
  if (!report.gradient_check) return "";
  const GradientCheck& check = *report.gradient_check;
  return format(
      "  check      %s of gradients in float64: queries off by %.2g of the largest, keys by %.2g, values by %.2g; %.1f%% of the "
      "bound\n",
      plural(check.rows, "row").c_str(), check.query_error, check.key_error, check.value_error, 100 * check.share_of_bound);
}

std::string gradients_text(const Report& report) {
  if (!report.gradients) return "";
  const Report::Gradients& gradients = *report.gradients;
  return time_text(report, "backward", gradients.measured, report.backward_flops()) + "  travel     " + gradients.travels +
         " with their gradients\n" + parts_text(gradients.measured);
}

}  // namespace

double Report::flops() const {
  return 2 * visible_pairs * (problem.head_dim + problem.value_dim);
}

double Report::backward_flops() const {
  return 2 * visible_pairs * (3.0 * problem.head_dim + 2.0 * problem.value_dim);
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

double Report::kept_share() const {
  return sparsity && sparsity->whole_pairs > 0 ? visible_pairs / sparsity->whole_pairs : 1;
}

std::string to_text(const Report& report) {
  std::string text = format("gyre %s: %s, %s placement, %s on %s, %s, %s\n", version(), report.strategy.c_str(),
                            report.partition.c_str(), plural(report.ranks, "rank").c_str(), plural(report.nodes, "node").c_str(),
                            plural(report.threads, "thread").c_str(), report.isa.c_str());
  if (!report.why.empty()) text += "  strategy   " + report.why + "\n";
  text += problem_text(report.problem) + time_text(report, "time", report.measured, report.flops());
  text += replay_text(report) + predicted_text(report);
  text += parts_text(report.measured);
  text += saved_text(report) + sparsity_text(report) + gradients_text(report);
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
  return text + gradient_check_text(report);
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
      {"rope", problem.rotary ? nlohmann::ordered_json(to_string(*problem.rotary)) : nlohmann::ordered_json(nullptr)},
      {"dual_chunk", problem.dual_chunk ? nlohmann::ordered_json(to_string(*problem.dual_chunk)) : nlohmann::ordered_json(nullptr)},
      {"alibi", problem.bias == PositionBias::alibi},
      {"sinks", problem.sinks == SinkLogits::learned},
      {"dropout", problem.dropout ? nlohmann::ordered_json(problem.dropout->probability) : nlohmann::ordered_json(nullptr)},
  };
  add_calls(json, report, measured, report.flops());
  json.update({
      {"replay", report.replay ? nlohmann::ordered_json(*report.replay) : nlohmann::ordered_json(nullptr)},
      {"predicted_seconds", number_or_null(predicted ? std::optional(report.predicted->seconds) : std::nullopt)},
      {"predicted_machine", predicted ? nlohmann::ordered_json(report.predicted->machine) : nlohmann::ordered_json(nullptr)},
      {"bytes_arriving", report.arriving_bytes},
      {"bytes_dense", report.dense_bytes},
      {"unshared", report.unshared.empty() ? nlohmann::ordered_json(nullptr) : nlohmann::ordered_json(report.unshared)},
      {"arena_bytes", report.arena_bytes},
      {"scratch_bytes", report.scratch_bytes},
      {"peak_memory_bytes", report.peak_memory_bytes},
  });
  json["per_rank"] = per_rank_json(measured);
  json["check"] = report.check ? check_json(*report.check) : nlohmann::ordered_json(nullptr);
  json["gradient_check"] = report.gradient_check ? check_json(*report.gradient_check) : nlohmann::ordered_json(nullptr);
  json["sparse"] = report.sparsity ? sparsity_json(report) : nlohmann::ordered_json(nullptr);
  json["backward"] = report.gradients ? gradients_json(report) : nlohmann::ordered_json(nullptr);
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace gyre
