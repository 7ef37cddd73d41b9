// A .safetensors file: whatever it says, its tensors use every byte once or it is refused.
#include <stdexcept>
#include <vector>

#include "memory_file.hpp"
#include "runtime/io/safetensors_header.hpp"
#include "runtime/io/tensor_reader.hpp"

namespace gyre {
namespace {

void read_header(std::string_view bytes) {
  const std::int64_t length = safetensors_header_bytes(bytes);
  const std::int64_t data = std::ssize(bytes) - kSafetensorsPrefixBytes - length;
  if (data < 0) return;
  const std::string_view text = bytes.substr(kSafetensorsPrefixBytes, static_cast<std::size_t>(length));
  std::int64_t end = 0;
  for (const SafetensorsEntry& entry : parse_safetensors_header(text, data)) {
    require(entry.begin == end && entry.begin <= entry.end);
    end = entry.end;
    const FileType type = safetensors_type(entry.type_name);
    if (type != FileType::other) require(data_bytes(entry.shape, element_bytes(type)) == entry.end - entry.begin);
  }
  require(end == data);
}

void read_rows(std::span<const std::uint8_t> bytes) {
  const MemoryFile file(bytes);
  const std::string names[] = {"q", "k", "v"};
  for (const TensorReader& reader : TensorReader::from_safetensors(file.path(), names)) {
    std::vector<std::byte> rows(static_cast<std::size_t>(reader.tokens() * reader.heads() * reader.dim() * 4));
    const Range all[] = {{0, reader.tokens()}};
    for (const Type type : {Type::f32, Type::bf16, Type::f16}) reader.read(all, type, rows.data());
  }
}

/// The same bytes as the text of a header, so that the fuzzer need not find out lengths.
void read_text(std::string_view text) {
  try {
    parse_safetensors_header(text, 64);
  } catch (const std::invalid_argument& error) {
    require(std::string_view(error.what()).size() < 1000);
  }
}

}  // namespace
}  // namespace gyre

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  gyre::read_text({reinterpret_cast<const char*>(data), size});
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
