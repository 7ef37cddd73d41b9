#include "runtime/simulate.hpp"

#include <algorithm>
#include <deque>
#include <queue>
#include <stdexcept>
#include <string>
#include <unordered_map>

#include "runtime/flows.hpp"

namespace gyre {
namespace {

class Simulator {
 public:
  Simulator(const Schedule& schedule, std::span<const int> nodes, const Machine& machine, PairCounts& counts, const Watch& watch)
      : machine_(machine), nodes_(nodes), watch_(watch), flows_(machine, nodes), ranks_(nodes.size()) {
    for (int rank = 0; rank < std::ssize(nodes); ++rank) {
      ranks_[rank].program = costs_of(schedule(rank), machine, counts);
      ranks_[rank].complete.resize(ranks_[rank].program.instructions.size());
      if (watch_) ranks_[rank].posted.resize(ranks_[rank].program.instructions.size());
      ranks_[rank].result.memory_bytes = ranks_[rank].program.memory_bytes;
    }
  }

  Simulation run();

 private:
  struct Rank {
    CostedProgram program;
    std::vector<std::uint8_t> complete;  // [instruction]
    std::vector<double> posted;          // [instruction] when; empty if nobody watches
    std::size_t next = 0;                // instruction; all are posted, and the rank waits for the rest, at the end
    std::size_t looked_at = 0;           // sources of the next one, or at the end instructions, that are known to be complete
    bool computes = false, waits = false;
    double since = 0;          // when it began to compute or to wait
    double taken_seconds = 0;  // of its processor by transfers, still to be paid
    SimulatedRank result;
  };
  struct Posted {
    int rank;
    std::uint32_t instruction;
  };
  struct Transfer {
    int from, to;
    std::uint32_t send, receive;
    std::int64_t bytes;
    double began = 0;
  };
  /// Sends and receives of a lane, or exposes and borrows, that wait for their other half; and loans that wait to be given back.
  struct Lane {
    std::deque<std::uint32_t> offered, wanted, lent;
  };
  struct Connection {  // from a rank to another
    std::deque<Transfer> queue;
    bool busy = false;
  };
  struct Event {
    double time;
    std::uint64_t order;
    enum class Kind : std::uint8_t { computed, completed } kind;
    Posted what;
    bool operator>(const Event& other) const { return time != other.time ? time > other.time : order > other.order; }
  };
  static constexpr int kLoans = 256;  // as a lane, behind all others

  static std::uint64_t key(int from, int to, int lane) {
    return (static_cast<std::uint64_t>(from) * (1U << 24U) + static_cast<std::uint64_t>(to)) * 512 +
           static_cast<std::uint64_t>(lane);
  }
  void schedule_event(double time, Event::Kind kind, Posted what) { events_.push({time, order_++, kind, what}); }
  void advance(int rank, std::uint32_t completed = 0);
  bool ready(Rank& rank) const;
  void tell(int rank, std::uint32_t index, TimelineEvent::Kind kind, double begin, double end) const {
    if (watch_) watch_(rank, {index, kind, begin, end});
  }
  void post(int rank);
  void offer(int rank, std::uint32_t index);
  void want(int rank, std::uint32_t index);
  void give_back(int rank, std::uint32_t index);
  void match(int from, int to, int lane);
  void begin(Connection& connection, const Transfer& transfer);
  void arrive(const Transfer& transfer);
  void complete(int rank, std::uint32_t index);
  void take_from_processor(int rank, double seconds) {
    if (!ranks_[rank].waits) ranks_[rank].taken_seconds += seconds;
  }

  const Machine& machine_;
  std::span<const int> nodes_;
  const Watch& watch_;
  Flows flows_;
  std::vector<Rank> ranks_;
  std::unordered_map<std::uint64_t, Lane> lanes_;
  std::unordered_map<std::uint64_t, Connection> connections_;
  std::vector<Transfer> flowing_;  // [flow]
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::uint64_t order_ = 0;
  double now_ = 0;
};

bool Simulator::ready(Rank& rank) const {
  const CostedProgram& program = rank.program;
  const bool at_end = rank.next == program.instructions.size();
  const std::size_t count = at_end ? rank.complete.size() : program.instructions[rank.next].source_count;
  for (; rank.looked_at < count; ++rank.looked_at) {
    const std::size_t source = at_end ? rank.looked_at : program.sources[program.instructions[rank.next].sources + rank.looked_at];
    if (rank.complete[source] == 0) return false;
  }
  return true;
}

/// Posts what can be posted, now that an instruction is complete. A rank that computes is called again when it has.
void Simulator::advance(int number, std::uint32_t completed) {
  Rank& rank = ranks_[number];
  while (!rank.computes) {
    if (!ready(rank)) {
      if (!rank.waits) rank.waits = true, rank.since = now_;
      return;
    }
    if (rank.waits) {
      rank.waits = false;
      rank.result.waiting_seconds += now_ - rank.since;
      tell(number, completed, TimelineEvent::Kind::wait, rank.since, now_);
      rank.taken_seconds = std::max(0.0, rank.taken_seconds - (now_ - rank.since));
    }
    if (rank.next == rank.program.instructions.size()) {
      rank.result.seconds = now_ + rank.taken_seconds;
      return;
    }
    post(number);
  }
}

void Simulator::post(int number) {
  Rank& rank = ranks_[number];
  const auto index = static_cast<std::uint32_t>(rank.next++);
  rank.looked_at = 0;
  const CostedInstruction& instruction = rank.program.instructions[index];
  if (watch_) rank.posted[index] = now_;
  switch (instruction.op) {
    case Op::send:
    case Op::expose:
      return offer(number, index);
    case Op::receive:
    case Op::borrow:
      return want(number, index);
    case Op::release:
      return give_back(number, index);
    case Op::attend:
    case Op::attend_backward:
    case Op::combine:
    case Op::apply:
      (attends(instruction.op) ? rank.result.computing_seconds : rank.result.packing_seconds) += instruction.seconds;
      rank.computes = true;
      return schedule_event(now_ + instruction.seconds, Event::Kind::computed, {number, index});
  }
}

void Simulator::offer(int number, std::uint32_t index) {
  SimulatedRank& result = ranks_[number].result;
  const CostedInstruction& instruction = ranks_[number].program.instructions[index];
  const bool loan = instruction.op == Op::expose;
  const int lane = loan ? kLoans : instruction.lane;
  if (loan) {
    take_from_processor(number, machine_.loan_seconds);
  } else {
    take_from_processor(number, instruction.messages * flows_.model(number, instruction.peer).message_seconds);
    result.bytes_sent += instruction.bytes;
    result.messages += instruction.messages;
    if (flows_.between_nodes(number, instruction.peer)) result.bytes_between_nodes += instruction.bytes;
  }
  lanes_[key(number, instruction.peer, lane)].offered.push_back(index);
  match(number, instruction.peer, lane);
}

void Simulator::want(int number, std::uint32_t index) {
  const CostedInstruction& instruction = ranks_[number].program.instructions[index];
  const bool loan = instruction.op == Op::borrow;
  const int lane = loan ? kLoans : instruction.lane;
  if (loan) ranks_[number].result.bytes_borrowed += instruction.bytes;
  take_from_processor(number,
                      loan ? machine_.loan_seconds : instruction.messages * flows_.model(instruction.peer, number).message_seconds);
  lanes_[key(instruction.peer, number, lane)].wanted.push_back(index);
  match(instruction.peer, number, lane);
}

void Simulator::give_back(int number, std::uint32_t index) {
  const int owner = ranks_[number].program.instructions[index].peer;
  Lane& lane = lanes_[key(owner, number, kLoans)];
  if (lane.lent.empty()) throw std::logic_error("rank " + std::to_string(number) + " gives back what it has not borrowed");
  schedule_event(now_ + machine_.loan_seconds, Event::Kind::completed, {owner, lane.lent.front()});
  lane.lent.pop_front();
  ranks_[number].complete[index] = 1;
}

/// Of what both sides have posted on a lane there is one pair at most: it was looked at after every posting.
void Simulator::match(int from, int to, int lane_number) {
  Lane& lane = lanes_[key(from, to, lane_number)];
  if (lane.offered.empty() || lane.wanted.empty()) return;
  const std::uint32_t send = lane.offered.front(), receive = lane.wanted.front();
  lane.offered.pop_front(), lane.wanted.pop_front();
  if (lane_number == kLoans) {
    lane.lent.push_back(send);
    return schedule_event(now_ + machine_.loan_seconds, Event::Kind::completed, {to, receive});
  }
  Connection& connection = connections_[key(from, to, 0)];
  const Transfer transfer{from, to, send, receive, ranks_[from].program.instructions[send].bytes};
  connection.busy ? connection.queue.push_back(transfer) : begin(connection, transfer);
}

void Simulator::begin(Connection& connection, const Transfer& transfer) {
  connection.busy = true;
  const std::uint32_t flow = flows_.start(transfer.from, transfer.to, transfer.bytes, now_);
  if (flow >= flowing_.size()) flowing_.resize(flow + 1);
  flowing_[flow] = transfer;
  flowing_[flow].began = now_;
}

/// The last byte has left: it still takes the latency, and the next message follows.
void Simulator::arrive(const Transfer& transfer) {
  const LinkModel& model = flows_.model(transfer.from, transfer.to);
  tell(transfer.to, transfer.receive, TimelineEvent::Kind::flow, transfer.began, now_ + model.latency_seconds);
  schedule_event(now_ + model.latency_seconds, Event::Kind::completed, {transfer.from, transfer.send});
  schedule_event(now_ + model.latency_seconds, Event::Kind::completed, {transfer.to, transfer.receive});
  if (model.processor_bytes_per_second > 0)
    take_from_processor(transfer.to, static_cast<double>(transfer.bytes) / model.processor_bytes_per_second);
  Connection& connection = connections_[key(transfer.from, transfer.to, 0)];
  connection.busy = false;
  if (connection.queue.empty()) return;
  const Transfer next = connection.queue.front();
  connection.queue.pop_front();
  begin(connection, next);
}

void Simulator::complete(int number, std::uint32_t index) {
  Rank& rank = ranks_[number];
  rank.complete[index] = 1;
  const bool travelled = rank.program.instructions[index].peer >= 0;
  if (watch_)
    tell(number, index, travelled ? TimelineEvent::Kind::transfer : TimelineEvent::Kind::compute, rank.posted[index], now_);
  advance(number, index);
}

Simulation Simulator::run() {
  for (int rank = 0; rank < std::ssize(ranks_); ++rank) advance(rank);
  while (true) {
    const double flow_ends = flows_.next_end();
    if (events_.empty() && flow_ends == Flows::kNever) break;
    if (events_.empty() || flow_ends < events_.top().time) {
      now_ = flow_ends;
      arrive(Transfer(flowing_[flows_.take()]));
      continue;
    }
    const Event event = events_.top();
    events_.pop();
    now_ = event.time;
    Rank& rank = ranks_[event.what.rank];
    if (event.kind == Event::Kind::computed && rank.taken_seconds > 0) {
      schedule_event(now_ + std::exchange(rank.taken_seconds, 0.0), Event::Kind::computed, event.what);
      continue;
    }
    if (event.kind == Event::Kind::computed) rank.computes = false;
    complete(event.what.rank, event.what.instruction);
  }
  Simulation all;
  for (int rank = 0; rank < std::ssize(ranks_); ++rank) {
    Rank& its = ranks_[rank];
    if (its.next < its.program.instructions.size() || !ready(its))
      throw std::logic_error("rank " + std::to_string(rank) + " waits for ever in instruction " + std::to_string(its.next));
    all.ranks.push_back(its.result);
  }
  return all;
}

}  // namespace

double Simulation::seconds() const {
  double most = 0;
  for (const SimulatedRank& rank : ranks) most = std::max(most, rank.seconds);
  return most;
}

double Simulation::exposed_communication_seconds() const {
  double busiest = 0;
  for (const SimulatedRank& rank : ranks) busiest = std::max(busiest, rank.computing_seconds + rank.packing_seconds);
  return std::max(0.0, seconds() - busiest);
}

Simulation simulate(const Schedule& schedule, std::span<const int> nodes, const Machine& machine, PairCounts& counts,
                    const Watch& watch) {
  return Simulator(schedule, nodes, machine, counts, watch).run();
}

}  // namespace gyre
