#include "runtime/io/npy.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <limits>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "kernels/convert.hpp"
#include "runtime/io/npy_header.hpp"
#include "runtime/io/whole_file.hpp"

namespace gyre {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little endian and are read as they are");

constexpr std::int64_t kChunkElements = 1 << 16;  // converted at a time

std::string reason(int error) {
  return std::generic_category().message(error);
}

/// Throws std::runtime_error unless every byte is there.
void read_exactly(int descriptor, void* into, std::int64_t bytes, std::int64_t offset) {
  auto* at = static_cast<char*>(into);
  while (bytes > 0) {
    const ssize_t taken = ::pread(descriptor, at, static_cast<std::size_t>(bytes), offset);
    if (taken < 0 && errno == EINTR) continue;
    if (taken < 0) throw std::runtime_error("could not be read: " + reason(errno));
    if (taken == 0) throw std::runtime_error("ends before its data does; it was cut since it was opened");
    at += taken, bytes -= taken, offset += taken;
  }
}

float to_float(double value) {
  return static_cast<float>(value);
}

template <class Stored>
void read_converted(int descriptor, std::int64_t count, std::int64_t offset, float* out) {
  std::vector<Stored> chunk(static_cast<std::size_t>(std::min(count, kChunkElements)));
  for (std::int64_t done = 0; done < count;) {
    const std::int64_t now = std::min(count - done, kChunkElements);
    read_exactly(descriptor, chunk.data(), now * static_cast<std::int64_t>(sizeof(Stored)),
                 offset + done * static_cast<std::int64_t>(sizeof(Stored)));
    std::transform(chunk.begin(), chunk.begin() + now, out + done, [](Stored value) { return to_float(value); });
    done += now;
  }
}

FileType file_type(const std::string& descr) {
  if (descr == "<f2") return FileType::f16;
  if (descr == "<f4") return FileType::f32;
  if (descr == "<f8") return FileType::f64;
  if (descr.starts_with('>')) throw std::invalid_argument("is big endian ('" + descr + "'); save x.astype('<f4')");
  throw std::invalid_argument("has elements of type '" + descr +
                              "'; float16, float32 and float64 are read: save x.astype('float32')");
}

std::int64_t element_bytes(FileType type) {
  return type == FileType::f16 ? 2 : type == FileType::f32 ? 4 : 8;
}

std::string to_text(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (std::size_t axis = 0; axis < shape.size(); ++axis) text += (axis == 0 ? "" : ", ") + std::to_string(shape[axis]);
  return text + "]";
}

void require_tensor(const NpyHeader& header) {
  if (header.fortran_order) throw std::invalid_argument("is in Fortran order; save numpy.ascontiguousarray(x)");
  if (header.shape.size() != 2 && header.shape.size() != 3)
    throw std::invalid_argument("has shape " + to_text(header.shape) + "; [tokens, heads, dim] is read: reshape it");
  for (std::size_t axis = 1; axis < header.shape.size(); ++axis)
    if (header.shape[axis] < 1 || header.shape[axis] > std::numeric_limits<int>::max())
      throw std::invalid_argument("has shape " + to_text(header.shape) + "; heads and dim must be at least 1 and below 2^31");
}

}  // namespace

struct NpyReader::State {
  std::string path;
  int descriptor = -1;
  FileType type = FileType::f32;
  std::vector<std::int64_t> shape;
  std::int64_t data_begin = 0;

  explicit State(const std::string& name) : path(name) {}
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() {
    if (descriptor >= 0) ::close(descriptor);
  }
  void open();
  void read_header();
};

void NpyReader::State::open() {
  descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe without a writer must not hang here
  if (descriptor < 0) throw std::invalid_argument("cannot be read: " + reason(errno));
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) throw std::invalid_argument("cannot be read: " + reason(errno));
  if (!S_ISREG(status.st_mode)) throw std::invalid_argument("is not a regular file");
}

void NpyReader::State::read_header() {
  struct stat status {};
  ::fstat(descriptor, &status);
  std::string prefix(std::min<std::size_t>(kNpyPrefixBytes, static_cast<std::size_t>(status.st_size)), '\0');
  read_exactly(descriptor, prefix.data(), static_cast<std::int64_t>(prefix.size()), 0);
  const NpyHeaderPlace place = locate_npy_header(prefix);
  if (place.begin + place.bytes > status.st_size) throw std::invalid_argument("is truncated: its header is not complete");
  std::string text(static_cast<std::size_t>(place.bytes), '\0');
  read_exactly(descriptor, text.data(), place.bytes, place.begin);
  NpyHeader header = parse_npy_header(text);
  type = file_type(header.descr);
  require_tensor(header);
  shape = std::move(header.shape);
  data_begin = place.begin + place.bytes;
  const std::int64_t wanted = npy_data_bytes(shape, element_bytes(type));
  if (wanted != status.st_size - data_begin)
    throw std::invalid_argument("holds " + std::to_string(status.st_size - data_begin) + " bytes of data, but shape " +
                                to_text(shape) + " takes " + std::to_string(wanted) +
                                "; it is truncated, or more than one array was saved in it");
}

NpyReader::NpyReader(const std::string& path) : state_(std::make_unique<State>(path)) {
  try {
    state_->open();
    state_->read_header();
  } catch (const std::exception& error) {
    throw std::invalid_argument(path + ": " + error.what());
  }
}
NpyReader::~NpyReader() = default;
NpyReader::NpyReader(NpyReader&&) noexcept = default;

FileType NpyReader::type() const {
  return state_->type;
}
std::span<const std::int64_t> NpyReader::shape() const {
  return state_->shape;
}
std::int64_t NpyReader::tokens() const {
  return state_->shape[0];
}
int NpyReader::heads() const {
  return static_cast<int>(state_->shape[1]);
}
int NpyReader::dim() const {
  return state_->shape.size() == 3 ? static_cast<int>(state_->shape[2]) : 1;
}

void NpyReader::read(std::span<const Range> ranges, float* out) const {
  const std::int64_t row = std::int64_t{heads()} * dim();
  for (const Range range : ranges) {
    if (!Range{0, tokens()}.contains(range))
      throw std::invalid_argument(state_->path + ": has no tokens [" + std::to_string(range.begin) + ", " +
                                  std::to_string(range.end) + "), only " + std::to_string(tokens()));
    const std::int64_t count = range.size() * row;
    const std::int64_t offset = state_->data_begin + range.begin * row * element_bytes(type());
    try {
      if (type() == FileType::f32) read_exactly(state_->descriptor, out, count * 4, offset);
      if (type() == FileType::f16) read_converted<f16>(state_->descriptor, count, offset, out);
      if (type() == FileType::f64) read_converted<double>(state_->descriptor, count, offset, out);
    } catch (const std::runtime_error& error) {
      throw std::runtime_error(state_->path + ": " + error.what());
    }
    out += count;
  }
}

struct NpyWriter::State {
  std::vector<std::int64_t> shape;
  std::string header;
  WholeFile file;

  State(std::string path, std::vector<std::int64_t> extents, bool create)
      : shape(std::move(extents)),
        header(float32_npy_header(shape)),
        file(std::move(path), static_cast<std::int64_t>(header.size()) + npy_data_bytes(shape, 4), create) {
    if (create) file.write(0, header);
  }
};

NpyWriter::NpyWriter(std::string path, std::vector<std::int64_t> shape, bool create) {
  if (shape.empty()) throw std::invalid_argument(path + ": a tensor file needs at least one extent");
  try {
    state_ = std::make_unique<State>(std::move(path), std::move(shape), create);
  } catch (const std::runtime_error& error) {
    throw std::invalid_argument(error.what());
  }
}
NpyWriter::~NpyWriter() = default;
NpyWriter::NpyWriter(NpyWriter&&) noexcept = default;

void NpyWriter::write(std::span<const Range> ranges, const float* rows) {
  const std::int64_t row = npy_data_bytes(std::span(state_->shape).subspan(1), 1);
  for (const Range range : ranges) {
    if (!Range{0, state_->shape[0]}.contains(range)) throw std::invalid_argument("rows beyond the end of a tensor file");
    const std::int64_t offset = static_cast<std::int64_t>(state_->header.size()) + range.begin * row * 4;
    state_->file.write(offset, std::as_bytes(std::span(rows, static_cast<std::size_t>(range.size() * row))));
    rows += range.size() * row;
  }
}

void NpyWriter::publish() {
  state_->file.publish();
}

}  // namespace gyre
