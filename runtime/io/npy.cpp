#include "runtime/io/npy.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "runtime/io/npy_header.hpp"

namespace gyre {
namespace {

StoredTensor locate(const RegularFile& file) {
  const NpyHeaderPlace place = locate_npy_header(file.text(0, std::min<std::int64_t>(kNpyPrefixBytes, file.bytes())));
  if (place.begin + place.bytes > file.bytes()) throw std::invalid_argument("is truncated: its header is not complete");
  NpyHeader header = parse_npy_header(file.text(place.begin, place.bytes));
  StoredTensor tensor;
  tensor.type = npy_type(header.descr);
  tensor.begin = place.begin + place.bytes;
  if (header.fortran_order) throw std::invalid_argument("is in Fortran order; save numpy.ascontiguousarray(x)");
  const std::int64_t wanted = data_bytes(header.shape, std::max<std::int64_t>(1, element_bytes(tensor.type)));
  const std::int64_t there = file.bytes() - tensor.begin;
  if (tensor.type != FileType::other && wanted != there)
    throw std::invalid_argument("holds " + std::to_string(there) + " bytes of data, but shape " + shape_text(header.shape) +
                                " takes " + std::to_string(wanted) + "; it is truncated, or more than one array was saved in it");
  tensor.type_name = std::move(header.descr);
  tensor.shape = std::move(header.shape);
  return tensor;
}

}  // namespace

FileType npy_type(std::string_view descr) {
  if (descr.size() != 3 || (descr[0] != '<' && descr[0] != '|')) return FileType::other;
  constexpr std::pair<std::string_view, FileType> kTypes[] = {
      {"b1", FileType::boolean}, {"u1", FileType::u8},  {"i1", FileType::i8},  {"u2", FileType::u16},
      {"i2", FileType::i16},     {"u4", FileType::u32}, {"i4", FileType::i32}, {"u8", FileType::u64},
      {"i8", FileType::i64},     {"f2", FileType::f16}, {"f4", FileType::f32}, {"f8", FileType::f64}};
  for (const auto& [name, type] : kTypes)
    if (descr.substr(1) == name && (descr[0] == '<' || element_bytes(type) == 1)) return type;
  return FileType::other;
}

StoredTensor locate_npy(const RegularFile& file) {
  try {
    return locate(file);
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(file.path() + ": " + error.what());
  }
}

}  // namespace gyre
