#include "comm/node.hpp"

#include <signal.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <string>

#include "comm/agreement.hpp"

namespace gyre {
namespace {

/// What a rank tells the others in order to find those that can read its memory.
struct Candidate {
  std::uint64_t kernel_and_host = 0;
  std::uint64_t device = 0;
  std::uint64_t group = 0;
  SharedFile::Name name{};  // empty if the rank can make no shared memory

  bool may_share(const Candidate& other) const {
    return name[0] && other.name[0] && kernel_and_host == other.kernel_and_host && device == other.device && group == other.group;
  }
};

/// The boot id tells kernels apart, the host name containers that share one.
std::uint64_t kernel_and_host() {
  std::string text;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), text);
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) == 0) text += host.data();
  return XXH3_64bits(text.data(), text.size());
}

/// [rank] -> 1 if this rank has opened that rank's file.
std::vector<std::uint8_t> opened(const std::vector<Candidate>& candidates, int rank) {
  std::vector<std::uint8_t> found(candidates.size());
  for (std::size_t other = 0; other < candidates.size(); ++other) {
    if (!candidates[rank].may_share(candidates[other])) continue;
    try {
      SharedFile::open(candidates[other].name);
      found[other] = 1;
    } catch (const std::invalid_argument&) {
    }
  }
  return found;
}

/// A rank joins the first node whose every rank it can read and be read by.
std::vector<int> group_by_sight(const std::vector<std::uint8_t>& sees, int ranks) {
  std::vector<int> nodes(ranks);
  std::vector<std::vector<int>> members;
  for (int rank = 0; rank < ranks; ++rank) {
    const auto mutual = [&](int other) {
      return sees[std::size_t(rank) * ranks + other] && sees[std::size_t(other) * ranks + rank];
    };
    const auto node = std::find_if(members.begin(), members.end(),
                                   [&](const std::vector<int>& mates) { return std::all_of(mates.begin(), mates.end(), mutual); });
    nodes[rank] = static_cast<int>(node - members.begin());
    if (node == members.end()) members.emplace_back();
    members[nodes[rank]].push_back(rank);
  }
  return nodes;
}

constexpr std::uint64_t kMoreThanAnybodyHas = std::uint64_t{1} << 50;  // of one rank, so that sums do not overflow

struct Offer {
  SharedFile::Name name{};
  std::uint64_t bytes = 0;
};

void require_room(const SharedFile::Room& room, std::uint64_t wanted_bytes, int rank) {
  if (room.all_bytes == 0 || wanted_bytes <= room.free_bytes) return;  // all_bytes 0: no limit is known
  throw std::invalid_argument("the node of rank " + std::to_string(rank) + " needs " + std::to_string(wanted_bytes) +
                              " bytes of shared memory, but /dev/shm has " + std::to_string(room.free_bytes) + " of " +
                              std::to_string(room.all_bytes) +
                              " free; make it larger (mount -o remount,size=..., docker --shm-size) or use more nodes");
}

std::uint64_t process_space() {
  std::array<char, 64> name{};  // "pid:[4026531836]"
  const ssize_t length = ::readlink("/proc/self/ns/pid", name.data(), name.size());
  if (length <= 0) return 0;
  return XXH3_64bits_withSeed(name.data(), static_cast<std::size_t>(length), kernel_and_host());
}

}  // namespace

bool ProcessId::gone() const {
  if (space == 0) return false;
  if (::kill(static_cast<pid_t>(number), 0) != 0) return errno == ESRCH;
  std::string text;
  std::getline(std::ifstream("/proc/" + std::to_string(number) + "/stat"), text);
  const std::size_t name_end = text.rfind(')');  // "123 (gyre) Z ..."
  return name_end != std::string::npos && name_end + 2 < text.size() && (text[name_end + 2] == 'Z' || text[name_end + 2] == 'X');
}

std::vector<ProcessId> gather_processes(Transport& transport) {
  const ProcessId mine{.space = process_space(), .number = ::getpid()};
  std::vector<ProcessId> processes(transport.ranks());
  all_gather_value(transport, mine, std::span(processes));
  for (ProcessId& process : processes) process.space = process.space == mine.space ? process.space : 0;
  return processes;
}

std::vector<int> discover_nodes(Transport& transport, int ranks_per_node) {
  const int rank = transport.rank();
  const int ranks = transport.ranks();
  std::optional<SharedFile> file;
  Candidate mine{.kernel_and_host = kernel_and_host(), .group = std::uint64_t(ranks_per_node > 0 ? rank / ranks_per_node : 0)};
  try {
    file = SharedFile::create();
    mine.device = file->device();
    mine.name = file->name();
  } catch (const std::invalid_argument&) {
  }
  std::vector<Candidate> candidates(ranks);
  all_gather_value(transport, mine, std::span(candidates));
  const std::vector<std::uint8_t> seen = opened(candidates, rank);
  std::vector<std::uint8_t> sees(std::size_t(ranks) * ranks);
  transport.all_gather(std::as_bytes(std::span(seen)), std::as_writable_bytes(std::span(sees)));
  return group_by_sight(sees, ranks);
}

std::vector<SharedMemory::Region> share_pages(Transport& transport, std::span<const int> nodes, std::size_t bytes, Access access) {
  const int rank = transport.rank();
  std::vector<int> mates;
  for (int other = 0; other < transport.ranks(); ++other) {
    if (nodes[other] == nodes[rank]) mates.push_back(other);
  }
  const bool alone = mates.size() == 1;

  SharedFile file;
  together(transport, [&] {
    if (!alone) file = SharedFile::create();
  });
  std::vector<Offer> offers(transport.ranks());
  all_gather_value(transport, Offer{.name = file.name(), .bytes = bytes}, std::span(offers));

  std::vector<SharedFile> files(mates.size());
  together(transport, [&] {  // until all have opened all, names stay; nobody allocates before everybody has seen the room
    std::uint64_t wanted_bytes = 0;
    for (std::size_t mate = 0; mate < mates.size() && !alone; ++mate) {
      files[mate] = SharedFile::open(offers[mates[mate]].name);
      wanted_bytes += std::min(offers[mates[mate]].bytes, kMoreThanAnybodyHas);
    }
    if (!alone) require_room(file.room(), wanted_bytes, rank);
  });
  file.unlink();
  together(transport, [&] {
    if (!alone) file.allocate(bytes);
  });

  std::vector<SharedMemory::Region> regions(mates.size());
  together(transport, [&] {
    for (std::size_t mate = 0; mate < mates.size(); ++mate) {
      const int other = mates[mate];
      const Access mode = other == rank ? Access::read_and_write : access;
      regions[mate] = {.rank = other,
                       .pages = alone ? private_pages(bytes) : files[mate].map(offers[other].bytes, mode),
                       .bytes = static_cast<std::size_t>(offers[other].bytes)};
    }
  });
  return regions;
}

}  // namespace gyre
