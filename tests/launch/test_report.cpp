// The report: what it says of ranks that differ.
#include "launch/report.hpp"

#include <nlohmann/json.hpp>

#include "comm/loopback_transport.hpp"
#include "support/catch.hpp"

using namespace gyre;

namespace {

bool says(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// Three ranks, of which rank 1 computes half as long again as the others while they wait for it.
Report uneven() {
  Report report;
  report.problem.query_tokens = report.problem.key_tokens = 100;
  report.problem.query_heads = report.problem.key_heads = 2;
  report.problem.head_dim = 8, report.problem.value_dim = 4;
  report.strategy = "ring", report.partition = "contiguous", report.isa = "portable";
  report.ranks = 3, report.threads = 3;
  report.visible_pairs = 20000;
  report.peak_flops = 6e6;
  report.measured = {
      .repetitions = 5, .seconds = 2, .fastest_seconds = 1.5, .slowest_seconds = 4, .ranks = {}, .cpu_seconds = 5, .silent = {}};
  for (const double computing : {1.0, 1.5, 1.0})
    report.measured.ranks.push_back(
        {.call = {.total_seconds = 2, .computing_seconds = computing, .packing_seconds = 0.25, .waiting_seconds = 1.75 - computing},
         .bytes_sent = 1000});
  report.measured.ranks[2].bytes_sent = 4000;
  return report;
}

}  // namespace

TEST_CASE("the page says what the mask saves on the way, where something could travel") {
  Report report = uneven();
  CHECK_FALSE(says(to_text(report), "saved"));
  report.arriving_bytes = 3'000'000, report.dense_bytes = 12'000'000;
  CHECK(says(to_text(report), "saved      9 MB of 12 MB (75%)"));
  const auto json = nlohmann::json::parse(to_json(report));
  CHECK(json["bytes_arriving"] == 3'000'000);
  CHECK(json["bytes_dense"] == 12'000'000);
}

TEST_CASE("the page names the rank that computes longest, the mean, and the imbalance between them") {
  const std::string page = to_text(uneven());
  CHECK(says(page, "computing  1.500 s on rank 1, 1.167 s on the mean rank (imbalance 28.6%)"));
  CHECK(says(page, "waiting    750 ms on rank 0, 583 ms on the mean rank"));
  CHECK(says(page, "median of 5 calls, 1.500 s to 4.000 s, by the slowest rank"));
  CHECK(says(page, "50 tokens a second"));
  CHECK(says(page, "6 kB in a call, 4 kB of them by rank 2"));
}

TEST_CASE("the page says which parts lie inside others, and computing, packing and waiting stand together") {
  Report report = uneven();
  for (RankFigures& rank : report.measured.ranks) rank.call.communicating_seconds = 0.125, rank.call.integrity_seconds = 0.0625;
  const std::string page = to_text(report);
  CHECK(says(page, "transport  125 ms on rank 0, 125 ms on the mean rank; its polls are part of computing and packing\n"));
  CHECK(says(page, "integrity  62.5 ms on rank 0, 62.5 ms on the mean rank; writing checksums is part of packing\n"));
  CHECK(page.find("  computing") < page.find("  packing"));
  CHECK(page.find("  packing") < page.find("  waiting"));
  CHECK(page.find("  waiting") < page.find("  transport"));
}

TEST_CASE("a single rank is not compared with itself") {
  Report report = uneven();
  report.ranks = report.measured.repetitions = report.problem.query_heads = report.problem.key_heads = 1;
  report.problem.query_tokens = report.problem.key_tokens = 1;
  report.measured.ranks.resize(1);
  const std::string page = to_text(report);
  CHECK_FALSE(says(page, "mean rank"));
  CHECK_FALSE(says(page, "slowest rank"));
  CHECK(says(page, "(one call)"));
  CHECK(says(page, "1 query x 1 key, 1 head (1 key/value), head dim 8"));
}

TEST_CASE("the page says why ranks of a node do not share memory, and nothing if they do") {
  Report report = uneven();
  CHECK_FALSE(says(to_text(report), "unshared"));
  CHECK(nlohmann::json::parse(to_json(report))["unshared"].is_null());
  report.unshared = "switched off";
  CHECK(says(to_text(report), "memory inside a node: switched off"));
  CHECK(nlohmann::json::parse(to_json(report))["unshared"] == "switched off");
}

TEST_CASE("speed and its share of the peak follow from seconds, pairs and dims") {
  const Report report = uneven();
  CHECK(report.flops() == 2.0 * 20000 * 12);
  CHECK(report.gflops_per_rank() == report.flops() / 2 / 3 / 1e9);
  CHECK(report.peak_fraction() == report.flops() / 2 / 6e6);
}

TEST_CASE("JSON has a number for every rank, and the most of any rank above it") {
  const auto json = nlohmann::json::parse(to_json(uneven()));
  CHECK(json["per_rank"]["computing_seconds"] == std::vector<double>{1, 1.5, 1});
  CHECK(json["per_rank"]["waiting_seconds"] == std::vector<double>{0.75, 0.25, 0.75});
  CHECK(json["per_rank"]["bytes_sent"] == std::vector<int>{1000, 1000, 4000});
  CHECK(json["per_rank"]["total_seconds"].size() == 3);
  CHECK(json["computing_seconds"] == 1.5);
  CHECK(json["bytes_sent"] == 6000);
  CHECK((json["seconds"] == 2 && json["fastest_seconds"] == 1.5 && json["slowest_seconds"] == 4));
  CHECK(json["exposed_communication_seconds"].is_null());
}

TEST_CASE("a measurement gives every rank the same figures, and its median is between the fastest and the slowest") {
  std::vector<Measurement> of_ranks(3);
  run_loopback(3, [&](Transport& transport) {
    Problem problem;
    problem.query_tokens = problem.key_tokens = 40;
    Attention attention(transport, problem, Options());
    const auto tokens = [](const std::vector<Range>& rows) { return rows.empty() ? 0 : rows[0].size(); };
    const std::int64_t queries = tokens(attention.query_rows()), keys = tokens(attention.key_rows());
    std::vector<float> rows(40 * 64, 0.5f), out(40 * 64), lse(40);
    const Operands operands{.queries = {rows.data(), queries, 1, 64},
                            .keys = {rows.data(), keys, 1, 64},
                            .values = {rows.data(), keys, 1, 64},
                            .out = {out.data(), queries, 1, 64},
                            .lse = lse.data()};
    of_ranks[static_cast<std::size_t>(transport.rank())] =
        measure_calls(transport, [&](const CallOptions& options) { return attention.forward(operands, options); },
                      {.repetitions = 4, .warm_up = true, .ranks_share_process = true});
  });
  const Measurement& measured = of_ranks[0];
  CHECK(measured.repetitions == 4);
  CHECK(measured.fastest_seconds <= measured.seconds);
  CHECK(measured.seconds <= measured.slowest_seconds);
  CHECK(measured.spread(&CallTime::total_seconds).most == measured.seconds);
  for (const Measurement& other : of_ranks) {
    CHECK(other.seconds == measured.seconds);
    CHECK(other.cpu_seconds == measured.cpu_seconds);
    for (int rank = 0; rank < 3; ++rank) {
      CHECK(other.ranks[rank].call.total_seconds == measured.ranks[rank].call.total_seconds);
      CHECK(other.ranks[rank].bytes_sent == measured.ranks[rank].bytes_sent);
    }
  }
}
