#include "bench/transformer/reduction.hpp"

#include <algorithm>
#include <vector>

namespace gyre::transformer {

void add_over_ranks(Transport& transport, std::span<float> values) {
  constexpr std::size_t kPiece = 1 << 16;  // bounds the memory for what others have
  std::vector<float> all;
  for (std::size_t begin = 0; begin < values.size() && transport.ranks() > 1; begin += kPiece) {
    const std::span<float> mine = values.subspan(begin, std::min(kPiece, values.size() - begin));
    all.resize(mine.size() * transport.ranks());
    transport.all_gather(std::as_bytes(mine), std::as_writable_bytes(std::span(all)));
    for (std::size_t element = 0; element < mine.size(); ++element) {
      double sum = 0;
      for (int rank = 0; rank < transport.ranks(); ++rank) sum += all[rank * mine.size() + element];
      mine[element] = static_cast<float>(sum);
    }
  }
}

}  // namespace gyre::transformer
