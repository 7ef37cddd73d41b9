// Memory for numbers that kernels work on.
#pragma once

#include <cstdint>
#include <memory>
#include <new>

#include "kernels/cell.hpp"

namespace gyre {

/// Aligned fp32 memory that only grows. Not touched here, so that its pages lie near the worker that first writes them.
class Floats {
 public:
  void reserve(std::int64_t count) {
    if (count <= count_) return;
    memory_.reset(new (std::align_val_t{kAlignment}) float[static_cast<std::size_t>(count)]);
    count_ = count;
  }
  float* get() const { return memory_.get(); }
  std::size_t bytes() const { return static_cast<std::size_t>(count_) * sizeof(float); }

 private:
  struct Free {
    void operator()(float* memory) const { ::operator delete[](memory, std::align_val_t{kAlignment}); }
  };
  std::unique_ptr<float[], Free> memory_;
  std::int64_t count_ = 0;
};

}  // namespace gyre
