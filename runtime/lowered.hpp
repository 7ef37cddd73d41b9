// A program with addresses: what each instruction of one rank does, to which bytes. Resolved once, so that a call looks nothing up.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "comm/transport.hpp"
#include "kernels/attend.hpp"
#include "kernels/attend_backward.hpp"
#include "kernels/integrity.hpp"
#include "runtime/content.hpp"
#include "runtime/layout.hpp"
#include "runtime/memory.hpp"
#include "runtime/program.hpp"

namespace gyre {

/// One message: a run of cells where it lies. Borrowed cells are sent from their owner's memory, and never written.
struct Message {
  std::byte* bytes;
  std::size_t size;
  Ticket ticket{};
  bool in_flight = false;
};

struct NamedCell {
  CellName name;
  std::span<std::byte> bytes;  // borrowed ones are never written
};

/// All messages of a send or receive; or one loan, of which only the size counts.
struct Transfer {
  std::vector<Message> messages;
  bool in_flight = false;
  std::vector<NamedCell> sealed;  // what arrives with checksums
  bool to_verify = false;
  std::chrono::steady_clock::time_point posted;
};

/// A cell and what it is made from: the caller's rows, or another cell; or the rows that it becomes.
struct RowCell {
  NamedCell cell;
  NamedCell from;  // of settle and combine
  std::int64_t first_row;
  std::int64_t tokens;
  std::int64_t position;  // of the first token, on the key axis
};

/// What computes scores, in a pass of either direction.
using AnyAttend = std::variant<Attend, AttendBackward>;

/// Of a team's workers: attends of a program run one at a time.
struct Scratch {
  std::shared_ptr<AttendScratch> forward;
  std::shared_ptr<BackwardScratch> backward;
  explicit Scratch(int threads)
      : forward(std::make_shared<AttendScratch>(threads)), backward(std::make_shared<BackwardScratch>(threads)) {}
  std::size_t bytes() const { return forward->bytes() + backward->bytes(); }
};

/// By instruction; each has what its operation needs.
struct Lowered {
  std::vector<Transfer> transfers;
  std::vector<std::vector<RowCell>> row_cells;
  std::vector<std::optional<AnyAttend>> attends;
  std::size_t tickets = 0;  // of all transfers

  /// program, layout and what memory holds must outlive this. Throws std::logic_error for a program that reads a cell that is not
  /// there.
  Lowered(const Program& program, const Layout& layout, const Memory& memory, const KernelTable& kernels, int threads,
          const Scratch& scratch);
};

}  // namespace gyre
