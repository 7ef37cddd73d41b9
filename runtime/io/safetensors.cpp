#include "runtime/io/safetensors.hpp"

#include <algorithm>
#include <stdexcept>

#include "runtime/io/safetensors_header.hpp"

namespace gyre {
namespace {

std::string list_names(const std::vector<SafetensorsEntry>& entries) {
  constexpr std::size_t kShown = 8;
  std::string text;
  for (std::size_t index = 0; index < std::min(entries.size(), kShown); ++index)
    text += (index == 0 ? "'" : ", '") + excerpt(entries[index].name) + "'";
  if (entries.size() > kShown) text += " and " + std::to_string(entries.size() - kShown) + " more";
  return entries.empty() ? "none" : text;
}

StoredTensor find(const std::vector<SafetensorsEntry>& entries, const std::string& name, std::int64_t data_begin) {
  const auto found =
      std::find_if(entries.begin(), entries.end(), [&](const SafetensorsEntry& entry) { return entry.name == name; });
  if (found == entries.end())
    throw std::invalid_argument("has no tensor '" + name + "', only " + list_names(entries) + "; save it under the name '" + name +
                                "'");
  StoredTensor tensor;
  tensor.type = safetensors_type(found->type_name);
  tensor.type_name = found->type_name;
  tensor.shape = found->shape;
  tensor.begin = data_begin + found->begin;
  return tensor;
}

}  // namespace

std::vector<StoredTensor> locate_safetensors(const RegularFile& file, std::span<const std::string> names) {
  try {
    const std::int64_t header = safetensors_header_bytes(file.text(0, std::min(kSafetensorsPrefixBytes, file.bytes())));
    const std::int64_t data_begin = kSafetensorsPrefixBytes + header;
    if (data_begin > file.bytes())
      throw std::invalid_argument("says that its header has " + std::to_string(header) + " bytes, but the file has only " +
                                  std::to_string(file.bytes()) + "; it is truncated or not a .safetensors file");
    const std::vector<SafetensorsEntry> entries =
        parse_safetensors_header(file.text(kSafetensorsPrefixBytes, header), file.bytes() - data_begin);
    std::vector<StoredTensor> tensors;
    for (const std::string& name : names) tensors.push_back(find(entries, name, data_begin));
    return tensors;
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(file.path() + ": " + error.what());
  }
}

}  // namespace gyre
