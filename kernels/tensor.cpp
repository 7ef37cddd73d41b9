#include "kernels/tensor.hpp"

namespace gyre {

std::string to_string(Type) {
  return "f32";
}

}  // namespace gyre
