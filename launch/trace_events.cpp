#include "launch/trace_events.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>
#include <vector>

#include "runtime/text.hpp"

namespace gyre {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMostRunsNamed = 4;

// Rows by number, which is also their order. Perfetto wants thread numbers that no other process has.
constexpr int kComputeRow = 0, kWaitRow = 1, kFirstReceiveRow = 2, kFirstSendRow = 4000, kFirstFlowRow = 8000, kRowsOfRank = 10000;

/// Between this rank and another, whichever way the transport does it.
bool travels(const Instruction& instruction) {
  return instruction.peer >= 0;
}

/// To the other rank: such an instruction reads a slot and writes none.
bool leaves(const Instruction& instruction) {
  return instruction.out == kNoSlot;
}

std::int64_t bytes_of(const Program& program, const Layout& layout, const Instruction& instruction) {
  const SlotId slot = leaves(instruction) ? instruction.in[0] : instruction.out;
  return slot == kNoSlot ? 0 : layout.run_bytes(program.slots[slot].role, program.runs_of(instruction));
}

/// "4..7", or "4".
std::string run_text(int first, int count) {
  return std::to_string(first) + (count > 1 ? ".." + std::to_string(first + count - 1) : "");
}

/// Runs that go on where another ended are one to a reader.
std::vector<CellRun> joined(std::span<const CellRun> runs) {
  std::vector<CellRun> found;
  for (const CellRun& run : runs) {
    const bool goes_on = !found.empty() && found.back().unit + found.back().units == run.unit && found.back().head == run.head &&
                         found.back().heads == run.heads;
    if (goes_on) found.back().units += run.units;
    if (!goes_on) found.push_back(run);
  }
  return found;
}

/// "units 8..11 20..23", with heads if these are not all of them.
std::string cells_text(const Layout& layout, std::span<const CellRun> cells) {
  const std::vector<CellRun> runs = joined(cells);
  if (runs.empty()) return "nothing";
  std::string text = "units";
  for (std::size_t index = 0; index < std::min<std::size_t>(runs.size(), kMostRunsNamed); ++index)
    text += ' ' + run_text(static_cast<int>(runs[index].unit), static_cast<int>(runs[index].units));
  if (runs.size() > kMostRunsNamed) text += " and " + plural(static_cast<std::int64_t>(runs.size()) - kMostRunsNamed, "more run");
  const bool alike = std::all_of(runs.begin(), runs.end(),
                                 [&](const CellRun& run) { return run.head == runs[0].head && run.heads == runs[0].heads; });
  if (!alike) text += ", of several heads";
  if (alike && runs[0].heads < layout.problem.key_heads)
    text += (runs[0].heads > 1 ? ", heads " : ", head ") + run_text(runs[0].head, runs[0].heads);
  return text;
}

/// Gives stretches that overlap rows of their own, always the lowest that is free.
class Rows {
 public:
  explicit Rows(int first) : first_(first) {}
  int take(double begin, double end) {
    auto row = std::find_if(ends_.begin(), ends_.end(), [&](double other) { return other <= begin; });
    if (row == ends_.end()) row = ends_.insert(ends_.end(), end);
    *row = end;
    return first_ + static_cast<int>(row - ends_.begin());
  }
  int first() const { return first_; }
  int count() const { return static_cast<int>(ends_.size()); }

 private:
  int first_;
  std::vector<double> ends_;
};

/// Events of one rank, one after the other.
class EventWriter {
 public:
  EventWriter(const Program& program, const Layout& layout, const TraceFrame& frame,
              const std::function<void(std::string_view)>& sink)
      : program_(program), layout_(layout), frame_(frame), sink_(sink) {
    count_messages();
  }

  void write(std::vector<TimelineEvent> events) {
    std::stable_sort(events.begin(), events.end(),
                     [](const TimelineEvent& a, const TimelineEvent& b) { return a.begin_seconds < b.begin_seconds; });
    metadata("process_name", kComputeRow, {{"name", "rank " + std::to_string(program_.rank) + (predicted() ? ", predicted" : "")}});
    metadata("process_labels", kComputeRow, {{"labels", frame_.label}});
    metadata("process_sort_index", kComputeRow, {{"sort_index", 2 * program_.rank + (predicted() ? 1 : 0)}});
    if (!predicted() && !events.empty() && events.front().begin_seconds > frame_.call_began_seconds)
      stretch("wait for the last rank to begin", kWaitRow, frame_.call_began_seconds, events.front().begin_seconds, Json::object());
    for (const TimelineEvent& event : events) write(event);
    name_row(kComputeRow, "compute");
    name_row(kWaitRow, "wait");
    name_rows(receives_, "receive");
    name_rows(sends_, "send");
    name_rows(flows_, "wire");
  }

 private:
  bool predicted() const { return frame_.told == Told::predicted; }

  void write(const TimelineEvent& event) {
    const Instruction& instruction = program_.instructions[event.instruction];
    std::string name = describe_for_reader(program_, layout_, event.instruction);
    int row = kComputeRow;
    if (event.kind == TimelineEvent::Kind::wait) {
      row = kWaitRow;
      name = "wait for " + name;
    } else if (event.kind == TimelineEvent::Kind::transfer) {
      row = (leaves(instruction) ? sends_ : receives_).take(event.begin_seconds, event.end_seconds);
    } else if (event.kind == TimelineEvent::Kind::flow) {
      row = flows_.take(event.begin_seconds, event.end_seconds);
    }
    stretch(name, row, event.begin_seconds, event.end_seconds, arguments(event.instruction));
    if (event.kind == TimelineEvent::Kind::transfer) arrow_end(event, row);
  }

  Json arguments(std::uint32_t index) const {
    const Instruction& instruction = program_.instructions[index];
    Json list = {
        {"instruction", index}, {"stage", instruction.stage}, {"cells", cells_text(layout_, program_.runs_of(instruction))}};
    if (travels(instruction)) {
      list["peer"] = instruction.peer;
      list["lane"] = instruction.lane;
      list["bytes"] = bytes_of(program_, layout_, instruction);
    }
    return list;
  }

  /// Message k from a to b on a lane is message k of b from a: the same number on both sides.
  void count_messages() {
    std::map<std::tuple<Op, std::int32_t, std::uint8_t>, std::uint64_t> messages;
    for (std::size_t index = 0; index < program_.instructions.size(); ++index) {
      const Instruction& instruction = program_.instructions[index];
      if (!travels(instruction)) continue;
      auto& next = messages[{instruction.op, instruction.peer, instruction.lane}];
      first_message_[index] = next;
      next += instruction.run_count;
    }
  }

  void arrow_end(const TimelineEvent& event, int row) {
    const Instruction& instruction = program_.instructions[event.instruction];
    if (!travels(instruction)) return;
    const bool start = leaves(instruction);
    const auto ranks = static_cast<std::uint64_t>(layout_.ranks), mine = static_cast<std::uint64_t>(program_.rank),
               peer = static_cast<std::uint64_t>(instruction.peer);
    const std::uint64_t call = (predicted() ? 1 : 0) + (program_.pass == Pass::backward ? 2 : 0);
    const std::uint64_t pair = (start ? mine * ranks + peer : peer * ranks + mine) + call * ranks * ranks;
    const std::uint64_t id = (pair * 256 + instruction.lane) << 20 | (first_message_[event.instruction] & 0xfffff);
    Json json = {{"name", "message"}, {"cat", "message"}, {"ph", start ? "s" : "f"}, {"id", id}};
    if (!start) json["bp"] = "e";  // it ends in the stretch that is open then, not in the next one
    place(json, row);
    // Inside the stretch: a stretch does not contain its own end.
    const std::int64_t begin = nanoseconds(event.begin_seconds), end = nanoseconds(event.end_seconds);
    json["ts"] = microseconds(start ? begin : std::max(begin, end - 1));
    put(json);
  }

  void stretch(const std::string& name, int row, double begin, double end, Json list) {
    Json json = {{"name", name}, {"ph", "X"}};
    place(json, row);
    json["ts"] = microseconds(nanoseconds(begin));
    json["dur"] = microseconds(std::max(nanoseconds(end) - nanoseconds(begin), std::int64_t{0}));
    if (!list.empty()) json["args"] = std::move(list);
    put(json);
  }

  void metadata(const char* name, int row, Json list) {
    Json json = {{"name", name}, {"ph", "M"}};
    place(json, row);
    json["args"] = std::move(list);
    put(json);
  }

  void name_row(int row, const std::string& name) {
    metadata("thread_name", row, {{"name", name}});
    metadata("thread_sort_index", row, {{"sort_index", row}});
  }
  void name_rows(const Rows& rows, const std::string& name) {
    for (int index = 0; index < rows.count(); ++index)
      name_row(rows.first() + index, index == 0 ? name : name + " " + std::to_string(index + 1));
  }

  // Numbers begin at 1: process 0 and thread 0 are the idle ones of the kernel's own traces.
  void place(Json& json, int row) const {
    const std::int64_t process = std::int64_t{program_.rank} + (predicted() ? layout_.ranks : 0) + 1;
    json["pid"] = process;
    json["tid"] = process * kRowsOfRank + row;
  }

  // Whole nanoseconds, so that stretches that follow on each other do not overlap by a rounding.
  std::int64_t nanoseconds(double seconds) const { return std::llround((seconds + frame_.to_trace_seconds) * 1e9); }
  static double microseconds(std::int64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1e3; }

  void put(const Json& json) {
    if (!first_) sink_(",\n");
    first_ = false;
    sink_(json.dump());
  }

  const Program& program_;
  const Layout& layout_;
  const TraceFrame& frame_;
  const std::function<void(std::string_view)>& sink_;
  std::map<std::size_t, std::uint64_t> first_message_;
  Rows receives_{kFirstReceiveRow}, sends_{kFirstSendRow}, flows_{kFirstFlowRow};
  bool first_ = true;
};

}  // namespace

std::string describe_for_reader(const Program& program, const Layout& layout, std::size_t index) {
  const Instruction& instruction = program.instructions[index];
  std::string text = instruction.op == Op::apply ? to_string(instruction.function) : to_string(instruction.op);
  std::replace(text.begin(), text.end(), '_', ' ');
  if (travels(instruction)) {
    text += ' ' + bytes_text(static_cast<double>(bytes_of(program, layout, instruction)));
    text += (leaves(instruction) ? " to " : " from ") + std::to_string(instruction.peer);
  } else {
    text += ' ' + cells_text(layout, program.runs_of(instruction));
  }
  return instruction.op == Op::apply ? text : text + ", stage " + std::to_string(instruction.stage);
}

void write_trace_events(const Program& program, const Layout& layout, std::span<const TimelineEvent> events,
                        const TraceFrame& frame, const std::function<void(std::string_view)>& sink) {
  EventWriter(program, layout, frame, sink).write({events.begin(), events.end()});
}

}  // namespace gyre
