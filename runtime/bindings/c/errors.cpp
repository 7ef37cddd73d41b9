#include "runtime/bindings/c/errors.hpp"

#include <exception>
#include <new>
#include <stdexcept>
#include <string>

#include "comm/error.hpp"
#include "runtime/attention.hpp"

namespace gyre {
namespace {

/// The one variable that outlives a call: the contract of gyre_last_error().
std::string& last_error() {
  thread_local std::string text;
  return text;
}

gyre_status noted(gyre_status status, const char* text) noexcept {
  try {
    last_error() = text;
  } catch (...) {  // no memory for the sentence: an older one would mislead
    last_error().clear();
  }
  return status;
}

}  // namespace

gyre_status note_failure() noexcept {
  try {
    throw;
  } catch (const Disagreement& error) {
    return noted(GYRE_DISAGREEMENT, error.what());
  } catch (const std::invalid_argument& error) {
    return noted(GYRE_INVALID_ARGUMENT, error.what());
  } catch (const LostPeer& error) {
    return noted(GYRE_LOST_PEER, error.what());
  } catch (const Stall& error) {
    return noted(GYRE_STALL, error.what());
  } catch (const std::bad_alloc&) {
    return noted(GYRE_OUT_OF_MEMORY, "out of memory; use more ranks on more nodes");
  } catch (const std::exception& error) {
    return noted(GYRE_FAILURE, error.what());
  } catch (...) {
    return noted(GYRE_FAILURE, "an error that is not a std::exception");
  }
}

void require_given(const void* pointer, const char* name) {
  if (pointer == nullptr) throw std::invalid_argument(std::string(name) + " is null; give the address of one");
}

}  // namespace gyre

extern "C" {

const char* gyre_version() {
  return gyre::version();
}

const char* gyre_last_error() {
  return gyre::last_error().c_str();
}
}
