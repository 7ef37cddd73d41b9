#include "bench/trainer/checkpoint.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <stdexcept>

#include "bench/trainer/cross_entropy.hpp"

static_assert(std::endian::native == std::endian::little, "a .safetensors file is little-endian");

namespace gyre::trainer {
namespace {

using Json = nlohmann::ordered_json;

/// A tensor of the file, where its bytes are or are to be.
struct Entry {
  std::string name;
  const char* type;
  std::vector<std::int64_t> shape;
  std::span<std::byte> bytes;
};

template <class Element>
std::span<std::byte> bytes_of(std::vector<Element>& elements, std::int64_t offset, std::int64_t size) {
  return std::as_writable_bytes(std::span(elements).subspan(offset, size));
}

std::vector<Entry> entries_of(const ParameterLayout& layout, Checkpoint& checkpoint) {
  std::vector<Entry> entries;
  for (const char* prefix : {"", "gradient."}) {
    auto& elements = *prefix == '\0' ? checkpoint.parameters : checkpoint.gradients;
    for (const TensorPlace& place : layout.tensors()) {
      const auto shape = place.rows > 1 ? std::vector{place.rows, place.columns} : std::vector{place.columns};
      entries.push_back({prefix + place.name, "F32", shape, bytes_of(elements, place.offset, place.size())});
    }
  }
  PackedSequence& sequence = checkpoint.sequence;
  const std::int64_t tokens = std::ssize(sequence.tokens), documents = std::ssize(sequence.documents);
  entries.push_back({"documents", "I64", {documents}, bytes_of(sequence.documents, 0, documents)});
  entries.push_back({"tokens", "I32", {tokens}, bytes_of(sequence.tokens, 0, tokens)});
  entries.push_back({"targets", "I32", {tokens}, bytes_of(sequence.targets, 0, tokens)});
  return entries;
}

Json read_header(std::ifstream& file) {
  std::uint64_t size = 0;
  file.read(reinterpret_cast<char*>(&size), sizeof size);
  if (!file || size > (1 << 20)) return {};
  std::string text(size, ' ');
  file.read(text.data(), static_cast<std::streamsize>(size));
  return Json::parse(text, nullptr, false);
}

}  // namespace

void write_checkpoint(const std::string& path, const ParameterLayout& layout, const Checkpoint& checkpoint) {
  Checkpoint copy = checkpoint;  // entries are of what may be written to
  const std::vector<Entry> entries = entries_of(layout, copy);
  Json header;
  char loss[32];
  std::snprintf(loss, sizeof loss, "%.17g", checkpoint.loss);
  header["__metadata__"] = {{"step", std::to_string(checkpoint.step)}, {"loss", loss}};
  std::uint64_t at = 0;
  for (const Entry& entry : entries) {
    header[entry.name] = {{"dtype", entry.type}, {"shape", entry.shape}, {"data_offsets", {at, at + entry.bytes.size()}}};
    at += entry.bytes.size();
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t size = text.size();
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(&size), sizeof size);
  file.write(text.data(), static_cast<std::streamsize>(size));
  for (const Entry& entry : entries)
    file.write(reinterpret_cast<const char*>(entry.bytes.data()), static_cast<std::streamsize>(entry.bytes.size()));
  file.close();
  if (!file) throw std::runtime_error(path + " cannot be written");
}

Checkpoint read_checkpoint(const std::string& path, const ParameterLayout& layout) {
  std::ifstream file(path, std::ios::binary);
  const Json header = read_header(file);
  Checkpoint checkpoint;
  try {
    checkpoint.step = std::stoi(header.at("__metadata__").at("step").get<std::string>());
    checkpoint.loss = std::stod(header.at("__metadata__").at("loss").get<std::string>());
    checkpoint.parameters.resize(layout.size());
    checkpoint.gradients.resize(layout.size());
    checkpoint.sequence.documents.resize(header.at("documents").at("shape").at(0).get<std::int64_t>());
    checkpoint.sequence.tokens.resize(header.at("tokens").at("shape").at(0).get<std::int64_t>());
    checkpoint.sequence.targets.resize(checkpoint.sequence.tokens.size());
    for (const Entry& entry : entries_of(layout, checkpoint)) {  // in the order in which they were written
      const Json& stored = header.at(entry.name);
      if (stored.at("dtype") != entry.type || stored.at("shape") != entry.shape)
        throw std::invalid_argument(entry.name + " has another shape");
      file.read(reinterpret_cast<char*>(entry.bytes.data()), static_cast<std::streamsize>(entry.bytes.size()));
    }
    if (!file) throw std::invalid_argument("it is cut off");
  } catch (const std::exception& error) {
    throw std::invalid_argument(path + " is no checkpoint of a model of this shape (" + error.what() + ")");
  }
  const PackedSequence& sequence = checkpoint.sequence;
  checkpoint.sequence.target_count =
      std::ssize(sequence.targets) - std::count(sequence.targets.begin(), sequence.targets.end(), kNoTarget);
  return checkpoint;
}

std::vector<Difference> differences(const ParameterLayout& layout, std::span<const float> gradients, const Checkpoint& checkpoint) {
  std::vector<Difference> found;
  for (const TensorPlace& place : layout.tensors()) {
    double largest = 0, difference = 0;
    bool finite = true;
    for (std::int64_t element = place.offset; element < place.offset + place.size(); ++element) {
      const double expected = checkpoint.gradients[element], off = std::abs(gradients[element] - expected);
      finite = finite && std::isfinite(off);
      largest = std::max(largest, std::abs(expected));
      difference = std::max(difference, off);
    }
    const double infinity = std::numeric_limits<double>::infinity();
    found.push_back({place.name, !finite ? infinity : difference == 0 ? 0 : largest == 0 ? infinity : difference / largest});
  }
  return found;
}

}  // namespace gyre::trainer
