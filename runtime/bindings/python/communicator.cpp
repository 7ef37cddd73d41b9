#include "runtime/bindings/python/communicator.hpp"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "comm/agreement.hpp"

namespace nb = nanobind;

namespace gyre::python {
namespace {

Ranks ranks_of(nb::handle given) {
  if (given.is_none()) return Ranks::alone();
  nb::object handle = nb::hasattr(given, "py2f") ? given.attr("py2f")() : nb::borrow(given);
  int number = 0;
  if (!nb::try_cast(handle, number, false))
    throw nb::type_error("comm is neither None, an mpi4py communicator nor the handle of one (an int)");
  const nb::gil_scoped_release unlocked;
  return Ranks::of_communicator(number);
}

std::vector<std::int64_t> all_gather(Communicator& communicator, std::int64_t mine) {
  std::vector<std::int64_t> all(communicator.transport().ranks());
  communicator.work([&] { all_gather_value<std::int64_t>(communicator.transport(), mine, all); });
  return all;
}

}  // namespace

Communicator::Communicator(nb::handle given) : ranks_(ranks_of(given)) {}

std::shared_ptr<Communicator> communicator_of(nb::handle given) {
  std::shared_ptr<Communicator> there;
  if (nb::isinstance<Communicator>(given)) return nb::cast<std::shared_ptr<Communicator>>(given);
  return nb::cast<std::shared_ptr<Communicator>>(nb::type<Communicator>()(nb::borrow(given)));
}

void bind_communicator(nb::module_& module) {
  nb::class_<Communicator>(
      module, "Communicator", nb::is_weak_referenceable(),
      "The ranks that work together. comm: an mpi4py communicator, the Fortran handle of one, or None: this process\n"
      "alone, without MPI. It is duplicated: Gyre's messages never meet the caller's. Collective. Several Attentions\n"
      "can share one.")
      .def(
          "__init__",
          [](nb::pointer_and_handle<Communicator> self, nb::object comm) {
            new (self.p) Communicator(comm);
            nb::inst_mark_ready(self.h);
            if (self.p->transport().ranks() > 1) nb::module_::import_("gyre._ending").attr("end_together")(self.h);
          },
          nb::arg("comm").none() = nb::none(), nb::sig("def __init__(self, comm: typing.Any = None) -> None"))
      .def_prop_ro(
          "rank", [](const Communicator& self) { return self.transport().rank(); }, "This rank, from 0.")
      .def_prop_ro(
          "ranks", [](const Communicator& self) { return self.transport().ranks(); }, "How many there are.")
      .def(
          "agree", [](Communicator& self, const Statement& statement) { self.work([&] { agree(self.transport(), statement); }); },
          nb::arg("statement"),
          "Names and values that have to be the same on every rank. Raises Disagreement on all of them if one differs. Collective.")
      .def("all_gather", &all_gather, nb::arg("number"), "The number of every rank, by rank. Collective.")
      .def(
          "abort", [](Communicator& self, int status, const std::string& message) { self.transport().abort(status, message); },
          nb::arg("status"), nb::arg("message"), "Ends the job on every rank, with one line. Does not return.");
}

}  // namespace gyre::python
