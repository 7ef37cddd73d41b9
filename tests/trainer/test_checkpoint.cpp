#include "bench/trainer/checkpoint.hpp"

#include <cmath>
#include <limits>

#include "launch/folder.hpp"
#include "support/catch.hpp"
#include "trainer/small_model.hpp"

using namespace gyre;
using namespace gyre::trainer;

namespace {

Checkpoint some_checkpoint(const ParameterLayout& layout) {
  Checkpoint checkpoint;
  checkpoint.step = 50;
  checkpoint.loss = 1.0 / 3;
  checkpoint.sequence = Text::parse(small_text(9), 1).sequence(1, 100);
  checkpoint.parameters = initial_parameters<float>(small_shape(), layout, 1);
  checkpoint.gradients = initial_parameters<float>(small_shape(), layout, 2);
  return checkpoint;
}

double difference_of(const std::vector<Difference>& differences, const std::string& tensor) {
  for (const Difference& difference : differences)
    if (difference.tensor == tensor) return difference.largest;
  return -1;
}

}  // namespace

TEST_CASE("a checkpoint is read as it was written, to the last bit") {
  const Folder folder;
  const ParameterLayout layout(small_shape());
  const Checkpoint written = some_checkpoint(layout);
  write_checkpoint(folder / "step50.safetensors", layout, written);
  const Checkpoint read = read_checkpoint(folder / "step50.safetensors", layout);
  CHECK(read.step == 50);
  CHECK(read.loss == written.loss);
  CHECK(read.parameters == written.parameters);
  CHECK(read.gradients == written.gradients);
  CHECK(read.sequence.tokens == written.sequence.tokens);
  CHECK(read.sequence.targets == written.sequence.targets);
  CHECK(read.sequence.documents == written.sequence.documents);
  CHECK(read.sequence.target_count == written.sequence.target_count);
}

TEST_CASE("a checkpoint of another model, one that is cut off, and what is none are refused by name") {
  const Folder folder;
  const ParameterLayout layout(small_shape());
  const std::string path = folder / "a.safetensors";
  write_checkpoint(path, layout, some_checkpoint(layout));
  ModelShape wider = small_shape();
  wider.hidden += 1;
  CHECK(says(refusal_of([&] { read_checkpoint(path, ParameterLayout(wider)); }), "layers.0.gate has another shape"));
  const std::string bytes = load_bytes(path);
  save_bytes(path, bytes.substr(0, bytes.size() - 1));
  CHECK(says(refusal_of([&] { read_checkpoint(path, layout); }), "it is cut off"));
  save_bytes(path, "nothing");
  CHECK(says(refusal_of([&] { read_checkpoint(path, layout); }), path + " is no checkpoint"));
  CHECK(says(refusal_of([&] { read_checkpoint(folder / "missing", layout); }), "is no checkpoint"));
}

TEST_CASE("a difference is that of the tensor's worst element over its largest, and what is not finite is infinitely far off") {
  const ParameterLayout layout(small_shape());
  Checkpoint checkpoint = some_checkpoint(layout);
  std::vector<float> gradients = checkpoint.gradients;
  const std::int64_t up = layout.layers[1].up, gain = layout.final_gain, key = layout.layers[0].key, zero = layout.layers[0].value;
  for (std::int64_t element = 0; element < 8; ++element) checkpoint.gradients[up + element] = gradients[up + element] = 0;
  checkpoint.gradients[up + 3] = gradients[up + 3] = -8;
  gradients[up + 5] = 0.5F;
  gradients[gain] = std::numeric_limits<float>::quiet_NaN();
  gradients[key + 1] = std::numeric_limits<float>::infinity();
  for (std::int64_t element = 0; element < 8 * 12; ++element) checkpoint.gradients[zero + element] = 0;
  const auto found = differences(layout, gradients, checkpoint);
  CHECK(difference_of(found, "layers.1.up") == 0.5 / 8);
  CHECK(difference_of(found, "layers.1.gate") == 0);
  CHECK(std::isinf(difference_of(found, "final_gain")));
  CHECK(std::isinf(difference_of(found, "layers.0.key")));
  CHECK(std::isinf(difference_of(found, "layers.0.value")));
}
