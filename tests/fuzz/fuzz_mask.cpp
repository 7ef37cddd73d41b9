// A mask expression: it is refused with one readable line, or means what its own text means, pair by pair as by counting.
#include <stdexcept>
#include <string>
#include <vector>

#include "memory_file.hpp"
#include "partition/mask.hpp"

namespace gyre {
namespace {

constexpr std::size_t kMostBandsChecked = 64;

BlockTable invented_table(const std::string& path, std::int64_t rows, std::int64_t query_tokens, std::int64_t key_tokens) {
  const int heads = path[0] <= 'Z' ? 3 : 1;
  BlockTable table({.query_tokens = query_tokens, .key_tokens = key_tokens, .heads = heads, .rows = rows, .columns = 8});
  for (std::int64_t row = 0; row < rows; ++row)
    for (int head = 0; head < heads; ++head) {
      std::uint8_t cells[8];
      for (int bit = 0; bit < 8; ++bit) cells[bit] = (path[static_cast<std::size_t>(row)] + head) >> bit & 1;
      table.show(head, row, cells);
    }
  return table;
}

/// Files that are always there: their bits come from their names.
MaskFiles invented_files() {
  return {.lengths =
              [](const std::string& path) {
                if (path.size() > 12) throw std::invalid_argument("there is no file with a name that long");
                std::vector<std::int64_t> lengths;
                for (const char c : path) lengths.push_back(1 + c % 5);
                return lengths;
              },
          .blocks =
              [](const std::string& path, std::int64_t query_tokens, std::int64_t key_tokens) {
                return invented_table(path, static_cast<std::int64_t>(path.size() % 9), query_tokens, key_tokens);
              },
          .rows = [](const std::string& path, std::int64_t key_tokens) { return invented_table(path, 1, kEveryQuery, key_tokens); },
          .slices =
              [](const std::string& path) {
                std::vector<Slice> slices;
                for (std::size_t at = 0; at + 5 <= path.size(); at += 5) {
                  const auto number = [&](std::size_t place) { return static_cast<std::int64_t>(path[at + place] & 15); };
                  slices.push_back({{number(0), number(0) + number(1)},
                                    {number(2), number(2) + number(3)},
                                    static_cast<SliceKind>(path[at + 4] & 3)});
                }
                return slices;
              }};
}

/// Counting and covering against the definition, on a few ranges that a small mask can tell apart.
void check_counts(const Bands& bands) {
  for (const Range queries : {Range{-3, 5}, Range{0, 17}, Range{9, 10}})
    for (const Range keys : {Range{0, 12}, Range{-2, 1}, Range{7, 20}}) {
      std::int64_t visible = 0;
      for (std::int64_t i = queries.begin; i < queries.end; ++i)
        for (std::int64_t j = keys.begin; j < keys.end; ++j)
          for (int head = 0; head < bands.heads(); ++head) visible += bands.visible(i, j, head);
      require(bands.count(queries, keys) == visible);
      const Cover cover = bands.cover(queries, keys);
      require((cover == Cover::empty) == (visible == 0));
      if (cover == Cover::full) require(visible == queries.size() * keys.size() * bands.heads());
    }
}

/// What kernels and schedules ask, against the definition: lanes of scattered queries, and keys that nobody sees.
void check_tiles(const Bands& bands) {
  const Range keys{-1, 21};
  std::vector<std::int64_t> lanes;
  std::vector<std::int32_t> heads;
  for (std::int64_t lane = 0; lane < 30; ++lane) {
    lanes.push_back(lane % 7 == 6 ? kNoPosition : lane * 5 % 23 - 2);
    heads.push_back(static_cast<std::int32_t>(lane % bands.heads()));
  }
  std::vector<std::uint64_t> marked(static_cast<std::size_t>(keys.size()));
  bands.mark(lanes, heads, keys, marked);
  std::vector<Range> touched;
  bands.keys_touched({-2, 21}, keys, touched);
  for (std::int64_t key = keys.begin; key < keys.end; ++key) {
    bool in_one = false;
    for (const Range range : touched) in_one = in_one || range.contains(key);
    for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
      const bool visible = lanes[lane] != kNoPosition && bands.visible(lanes[lane], key, heads[lane]);
      require((marked[static_cast<std::size_t>(key - keys.begin)] >> lane & 1) == visible);
      require(in_one || !visible);
    }
  }
}

void check_same(const Bands& a, const Bands& b) {
  require(a.all().size() == b.all().size() && a.heads() == b.heads());
  for (std::int64_t i = -2; i < 12; ++i)
    for (std::int64_t j = -2; j < 12; ++j)
      for (int head = 0; head < a.heads(); ++head) require(a.visible(i, j, head) == b.visible(i, j, head));
}

void check(std::string_view expression) {
  const MaskFiles files = invented_files();
  Mask mask;
  try {
    mask = Mask::parse(expression, files);
  } catch (const std::invalid_argument& error) {
    const std::string_view message = error.what();
    require(message.size() < 2000 && message.find('\n') == message.npos);
    return;
  }
  const Mask again = Mask::parse(mask.text(), files);  // must not throw
  require(again.text() == mask.text());
  require(std::equal(mask.borders().begin(), mask.borders().end(), again.borders().begin(), again.borders().end()));
  if (mask.bands().all().size() > kMostBandsChecked) return;
  check_same(mask.bands(), again.bands());
  check_counts(mask.bands());
  check_tiles(mask.bands());
}

}  // namespace
}  // namespace gyre

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  gyre::check({reinterpret_cast<const char*>(data), size});
  return 0;
}
