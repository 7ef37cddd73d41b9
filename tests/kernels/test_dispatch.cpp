// Instruction sets by name.
#include <algorithm>
#include <array>

#include "kernels/dispatch.hpp"
#include "support/catch.hpp"

namespace gyre::testing {

TEST_CASE("instruction sets have the names that the command line promises, the best first and portable last") {
  constexpr std::array<std::string_view, 4> kBestFirst{"avx512bf16", "avx512", "avx2", "portable"};
  auto from = kBestFirst.begin();
  for (const KernelTable* kernels : available_kernels()) {
    from = std::find(from, kBestFirst.end(), std::string_view(kernels->name));
    INFO(kernels->name);
    REQUIRE(from != kBestFirst.end());
    CHECK(&select_kernels(kernels->name) == kernels);
  }
  CHECK(*from == "portable");
  CHECK(&select_kernels() == available_kernels().front());
}

TEST_CASE("an instruction set that is not there is refused, naming those that are") {
  CHECK_THROWS_WITH(select_kernels("sse9"), Catch::Contains("sse9") && Catch::Contains("portable"));
}

}  // namespace gyre::testing
