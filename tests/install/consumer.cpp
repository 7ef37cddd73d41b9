// Ranks as threads of this process; no MPI header, nothing but gyre::gyre to link.
#include "consumer.hpp"

#include <cstdio>
#include <gyre/comm/loopback_transport.hpp>

int main() {
  double errors[2] = {1, 1};
  gyre::run_loopback(2, [&](gyre::Transport& transport) { errors[transport.rank()] = largest_error(transport); });
  std::printf("largest error on 2 ranks: %.1e\n", std::max(errors[0], errors[1]));
  return errors[0] < 1e-6 && errors[1] < 1e-6 ? 0 : 1;
}
