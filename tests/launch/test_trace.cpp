// Traces: what a timeline becomes, on which clock, and how the texts of all ranks meet.
#include "launch/trace.hpp"

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "comm/loopback_transport.hpp"
#include "runtime/schedules/schedules.hpp"
#include "support/catch.hpp"

using namespace gyre;
using Json = nlohmann::json;
using Kind = TimelineEvent::Kind;

namespace {

Layout ring_of_three() {
  Problem problem;
  problem.query_tokens = problem.key_tokens = 96;
  problem.query_heads = problem.key_heads = 2;
  Options options;
  options.unit_tokens = 8;
  options.partition = PartitionChoice::parse("contiguous");
  return Layout(problem, options, 3);
}

/// Every instruction takes a second and starts when the one before has; transfers take five, so that they overlap.
std::vector<TimelineEvent> busy(const Program& program) {
  std::vector<TimelineEvent> events;
  for (std::uint32_t index = 0; index < program.instructions.size(); ++index) {
    const Op op = program.instructions[index].op;
    const bool transfer = op == Op::send || op == Op::receive;
    events.push_back({index, transfer ? Kind::transfer : Kind::compute, 100.0 + index, 101.0 + index + (transfer ? 4 : 0)});
    if (op == Op::receive) events.push_back({index, Kind::wait, 100.25 + index, 100.5 + index});
  }
  std::reverse(events.begin(), events.end());  // a transfer is recorded when it ends
  return events;
}

Json trace_of(const Program& program, const Layout& layout, std::span<const TimelineEvent> events, double began = 99) {
  std::string text = "[";
  write_trace_events(program, layout, events, {.label = "node 0", .to_trace_seconds = -began, .call_began_seconds = began},
                     [&](std::string_view piece) { text += piece; });
  return Json::parse(text + "]");
}

bool has(const Json& trace, const std::string& name) {
  return std::any_of(trace.begin(), trace.end(), [&](const Json& event) { return event["name"] == name; });
}

}  // namespace

TEST_CASE("trace events are of the format: numbers for process and thread, microseconds, no stretch of negative length") {
  const Layout layout = ring_of_three();
  const Program program = make_schedule(Strategy::ring, layout, Options())(1);
  const Json trace = trace_of(program, layout, busy(program));
  std::set<std::int64_t> rows, named;
  for (const Json& event : trace) {
    REQUIRE(event["name"].is_string());
    REQUIRE(event["pid"] == 2);
    REQUIRE(event["tid"].is_number_integer());
    if (event["ph"] == "X") {
      REQUIRE(event["ts"].get<double>() >= 0);
      REQUIRE(event["dur"].get<double>() >= 0);
      rows.insert(event["tid"].get<std::int64_t>());
    } else if (event["ph"] == "M") {
      REQUIRE(event["args"].is_object());
      if (event["name"] == "thread_name") named.insert(event["tid"].get<std::int64_t>());
    } else {
      REQUIRE((event["ph"] == "s" || event["ph"] == "f"));
    }
  }
  CHECK(std::includes(named.begin(), named.end(), rows.begin(), rows.end()));
}

TEST_CASE("stretches of one row never overlap, though transfers do") {
  const Layout layout = ring_of_three();
  Options options;
  options.prefetch = 2;
  const Program program = make_schedule(Strategy::ring, layout, options)(0);
  std::map<std::int64_t, double> end;
  std::set<std::int64_t> transfers;
  for (const Json& event : trace_of(program, layout, busy(program))) {
    if (event["ph"] != "X") continue;
    const auto row = event["tid"].get<std::int64_t>();
    REQUIRE(event["ts"].get<double>() >= end[row]);
    end[row] = event["ts"].get<double>() + event["dur"].get<double>();
    if (event.contains("args") && event["args"].contains("bytes") && !event["name"].get<std::string>().starts_with("wait"))
      transfers.insert(row);
  }
  CHECK(transfers.size() == 4);  // two sends and two receives at once
}

TEST_CASE("names say what is done with which cells, and with whom") {
  const Layout layout = ring_of_three();  // 12 units, 4 a rank
  const Program program = make_schedule(Strategy::ring, layout, Options())(1);
  const Json trace = trace_of(program, layout, busy(program));
  CHECK(has(trace, "attend units 4..7, stage 0"));
  CHECK(has(trace, "attend units 0..3, stage 1"));
  CHECK(has(trace, "pack query units 4..7"));
  // 4 units x 2 heads x 16 keys (8, rounded up) x (64 + 64) channels x 4 bytes
  CHECK(has(trace, "receive 65.5 kB from 0, stage 1"));
  CHECK(has(trace, "wait for receive 65.5 kB from 0, stage 1"));
  CHECK(has(trace, "send 65.5 kB to 2, stage 0"));
  CHECK(has(trace, "wait for the last rank to begin"));
  CHECK(has(trace, "process_name"));
}

TEST_CASE("runs that go on where another ended are one to a reader, and heads are named where they are not all") {
  const Layout layout = ring_of_three();
  ProgramBuilder builder(0);
  const SlotId slot = builder.arena_slot(Role::key_value, 1);
  const auto named = [&](std::vector<CellRun> runs) {
    const std::size_t index = builder.add({.op = Op::attend, .out = slot, .in = {slot, slot}, .stage = 3}, runs);
    const Program program = ProgramBuilder(builder).take();
    return describe_for_reader(program, layout, index);
  };
  CHECK(named({{0, 4, 0, 2}, {4, 4, 0, 2}, {10, 1, 0, 2}}) == "attend units 0..7 10, stage 3");
  CHECK(named({{0, 4, 1, 1}, {4, 4, 1, 1}}) == "attend units 0..7, head 1, stage 3");
  CHECK(named({{0, 4, 0, 1}, {4, 4, 1, 1}}) == "attend units 0..3 4..7, of several heads, stage 3");
  CHECK(named({{0, 1, 0, 2}, {2, 1, 0, 2}, {4, 1, 0, 2}, {6, 1, 0, 2}, {8, 1, 0, 2}}) ==
        "attend units 0 2 4 6 and 1 more run, stage 3");
}

TEST_CASE("an arrow leads from every send to the receive that it meets") {
  const Layout layout = ring_of_three();
  const Schedule schedule = make_schedule(Strategy::ring, layout, Options());
  std::map<std::uint64_t, std::pair<std::string, std::string>> arrows;  // id -> cells at its start, at its end
  int ends = 0;
  for (int rank = 0; rank < 3; ++rank) {
    const Program program = schedule(rank);
    std::string cells;
    for (const Json& event : trace_of(program, layout, busy(program))) {
      if (event["ph"] == "X") cells = event.value("args", Json::object()).value("cells", "");
      if (event["ph"] == "s") arrows[event["id"].get<std::uint64_t>()].first = cells;
      if (event["ph"] == "f") arrows[event["id"].get<std::uint64_t>()].second = cells;
      if (event["ph"] == "s" || event["ph"] == "f") ++ends;
    }
  }
  CHECK(arrows.size() == 6);  // three ranks, two stages
  CHECK(ends == 12);
  for (const auto& [id, cells] : arrows) {
    CHECK(cells.first != "");
    CHECK(cells.first == cells.second);
  }
}

TEST_CASE("what was predicted of a rank is a process of its own, with arrows of its own and rows for the wire") {
  const Layout layout = ring_of_three();
  const Program program = make_schedule(Strategy::ring, layout, Options())(1);
  std::vector<TimelineEvent> events = busy(program);
  for (std::uint32_t index = 0; index < program.instructions.size(); ++index)
    if (program.instructions[index].op == Op::receive) events.push_back({index, Kind::flow, 101.0 + index, 102.0 + index});
  std::string text = "[";
  write_trace_events(program, layout, events, {.label = "", .to_trace_seconds = -99, .told = Told::predicted},
                     [&](std::string_view piece) { text += piece; });
  const Json predicted = Json::parse(text + "]"), measured = trace_of(program, layout, busy(program));
  std::set<Json> ids, rows;
  for (const Json& event : measured) ids.insert(event.value("id", Json())), rows.insert(event["tid"]);
  ids.erase(Json());
  for (const Json& event : predicted) {
    CHECK(event["pid"] == 5);  // behind those of three ranks
    CHECK(!rows.contains(event["tid"]));
    if (event.contains("id")) CHECK(!ids.contains(event["id"]));
  }
  CHECK(predicted[0]["args"]["name"] == "rank 1, predicted");
  CHECK(!has(predicted, "wait for the last rank to begin"));
  CHECK(std::any_of(predicted.begin(), predicted.end(),
                    [](const Json& event) { return event["name"] == "thread_name" && event["args"]["name"] == "wire"; }));
}

TEST_CASE("a rank that recorded nothing still has its name") {
  const Layout layout = ring_of_three();
  const Json trace = trace_of(make_schedule(Strategy::ring, layout, Options())(2), layout, {});
  CHECK(has(trace, "process_name"));
  for (const Json& event : trace) CHECK(event["ph"] == "M");
}

TEST_CASE("the clock of another node is found to within the residual, and ranks of one node share theirs") {
  const std::vector<int> node_of_rank = {0, 1, 0, 1, 2};
  const std::vector<double> ahead = {0, 1000, 0, 1000, -0.25};
  std::vector<ClockOffset> offsets(5);
  run_loopback(5, [&](Transport& transport) {
    const auto rank = static_cast<std::size_t>(transport.rank());
    offsets[rank] = measure_clock_offset(transport, node_of_rank, [&] {
      return ahead[rank] + std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    });
  });
  for (const std::size_t rank : {0u, 2u}) {
    CHECK(offsets[rank].seconds == 0);
    CHECK(offsets[rank].residual_seconds == 0);
  }
  for (const std::size_t rank : {1u, 3u, 4u}) {
    CHECK(offsets[rank].residual_seconds > 0);
    CHECK(std::abs(offsets[rank].seconds + ahead[rank]) <= offsets[rank].residual_seconds + 1e-9);
  }
  CHECK(offsets[1].seconds == offsets[3].seconds);
}

TEST_CASE("texts of all ranks arrive whole, in rank order, in pieces of bounded size") {
  for (const int ranks : {1, 2, 5}) {
    std::string gathered, expected;
    std::size_t largest = 0;
    const auto word = [](int rank, int index) {
      return std::to_string(rank) + ":" + std::to_string(index) + std::string(999, ' ');
    };
    const auto words = [](int rank) { return rank == 1 ? 2500 : rank == 3 ? 0 : 3; };
    for (int rank = 0; rank < ranks; ++rank)
      for (int index = 0; index < words(rank); ++index) expected += word(rank, index);
    run_loopback(ranks, [&](Transport& transport) {
      gather_text(
          transport,
          [&](const TextSink& sink) {
            for (int index = 0; index < words(transport.rank()); ++index) sink(word(transport.rank(), index));
          },
          [&](std::string_view piece) {
            gathered += piece;
            largest = std::max(largest, piece.size());
          });
    });
    CHECK((gathered == expected));
    CHECK(largest < kTracePieceBytes + 2000);
  }
}
