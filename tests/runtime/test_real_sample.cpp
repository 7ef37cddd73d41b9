// The main job on queries, keys and values of a real model (tests/data/README.md): large scores of a few keys, unlike random ones.
#include <string>

#include "runtime/io/tensor_reader.hpp"
#include "support/catch.hpp"
#include "support/problems.hpp"

using namespace gyre;
using namespace gyre::test;

namespace {

std::vector<float> read_all(const TensorReader& file) {
  std::vector<float> tensor(static_cast<std::size_t>(file.tokens()) * file.heads() * file.dim());
  const Range all{0, file.tokens()};
  file.read(std::span(&all, 1), Type::f32, tensor.data());
  return tensor;
}

}  // namespace

TEST_CASE("every sampled row of a real model's layer stays within the bound, on 1 and 4 ranks, under each mask") {
  const std::string sample = std::string(GYRE_TEST_DATA) + "/smollm2-layer15";
  const TensorReader queries(sample + ".q.npy"), keys(sample + ".k.npy"), values(sample + ".v.npy");
  REQUIRE(queries.tokens() == 2048);
  const Tensors tensors{read_all(queries), read_all(keys), read_all(values)};
  Job job;
  job.problem.query_tokens = queries.tokens();
  job.problem.key_tokens = keys.tokens();
  job.problem.query_heads = queries.heads();
  job.problem.key_heads = keys.heads();
  job.problem.head_dim = queries.dim();
  job.problem.value_dim = values.dim();
  for (const char* mask : {"causal", "window(255) | sinks(4)", "documents(700,1,1347) & causal"}) {
    job.problem.mask = Mask::parse(mask);
    for (const int ranks : {1, 4}) {
      INFO(mask << ", " << ranks << " ranks");
      const Errors errors = compare(job.problem, tensors, run_loopback_job(job, tensors, ranks), 37);
      CHECK(errors.out < 2e-6);
      CHECK(errors.lse < 1e-5);
      CHECK(errors.share_of_bound <= 1);
    }
  }
}
