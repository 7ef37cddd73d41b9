// Pictures of programs: who is drawn, in which colours, and what becomes of what is too narrow to be seen.
#include <numeric>
#include <set>
#include <vector>

#include "launch/legible.hpp"
#include "launch/owner_colours.hpp"
#include "launch/svg.hpp"
#include "runtime/text.hpp"
#include "support/catch.hpp"

using namespace gyre;

namespace {

std::vector<int> nodes_of(int ranks, int ranks_per_node) {
  std::vector<int> nodes(ranks);
  for (int rank = 0; rank < ranks; ++rank) nodes[rank] = rank / ranks_per_node;
  return nodes;
}

std::vector<int> up_to(int count) {
  std::vector<int> all(count);
  std::iota(all.begin(), all.end(), 0);
  return all;
}

}  // namespace

TEST_CASE("whole nodes are drawn where sixteen ranks hold two of them, else eight ranks of each of two") {
  CHECK(ranks_to_draw(nodes_of(1, 1)) == up_to(1));
  CHECK(ranks_to_draw(nodes_of(16, 5)) == up_to(16));
  CHECK(ranks_to_draw(nodes_of(100, 1)) == up_to(16));
  CHECK(ranks_to_draw(nodes_of(64, 4)) == up_to(16));
  CHECK(ranks_to_draw(nodes_of(30, 6)) == up_to(12));
  CHECK(ranks_to_draw(nodes_of(64, 64)) == up_to(16));
  CHECK(ranks_to_draw(nodes_of(40, 20)) == std::vector{0, 1, 2, 3, 4, 5, 6, 7, 20, 21, 22, 23, 24, 25, 26, 27});
}

TEST_CASE("no two of sixteen ranks have the same colour, and a node's ranks have shades of one hue") {
  for (const int per_node : {1, 2, 4, 8, 16}) {
    const OwnerColours colours(nodes_of(16, per_node));
    std::set<std::string> seen;
    for (int rank = 0; rank < 16; ++rank) seen.insert(colours.of(rank));
    CHECK(seen.size() == 16);
    CHECK(colours.by_node() == (per_node > 1 && per_node < 16));
  }
  CHECK(OwnerColours(nodes_of(4, 1)).of(-1) == "#d8d8d8");
  CHECK(OwnerColours(nodes_of(4, 1)).of(4) == "#d8d8d8");
}

TEST_CASE("narrow stretches are drawn together, nothing is lost of their time, and wide ones stay themselves") {
  std::vector<DrawnStretch> stretches;
  double at = 0;
  for (const double seconds : {3.0, 0.1, 0.3, 0.2, 0.1, 2.0, 0.05}) {
    DrawnStretch& stretch = stretches.emplace_back();
    stretch.begin_seconds = at;
    stretch.end_seconds = at += seconds;
  }
  std::vector<const DrawnStretch*> pointers;
  for (const DrawnStretch& stretch : stretches) pointers.push_back(&stretch);
  const std::vector<Box> boxes = legible(pointers, 10, 5);  // half a second is five pixels
  REQUIRE(boxes.size() == 5);
  CHECK((boxes[0].of == pointers[0] && boxes[3].of == pointers[5]));
  CHECK(boxes[1].of == pointers[2]);  // the longest of three
  CHECK(std::abs(boxes[1].width() - 6) < 1e-9);
  double right = 0;
  for (const Box& box : boxes) {
    CHECK(std::abs(box.left - right) < 1e-9);
    right = box.right;
  }
  CHECK(std::abs(right - 10 * at) < 1e-9);
}

TEST_CASE("of many owners neighbours are taken together, and their shares stay whole") {
  std::vector<OwnerShare> owners;
  for (int owner = 0; owner < 10; ++owner) owners.push_back({owner, owner == 7 ? 0.55 : 0.05});
  const std::vector<OwnerShare> four = at_most(owners, 4);
  REQUIRE(four.size() == 4);
  double all = 0;
  for (const OwnerShare& part : four) all += part.share;
  CHECK(std::abs(all - 1) < 1e-12);
  CHECK(four[3].owner == 7);
  CHECK(at_most(owners, 10).size() == 10);
}

TEST_CASE("any bytes are safe as text of a picture, and numbers have commas") {
  CHECK(xml_text("a<b> & \"c\"") == "a&lt;b&gt; &amp; &quot;c&quot;");
  CHECK(xml_text("\x01\xff\n~") == "???~");
  CHECK(grouped_text(0) == "0");
  CHECK(grouped_text(999) == "999");
  CHECK(grouped_text(65536) == "65,536");
  CHECK(grouped_text(-1234567) == "-1,234,567");
  CHECK(grouped_text(-123) == "-123");
}
