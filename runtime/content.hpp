// Which cell lies where: the cells of a slot, wherever they are.
//
// Cells that a rank packs or receives lie in its own slot, one after the other in the order of their runs, unit-major. Cells that
// it borrows lie where their owner packed them, in memory that the ranks of a node share; the slot only knows where.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "runtime/layout.hpp"
#include "runtime/program.hpp"

namespace gyre {

/// An address without a pointer: bytes from the start of this rank's arena, or of the memory that a rank shares.
struct Place {
  static constexpr std::int32_t kArena = -1;
  std::int32_t sharer = kArena;  // a rank, or kArena
  std::int64_t offset = 0;
  Place operator+(std::int64_t bytes) const { return {sharer, offset + bytes}; }
  bool operator==(const Place&) const = default;
};

/// The cells of one slot.
class Content {
 public:
  Content() = default;
  /// The cells of these runs, one after the other from `start` on.
  Content(const Layout& layout, Role role, std::span<const CellRun> runs, Place start);

  /// Adds a run, of the one role that all have, that lies in one piece elsewhere.
  void add(Role role, const CellRun& run, Place place);
  /// Forgets what lies in the memory of that rank.
  void remove(std::int32_t sharer);

  Role role() const { return role_; }
  bool empty() const { return entries_.empty(); }
  /// Where a cell lies; nothing if it is not there.
  std::optional<Place> find(const Layout& layout, std::uint32_t unit, std::uint16_t head) const;
  /// Where a run starts, if all of it lies there in one piece.
  std::optional<Place> find(const Layout& layout, const CellRun& run) const;

  template <class Visit>
  void each_run(Visit&& visit) const {
    for (const Entry& entry : entries_) visit(entry.run);
  }
  /// visit(unit, head, place) of every cell, by heads, then ascending units.
  template <class Visit>
  void each_cell(const Layout& layout, Visit&& visit) const {
    for (const Entry& entry : entries_) {
      Place place = entry.place;
      for (std::uint32_t unit = entry.run.unit; unit < entry.run.unit + entry.run.units; ++unit) {
        for (int head = entry.run.head; head < entry.run.head + entry.run.heads; ++head) {
          visit(unit, static_cast<std::uint16_t>(head), place);
          place.offset += layout.cell_bytes(role_, static_cast<int>(unit));
        }
      }
    }
  }

 private:
  struct Entry {
    CellRun run;
    Place place;
  };
  struct Group {  // entries of the same heads
    std::uint16_t head, heads;
    std::size_t begin, end;
  };
  void index();

  Role role_ = Role::rows;
  std::vector<Entry> entries_;  // by heads, then ascending in unit
  std::vector<Group> groups_;
};

/// The contents of all slots of a program while it runs: they follow from program order alone.
class Contents {
 public:
  /// Both must outlive this.
  Contents(const Layout& layout, const Program& program);

  /// The instruction is complete: its slot holds what it brought, or no longer what it gave back.
  void update(const Instruction& instruction);

  /// In a slot, or in a part of it.
  std::optional<Place> find(SlotId slot, std::uint32_t unit, std::uint16_t head) const;
  std::optional<Place> find(SlotId slot, const CellRun& run) const;
  const Content& of(SlotId slot) const { return contents_[slot]; }
  /// visit(unit, head, place) of every cell of a slot and of its parts.
  template <class Visit>
  void each_cell(SlotId slot, Visit&& visit) const {
    contents_[slot].each_cell(layout_, visit);
    for (const SlotId part : parts_[slot]) contents_[part].each_cell(layout_, visit);
  }
  std::span<const SlotId> parts(SlotId slot) const { return parts_[slot]; }

 private:
  const Layout& layout_;
  const Program& program_;
  std::vector<Content> contents_;
  std::vector<std::vector<SlotId>> parts_;
};

}  // namespace gyre
