// The gyre command. One line on standard error and one exit status, whatever happens and on however many ranks.
#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "comm/agreement.hpp"
#include "comm/heartbeat.hpp"
#include "comm/loopback_transport.hpp"
#include "comm/mpi_transport.hpp"
#include "comm/while_alive.hpp"
#include "launch/command_line.hpp"
#include "launch/ending.hpp"
#include "launch/launcher.hpp"
#include "launch/open_mpi_settings.hpp"
#include "launch/print.hpp"
#include "launch/run_command.hpp"
#include "runtime/io/index_files.hpp"

namespace gyre {
namespace {

void print_error(const std::exception& error) {
  std::string line = error.what();
  for (char& character : line)
    if (static_cast<unsigned char>(character) < ' ' || character == '\x7f') character = ' ';
  std::fprintf(stderr, "gyre: error: %s\n", line.c_str());
  std::fflush(stderr);
}

int run(Transport& transport, const Command& command) {
  if (command.run) return run_command(transport, *command.run);
  if (command.topo) return topo_command(transport, *command.topo);
  if (command.calibrate) return calibrate_command(transport, *command.calibrate);
  together(transport, [&] {
    if (transport.rank() != 0) return;
    if (command.plan)
      while_alive(transport, [&] { plan_command(*command.plan); });
    else
      print(command.text);
  });
  return kSuccess;
}

int ranks_here(const Command& command) {
  if (command.calibrate) return ranks_of(*command.calibrate);
  return command.run ? command.run->ranks : 1;
}

/// Ranks are threads of this process. MPI is not even initialised, so that a small run starts at once.
int run_here(const std::vector<std::string>& arguments) try {
  const Command command = parse_command_line(arguments, false, mask_files(), read_chunks);
  int status = kSuccess;
  run_loopback(ranks_here(command), [&](Transport& transport) {
    const int mine = run(transport, command);
    if (transport.rank() == 0) status = mine;
  });
  return status;
} catch (const std::invalid_argument& error) {
  print_error(error);
  return kWrongInput;
} catch (const std::exception& error) {
  print_error(error);
  return kLost;
}

int run_on_ranks(Transport& transport, const Launcher& launcher, const std::vector<std::string>& arguments) try {
  require_one_job(launcher, transport.ranks());
  Command command;
  together(transport,
           [&] { while_alive(transport, [&] { command = parse_command_line(arguments, true, mask_files(), read_chunks); }); });
  // Before anything else: a rank that prints its help would not meet those that run.
  agree(transport, {{"the command", command.name}});
  return run(transport, command);
} catch (const std::invalid_argument& error) {
  if (launcher.rank == 0 || launcher.left_over) print_error(error);
  return kWrongInput;
} catch (const std::exception& error) {
  transport.abort(kLost, error.what());
  return kLost;
}

/// A rank that exits with a status of its own makes mpirun kill the others: first rank 0 has said why.
int run_launched(const Launcher& launcher, int argc, char** argv) {
  set_open_mpi();
  const MpiSession session(&argc, &argv);
  const auto transport = mpi_world_transport();
  transport->heartbeat().set_deadline(kDefaultDeadlineSeconds);
  transport->heartbeat().end_with(take_over_ending());
  const int status = run_on_ranks(*transport, launcher, {argv + 1, argv + argc});
  transport->barrier();
  give_back_ending();
  return status;
}

/// A closed standard stream must not become a tensor file: writing to what stands in for it fails. A file beyond the size limit of
/// a process is an error of a write, and not its end.
void guard_descriptors() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::fcntl(stream, F_GETFD) < 0) static_cast<void>(::open("/dev/null", O_RDONLY));
  std::signal(SIGXFSZ, SIG_IGN);
}

}  // namespace
}  // namespace gyre

int main(int argc, char** argv) {
  gyre::guard_descriptors();
  const gyre::Launcher launcher = gyre::detect_launcher();
  if (launcher.present) return gyre::run_launched(launcher, argc, argv);
  return gyre::run_here({argv + 1, argv + argc});
}
