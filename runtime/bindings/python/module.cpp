// The module gyre._gyre: what gyre/__init__.py shows.
#include <nanobind/nanobind.h>

#include "comm/error.hpp"
#include "runtime/attention.hpp"
#include "runtime/bindings/python/attention.hpp"
#include "runtime/bindings/python/communicator.hpp"
#include "runtime/bindings/python/native_attention.hpp"

namespace nb = nanobind;

NB_MODULE(_gyre, module) {
  // Communicators live as long as the caller's objects do, often until the interpreter is gone.
  nb::set_leak_warnings(false);
  nb::exception<gyre::Disagreement>(module, "Disagreement", PyExc_ValueError);
  nb::exception<gyre::LostPeer>(module, "LostPeer", PyExc_RuntimeError);
  nb::exception<gyre::Stall>(module, "Stall", PyExc_RuntimeError);
  module.attr("__version__") = gyre::version();
  gyre::python::bind_communicator(module);
  gyre::python::bind_attention(module);
  gyre::python::bind_native_attention(module);
}
