#include "runtime/io/sink_logits.hpp"

#include <cmath>
#include <stdexcept>

#include "runtime/io/npy.hpp"
#include "runtime/io/regular_file.hpp"
#include "runtime/problem.hpp"
#include "runtime/text.hpp"

namespace gyre {

std::vector<float> read_sink_logits(const std::string& path) {
  const RegularFile file(path);
  const StoredTensor tensor = locate_npy(file);
  const auto refuse = [&](const std::string& why) { throw std::invalid_argument(path + ": " + why); };
  if (tensor.type != FileType::f32)
    refuse("has elements of type " + type_text(tensor) + "; logits are float32: save x.astype('float32')");
  if (tensor.shape.size() != 1 || tensor.shape[0] > kMostHeads)
    refuse("has shape " + shape_text(tensor.shape) + "; logits are [query heads], at most " + std::to_string(kMostHeads));
  std::vector<float> logits(static_cast<std::size_t>(tensor.shape[0]));
  file.read(logits.data(), std::ssize(logits) * std::int64_t{sizeof(float)}, tensor.begin);
  for (std::size_t head = 0; head < logits.size(); ++head) {
    if (!std::isfinite(logits[head]))
      refuse("the logit of head " + std::to_string(head) + " is " + number_text(logits[head]) + "; give finite ones");
  }
  return logits;
}

}  // namespace gyre
