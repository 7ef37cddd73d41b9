#include "runtime/mechanism/native_sparse.hpp"

#include <initializer_list>
#include <stdexcept>
#include <utility>

namespace gyre {
namespace {

constexpr std::int64_t kMost = std::int64_t{1} << 31;  // of any number

}  // namespace

void NativeSparse::validate() const {
  const auto whole = [](const char* name, std::int64_t value, std::int64_t least) {
    if (value >= least && value <= kMost) return;
    throw std::invalid_argument(std::string("native sparse attention's ") + name + " is " + std::to_string(value) +
                                "; give a number from " + std::to_string(least) + " to 2^31");
  };
  whole("stride", stride, 1), whole("block", block, 1), whole("select_block", select_block, 1), whole("window", window, 1);
  whole("first_blocks", first_blocks, 0), whole("local_blocks", local_blocks, 1);
  whole("select_blocks", select_blocks, first_blocks + local_blocks);
  for (const auto& [name, tokens] : {std::pair("block", block), std::pair("select_block", select_block)}) {
    if (tokens % stride != 0)
      throw std::invalid_argument(std::string("native sparse attention's ") + name + " is " + std::to_string(tokens) +
                                  " with a stride of " + std::to_string(stride) + "; give a multiple of it");
  }
}

std::string to_string(const NativeSparse& sparse) {
  const auto list = [](std::initializer_list<std::int64_t> numbers) {
    std::string text;
    for (const std::int64_t number : numbers) text += (text.empty() ? "" : ",") + std::to_string(number);
    return '(' + text + ')';
  };
  return "compressed" + list({sparse.block, sparse.stride}) + ", selected" +
         list({sparse.select_block, sparse.select_blocks, sparse.first_blocks, sparse.local_blocks}) + ", window" +
         list({sparse.window}) + (sparse.compression == Compression::mean ? ", means" : ", given");
}

}  // namespace gyre
