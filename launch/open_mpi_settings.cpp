#include "launch/open_mpi_settings.hpp"

#include <cstdlib>

#include "runtime/text.hpp"

namespace gyre {
namespace {

enum class Reader : std::uint8_t { ranks, launcher };

struct Setting {
  const char* name;
  const char* value;
  Reader reader;
};

// Fragments: the request of one direction's rendezvous queues behind one huge fragment of the other, so that the two directions of
// a link take turns, unless fragments are small. Four of them at once for each message, as by default: with two (or smaller ones) a
// full cable's requests wait behind its data for longer than the other side's data lasts, and 2 hosts whose wire is the bound
// take 1.4 of it instead of 1.02; what is gained where several messages share a cable is less (8 hosts, double ring and tree,
// causal: 6%). Keepalive: mpirun's daemons ask after 3 idle seconds, and take a host for lost when it has not answered 3 times, a
// second apart; by default after 300 s, 9 times, 20 s apart.
constexpr Setting kSettings[] = {
    {"btl_tcp_rdma_pipeline_frag_size", "262144", Reader::ranks},
    {"oob_tcp_keepalive_time", "3", Reader::launcher},
    {"oob_tcp_keepalive_intvl", "1", Reader::launcher},
    {"oob_tcp_keepalive_probes", "3", Reader::launcher},
};
constexpr const char* kVariablePrefix = "OMPI_MCA_";

}  // namespace

std::vector<std::string> open_mpi_words() {
  std::vector<std::string> words;
  for (const Setting& setting : kSettings) words.insert(words.end(), {"--mca", setting.name, setting.value});
  return words;
}

void set_open_mpi() {
  for (const Setting& setting : kSettings)
    if (setting.reader == Reader::ranks) ::setenv((std::string(kVariablePrefix) + setting.name).c_str(), setting.value, 0);
}

std::optional<std::string> open_mpi_warning(int nodes, double deadline_seconds) {
  const bool by_mpirun = std::getenv("OMPI_MCA_orte_local_daemon_uri") != nullptr;
  if (nodes < 2 || !by_mpirun || std::getenv("OMPI_MCA_oob_tcp_keepalive_time") != nullptr) return std::nullopt;
  const std::string noticed = deadline_seconds > 0 ? format("after %g seconds (--deadline)", deadline_seconds) : "late";
  return format(
             "%d nodes, and mpirun does not watch its links: a host that is cut off is noticed %s, and mpirun ends minutes later; "
             "add",
             nodes, noticed.c_str()) +
         " --mca oob_tcp_keepalive_time 3 --mca oob_tcp_keepalive_intvl 1 --mca oob_tcp_keepalive_probes 3";
}

}  // namespace gyre
