#include "launch/trace.hpp"

#include <algorithm>
#include <chrono>
#include <exception>
#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "comm/agreement.hpp"
#include "comm/heartbeat.hpp"
#include "runtime/text.hpp"

namespace gyre {
namespace {

// Every other transfer is complete when a trace is written, so that its messages meet nobody else's.
constexpr int kLane = 0;
constexpr int kPings = 16;

void complete(Transport& transport, int peer, Ticket ticket) {
  transport.heartbeat().set_stage({"trace"});
  Waiting waiting(transport.heartbeat(), peer);
  while (!transport.test(ticket)) waiting.fruitless();
}

template <class Value>
void send_value(Transport& transport, int peer, const Value& value) {
  complete(transport, peer, transport.send(peer, kLane, std::as_bytes(std::span(&value, 1))));
}

template <class Value>
Value receive_value(Transport& transport, int peer) {
  Value value{};
  complete(transport, peer, transport.receive(peer, kLane, std::as_writable_bytes(std::span(&value, 1))));
  return value;
}

/// On rank 0.
ClockOffset ping(Transport& transport, int peer, const std::function<double()>& clock) {
  ClockOffset best{.seconds = 0, .residual_seconds = std::numeric_limits<double>::infinity()};
  for (int round = 0; round < kPings; ++round) {
    const double asked = clock();
    send_value(transport, peer, asked);
    const auto theirs = receive_value<double>(transport, peer);
    const double answered = clock();
    const double half = (answered - asked) / 2;
    if (half < best.residual_seconds) best = {.seconds = asked + half - theirs, .residual_seconds = half};
  }
  return best;
}

void answer_pings(Transport& transport, const std::function<double()>& clock) {
  for (int round = 0; round < kPings; ++round) {
    receive_value<double>(transport, 0);
    send_value(transport, 0, clock());
  }
}

std::string other_data(double residual_seconds, const TraceOfRank& trace) {
  nlohmann::ordered_json data = {{"clock_residual_seconds", residual_seconds}};
  for (const TracedCall& call : trace.calls) {
    if (call.predicted == nullptr) continue;
    const std::string prefix = call.program.pass == Pass::backward ? "predicted_backward_" : "predicted_";
    data["predicted_machine"] = call.predicted->machine;
    if (call.predicted->left_out.empty()) data[prefix + "seconds"] = call.predicted->seconds;
    if (!call.predicted->left_out.empty()) data[prefix + "left_out"] = call.predicted->left_out;
  }
  return data.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

double first_event_seconds(const TracedCall& call) {
  double first = std::numeric_limits<double>::infinity();
  for (const TimelineEvent& event : call.events) first = std::min(first, event.begin_seconds);
  return call.events.empty() ? call.began_seconds : first;
}

}  // namespace

ClockOffset measure_clock_offset(Transport& transport, std::span<const int> node_of_rank, const std::function<double()>& clock) {
  std::vector<ClockOffset> of_nodes(1);  // nodes are numbered by their lowest rank, so they come up in order
  for (int rank = 0; rank < transport.ranks(); ++rank) {
    if (node_of_rank[static_cast<std::size_t>(rank)] != static_cast<int>(of_nodes.size())) continue;
    of_nodes.emplace_back();
    if (transport.rank() == 0) of_nodes.back() = ping(transport, rank, clock);
    if (transport.rank() == rank) answer_pings(transport, clock);
  }
  transport.broadcast(std::as_writable_bytes(std::span(of_nodes)), 0);
  return of_nodes[static_cast<std::size_t>(node_of_rank[static_cast<std::size_t>(transport.rank())])];
}

void gather_text(Transport& transport, const std::function<void(const TextSink&)>& make, const TextSink& take) {
  const bool first = transport.rank() == 0;
  std::string piece;
  const auto hand_over = [&] {
    if (piece.empty()) return;
    if (first) take(piece);
    if (!first) {
      send_value(transport, 0, std::uint64_t{piece.size()});
      complete(transport, 0, transport.send(0, kLane, std::as_bytes(std::span(piece))));
    }
    piece.clear();
  };
  make([&](std::string_view text) {
    piece += text;
    if (piece.size() >= kTracePieceBytes) hand_over();
  });
  hand_over();
  if (!first) return send_value(transport, 0, std::uint64_t{0});
  for (int rank = 1; rank < transport.ranks(); ++rank)
    while (const auto bytes = receive_value<std::uint64_t>(transport, rank)) {
      piece.resize(bytes);
      complete(transport, rank, transport.receive(rank, kLane, std::as_writable_bytes(std::span(piece))));
      take(piece);
    }
}

void write_trace(Transport& transport, WholeFile* file, const TraceOfRank& trace) {
  const ClockOffset offset = measure_clock_offset(transport, transport.nodes(), [] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  });
  const double origin = minimum_over_ranks(transport, trace.calls.front().began_seconds + offset.seconds);
  const double residual = maximum_over_ranks(transport, offset.residual_seconds);
  const double to_trace_seconds = offset.seconds - origin;

  // Who sends goes on sending, also after the disk is full.
  std::int64_t written = 0;
  std::exception_ptr failure;
  const TextSink take = [&](std::string_view text) {
    if (failure) return;
    try {
      file->write(written, text);
      written += static_cast<std::int64_t>(text.size());
    } catch (...) {
      failure = std::current_exception();
    }
  };
  if (file != nullptr)
    take("{\"displayTimeUnit\":\"ms\",\n\"otherData\":" + other_data(residual, trace) + ",\n\"traceEvents\":[\n");
  gather_text(
      transport,
      [&](const TextSink& sink) {
        for (const TracedCall& call : trace.calls) {
          if (transport.rank() > 0 || &call != trace.calls.data()) sink(",\n");
          const TraceFrame frame{
              .label = trace.label, .to_trace_seconds = to_trace_seconds, .call_began_seconds = call.began_seconds};
          write_trace_events(call.program, trace.layout, call.events, frame, sink);
        }
      },
      take);
  for (const TracedCall& call : trace.calls) {
    if (file == nullptr || call.predicted == nullptr) continue;
    write_predicted_events(*call.predicted, trace.layout, first_event_seconds(call) + to_trace_seconds, take);
  }
  if (file != nullptr) take("\n]}\n");
  together(transport, [&] {
    if (failure) std::rethrow_exception(failure);
    if (file != nullptr) file->publish();
  });
}

}  // namespace gyre
