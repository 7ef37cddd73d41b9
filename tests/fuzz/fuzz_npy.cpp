// A .npy file: whatever it says, it is read to its last byte or refused, and what is understood is written back the same.
#include <stdexcept>
#include <vector>

#include "memory_file.hpp"
#include "runtime/io/npy.hpp"
#include "runtime/io/npy_header.hpp"
#include "runtime/io/tensor_reader.hpp"

namespace gyre {
namespace {

void read_header(std::string_view bytes) {
  const NpyHeaderPlace place = locate_npy_header(bytes.substr(0, kNpyPrefixBytes));
  require(place.begin >= 0 && place.bytes >= 0);
  if (place.begin + place.bytes > std::ssize(bytes)) return;
  const NpyHeader header =
      parse_npy_header(bytes.substr(static_cast<std::size_t>(place.begin), static_cast<std::size_t>(place.bytes)));
  for (const std::int64_t extent : header.shape) require(extent >= 0);
  if (header.shape.size() > 100) return;  // more than the two bytes of version 1.0 can hold
  const std::string again = npy_header(FileType::f32, header.shape);
  require(again.size() % 64 == 0);
  require(parse_npy_header(std::string_view(again).substr(10)).shape == header.shape);
}

void read_rows(std::span<const std::uint8_t> bytes) {
  const MemoryFile file(bytes);
  const TensorReader reader(file.path());
  std::vector<std::byte> rows(static_cast<std::size_t>(reader.tokens() * reader.heads() * reader.dim() * 4));
  const Range all[] = {{0, reader.tokens()}};
  for (const Type type : {Type::f32, Type::bf16, Type::f16}) reader.read(all, type, rows.data());
}

}  // namespace
}  // namespace gyre

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    gyre::read_header({reinterpret_cast<const char*>(data), size});
  } catch (const std::invalid_argument&) {
  }
  try {
    gyre::read_rows({data, size});
  } catch (const std::invalid_argument&) {
  }
  return 0;
}
