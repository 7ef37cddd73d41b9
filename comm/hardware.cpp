#include "comm/hardware.hpp"

#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <stdexcept>

#include "comm/hwloc_tree.hpp"

namespace gyre {
namespace {

Hardware hardware_of(hwloc_topology_t tree) {
  Hardware hardware;
  hardware.packages = std::max(1, count_objects(tree, HWLOC_OBJ_PACKAGE));
  hardware.hardware_threads = std::max(1, count_objects(tree, HWLOC_OBJ_PU));
  hardware.node = node_cores(tree);
  constexpr hwloc_obj_type_t kLevels[] = {HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L3CACHE};
  for (std::size_t level = 0; level < hardware.caches.size(); ++level) {
    const hwloc_obj_t cache = hwloc_get_obj_by_type(tree, kLevels[level], 0);
    if (cache == nullptr) continue;
    hardware.caches[level] = {.bytes = static_cast<std::int64_t>(cache->attr->cache.size),
                              .count = count_objects(tree, kLevels[level]),
                              .cores = cores_inside(tree, cache->cpuset)};
  }
  return hardware;
}

/// The first number in a file, or nothing where there is no file or it says "max".
std::int64_t number_in(const char* path, std::int64_t otherwise) {
  std::int64_t value = 0;
  return std::ifstream(path) >> value ? value : otherwise;
}

std::int64_t available_bytes() {
  std::ifstream file("/proc/meminfo");
  for (std::string name; file >> name;) {
    std::int64_t kibibytes = 0;
    if (name == "MemAvailable:" && file >> kibibytes) return kibibytes * 1024;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return 0;
}

}  // namespace

HostName host_name() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) throw std::runtime_error("gethostname failed: this host has no name");
  HostName cut{};
  std::copy_n(name.begin(), cut.size() - 1, cut.begin());
  return cut;
}

Hardware this_hardware() {
  const HwlocTree tree = load_tree();
  Hardware hardware = hardware_of(tree.get());
  hardware.host = host_name();
  struct sysinfo system {};
  if (sysinfo(&system) == 0) hardware.memory_bytes = static_cast<std::int64_t>(system.totalram) * system.mem_unit;
  constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();
  for (const char* limit : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"})
    hardware.memory_bytes = std::min(hardware.memory_bytes, number_in(limit, kNoLimit));
  hardware.available_bytes = std::min(hardware.memory_bytes, available_bytes());
  return hardware;
}

Hardware synthetic_hardware(const std::string& description) {
  return hardware_of(load_tree(description).get());
}

}  // namespace gyre
