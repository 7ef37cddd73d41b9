// Checksums of cells.
#include <cstring>
#include <random>
#include <vector>

#include "kernels/attend_case.hpp"
#include "kernels/integrity.hpp"
#include "kernels/pack.hpp"
#include "support/catch.hpp"

namespace gyre::testing {
namespace {

struct Sealed {
  CellShape shape{.head_dim = 5, .value_dim = 3, .group = 1, .type = Type::bf16, .integrity = Integrity::checked};
  CellName name{.role = Role::key_value, .unit = 7, .head = 2};
  Buffer cell{cell_bytes(Role::key_value, shape, 20)};

  explicit Sealed(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::vector<float> rows(20 * 3 * 5);
    for (float& value : rows) value = static_cast<float>(random() % 1000);
    cell.fill(-1);
    pack_key_value(shape, Rows<const float>(rows.data(), 20, 3, 5), Rows<const float>(rows.data(), 20, 3, 3), 0, 20, 2,
                   cell.data());
    seal_cell(name, bytes());
  }
  std::span<std::byte> bytes() const { return {cell.data(), static_cast<std::size_t>(cell.bytes())}; }
};

}  // namespace

TEST_CASE("a cell that was sealed verifies, and after any one bit has flipped it does not") {
  const Sealed sealed(1);
  REQUIRE(verify_cell(sealed.name, sealed.bytes()));
  std::vector<std::int64_t> missed;
  for (std::int64_t bit = 0; bit < std::ssize(sealed.bytes()) * 8; ++bit) {
    std::byte& place = sealed.bytes()[bit / 8];
    place ^= std::byte{1} << bit % 8;
    if (verify_cell(sealed.name, sealed.bytes())) missed.push_back(bit);
    place ^= std::byte{1} << bit % 8;
  }
  CHECK(missed == std::vector<std::int64_t>{});
  CHECK(verify_cell(sealed.name, sealed.bytes()));
}

TEST_CASE("a right cell under another name does not verify") {
  const Sealed sealed(2);
  for (const CellName& other :
       {CellName{.role = Role::query, .unit = 7, .head = 2}, CellName{.role = Role::key_value, .unit = 8, .head = 2},
        CellName{.role = Role::key_value, .unit = 7, .head = 3}, CellName{.role = Role::key_value, .unit = 2, .head = 7}}) {
    CHECK_FALSE(verify_cell(other, sealed.bytes()));
  }
}

TEST_CASE("sealing writes the trailer and nothing before it, and packing leaves the trailer alone") {
  const Sealed sealed(3);
  std::vector<std::byte> before(sealed.bytes().begin(), sealed.bytes().end());
  std::fill(sealed.bytes().end() - kTrailerBytes, sealed.bytes().end(), std::byte{0x33});
  seal_cell(sealed.name, sealed.bytes());
  CHECK(std::memcmp(before.data(), sealed.cell.data(), before.size()) == 0);
  CHECK(verify_cell({}, {}));
  seal_cell({}, {});
}

TEST_CASE("checksums behind cells change no bit of a result") {
  const CaseShape shape{.head_dim = 20, .value_dim = 9, .group = 2, .query_tokens = 70, .key_tokens = 70, .mask = "causal"};
  AttendCase plain(shape), checked(shape, Type::f32, Integrity::checked);
  plain.run(select_kernels());
  checked.run(select_kernels());
  CHECK(plain.partial_bits() == checked.partial_bits());
}

}  // namespace gyre::testing
