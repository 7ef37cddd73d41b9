// RAII over MPI handles. Private to comm/: the only header of the house, outside tests and benchmarks, that shows MPI.
#pragma once

#include <mpi.h>

#include <string>
#include <utility>

namespace gyre {

/// MPI's own text for an error code.
std::string mpi_error_text(int code);

/// Throws std::runtime_error with MPI's own text unless code is MPI_SUCCESS.
void check_mpi(int code, const char* call);

/// True between MPI_Init and MPI_Finalize.
bool mpi_stands();

/// A duplicated communicator, freed unless MPI is already gone. Errors are returned, not fatal. Move-only.
class Communicator {
 public:
  Communicator() = default;
  static Communicator duplicate(MPI_Comm parent);  // collective over parent
  ~Communicator();
  Communicator(Communicator&& other) noexcept : handle_(std::exchange(other.handle_, MPI_COMM_NULL)) {}
  Communicator& operator=(Communicator&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }

  MPI_Comm get() const { return handle_; }
  int rank() const;
  int size() const;

 private:
  explicit Communicator(MPI_Comm handle) : handle_(handle) {}
  MPI_Comm handle_ = MPI_COMM_NULL;
};

}  // namespace gyre
