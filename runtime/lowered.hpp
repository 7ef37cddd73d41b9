// A program with addresses: what each instruction of one rank does, to which bytes. Resolved once, so that a call looks nothing up.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "comm/transport.hpp"
#include "kernels/attend.hpp"
#include "kernels/integrity.hpp"
#include "runtime/content.hpp"
#include "runtime/layout.hpp"
#include "runtime/program.hpp"

namespace gyre {

/// The memory that a program runs in. window: null if the program lends and borrows nothing.
struct Memory {
  std::byte* arena = nullptr;
  SharedMemory* window = nullptr;
};

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
};

/// By instruction; each has what its operation needs.
struct Lowered {
  std::vector<Transfer> transfers;
  std::vector<std::vector<RowCell>> row_cells;
  std::vector<std::unique_ptr<Attend>> attends;
  std::size_t tickets = 0;  // of all transfers

  /// program, layout and memory must outlive this. Throws std::logic_error for a program that reads a cell that is not there.
  Lowered(const Program& program, const Layout& layout, const Memory& memory, const KernelTable& kernels, int threads,
          int strips_per_block, const std::shared_ptr<AttendScratch>& scratch);
};

}  // namespace gyre
