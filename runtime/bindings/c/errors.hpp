// What goes wrong, as a code and a sentence: no exception leaves the library.
#pragma once

#include "runtime/bindings/c/gyre.h"

namespace gyre {

/// The exception that is being handled, as a code; its text becomes the thread's last error.
gyre_status note_failure() noexcept;

/// Runs a step of the C interface.
template <class Step>
gyre_status guarded(Step&& step) noexcept {
  try {
    step();
    return GYRE_OK;
  } catch (...) {
    return note_failure();
  }
}

/// Throws std::invalid_argument if a handle, a result or a struct is null. Of this rank alone: there is nothing to tell others by.
void require_given(const void* pointer, const char* name);

}  // namespace gyre
