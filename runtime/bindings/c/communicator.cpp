#include <utility>

#include "runtime/bindings/c/errors.hpp"
#include "runtime/bindings/c/handles.hpp"

namespace {

template <class Make>
gyre_status make(gyre_communicator** result, Make&& ranks) {
  return gyre::guarded([&] {
    gyre::require_given(result, "result");
    *result = nullptr;
    *result = new gyre_communicator{std::make_shared<gyre::Ranks>(ranks())};
  });
}

}  // namespace

extern "C" {

gyre_status gyre_communicator_mpi(int32_t fortran_handle, gyre_communicator** result) {
  return make(result, [&] { return gyre::Ranks::of_communicator(fortran_handle); });
}

gyre_status gyre_communicator_self(gyre_communicator** result) {
  return make(result, [] { return gyre::Ranks::alone(); });
}

int32_t gyre_communicator_rank(const gyre_communicator* ranks) {
  return ranks == nullptr ? -1 : ranks->ranks->transport().rank();
}

int32_t gyre_communicator_ranks(const gyre_communicator* ranks) {
  return ranks == nullptr ? 0 : ranks->ranks->transport().ranks();
}

void gyre_communicator_free(gyre_communicator* ranks) {
  (void)gyre::guarded([&] { delete ranks; });
}
}
