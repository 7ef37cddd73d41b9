// What the wire and MPI cost with nothing beside them: every rank sends to the next and receives from the previous one, at once.
//
//   mpirun -n 2 gyre_bench_exchange --bytes 16777216 [--messages 1] [--repeat 9] [--poll-seconds 0.0005]
//
// Prints JSON from rank 0. `wire_seconds`: ranks look without a pause until both directions are done; the median, by the slowest
// rank. `cpu_seconds`: ranks look as often as an executor that computes would, and sleep meanwhile, so that what processor time
// they have had (in the system too) is what the transfer costs; the mean rank and exchange. What the kernel does for a rank in
// interrupts is counted where it happens to happen.
#include <sys/prctl.h>
#include <sys/resource.h>

#include <algorithm>
#include <boost/program_options.hpp>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "comm/mpi_transport.hpp"

namespace {

using Clock = std::chrono::steady_clock;

struct Shape {
  std::size_t bytes = 0;  // each way, of a rank
  std::size_t messages = 1;
  int repeat = 1;
  double poll_seconds = 0;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double cpu_seconds() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

class Exchange {
 public:
  Exchange(gyre::Transport& transport, const Shape& shape)
      : transport_(transport), shape_(shape), sent_(shape.bytes, std::byte{1}), received_(shape.bytes, std::byte{0}) {
    transport.reserve(2 * shape.messages);
  }

  /// Seconds until everything that this rank sends and receives has passed.
  template <class Pause>
  double once(Pause&& pause) {
    transport_.barrier();
    const auto start = Clock::now();
    const int next = (transport_.rank() + 1) % transport_.ranks();
    const int previous = (transport_.rank() + transport_.ranks() - 1) % transport_.ranks();
    tickets_.clear();
    for (std::size_t message = 0; message < shape_.messages; ++message) {
      const std::size_t begin = shape_.bytes * message / shape_.messages, end = shape_.bytes * (message + 1) / shape_.messages;
      tickets_.push_back(transport_.receive(previous, 0, std::span(received_).subspan(begin, end - begin)));
      tickets_.push_back(transport_.send(next, 0, std::span(sent_).subspan(begin, end - begin)));
    }
    while (std::erase_if(tickets_, [&](gyre::Ticket ticket) { return transport_.test(ticket); }), !tickets_.empty()) pause();
    return seconds_since(start);
  }

 private:
  gyre::Transport& transport_;
  const Shape& shape_;
  std::vector<std::byte> sent_, received_;
  std::vector<gyre::Ticket> tickets_;
};

void measure(gyre::Transport& transport, const Shape& shape) {
  Exchange exchange(transport, shape);
  std::vector<double> seconds;
  exchange.once([] {});
  for (int repetition = 0; repetition < shape.repeat; ++repetition)
    seconds.push_back(gyre::maximum_over_ranks(transport, exchange.once([] {})));
  std::sort(seconds.begin(), seconds.end());

  double cpu = 0;
  for (int repetition = 0; repetition < shape.repeat; ++repetition) {
    const double before = cpu_seconds();
    exchange.once([&] { std::this_thread::sleep_for(std::chrono::duration<double>(shape.poll_seconds)); });
    cpu += cpu_seconds() - before;
  }
  cpu = gyre::sum_over_ranks(transport, cpu) / transport.ranks() / shape.repeat;
  if (transport.rank() != 0) return;
  const double median = seconds[seconds.size() / 2];
  const nlohmann::ordered_json json = {{"bytes", shape.bytes},
                                       {"messages", shape.messages},
                                       {"wire_seconds", median},
                                       {"fastest_wire_seconds", seconds.front()},
                                       {"bytes_per_second", static_cast<double>(shape.bytes) / median},
                                       {"cpu_seconds", cpu}};
  std::printf("%s\n", json.dump().c_str());
}

}  // namespace

int main(int argc, char** argv) {
  namespace po = boost::program_options;
  Shape shape;
  po::options_description options("Options");
  options.add_options()("bytes", po::value(&shape.bytes)->default_value(std::size_t{1} << 24))(
      "messages", po::value(&shape.messages)->default_value(1))("repeat", po::value(&shape.repeat)->default_value(9))(
      "poll-seconds", po::value(&shape.poll_seconds)->default_value(0.0005));
  po::variables_map given;
  po::store(po::parse_command_line(argc, argv, options), given);
  po::notify(given);
  ::prctl(PR_SET_TIMERSLACK, 1000);
  const gyre::MpiSession session(&argc, &argv);
  const auto transport = gyre::mpi_world_transport();
  measure(*transport, shape);
  transport->barrier();
}
