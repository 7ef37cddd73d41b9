// Attention on one rank: random rows cut into units, packed, attended and finished, with everything that nobody may read set to
// NaN.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kernels/attend.hpp"
#include "kernels/cell.hpp"
#include "kernels/reference.hpp"
#include "partition/mask.hpp"
#include "partition/units.hpp"

namespace gyre::testing {

/// Bytes with the alignment of cells.
class Buffer {
 public:
  explicit Buffer(std::int64_t bytes)
      : bytes_(bytes), data_(static_cast<std::byte*>(::operator new[](bytes + 1, std::align_val_t{kAlignment}))) {}
  std::byte* data() const { return data_.get(); }
  float* floats() const { return reinterpret_cast<float*>(data_.get()); }
  std::int64_t bytes() const { return bytes_; }
  void fill(float value) const { std::fill_n(floats(), bytes_ / std::int64_t{sizeof(float)}, value); }

 private:
  struct Free {
    void operator()(std::byte* data) const { ::operator delete[](data, std::align_val_t{kAlignment}); }
  };
  std::int64_t bytes_;
  std::unique_ptr<std::byte[], Free> data_;
};

struct CaseShape {
  int head_dim = 64, value_dim = 64, group = 1, key_heads = 1;
  RowOrder rows = RowOrder::by_token;
  std::int64_t stride = 1;  // of residue order
  std::int64_t query_tokens = 100, key_tokens = 100, query_unit = 64, key_unit = 64;
  std::int64_t query_offset = 0;
  std::string mask = "full";
  double size = 1.5;      // standard deviation of queries, keys and values
  double outliers = 0;    // share of elements that are 20 times as large
  double softcap = 0;     // 0: none
  bool alibi = false;     // its slopes
  double dropout = 0;     // probability
  bool sinks = false;     // a logit for each query head, of the size of scores
  Type type = Type::f32;  // of cells; the rows are fp32, rounded to it
  std::uint64_t seed = 1;

  std::string text() const;
};

enum class Operand : std::uint8_t { query, key, value, grad_out };
/// What an element is, in place of what was drawn; rounded to the shape's type.
using Element = std::function<float(Operand operand, std::int64_t token, int head, int channel, float drawn)>;

struct Finished {
  std::vector<float> out;  // [query tokens, query heads, value_dim]
  std::vector<float> lse;  // [query tokens, query heads]
};

class AttendCase {
 public:
  explicit AttendCase(const CaseShape& shape) : AttendCase(shape, shape.type) {}
  /// Rows of shape.type in cells of another.
  AttendCase(const CaseShape& shape, Type cells, Integrity integrity = Integrity::unchecked, const Element& element = {});
  AttendCase(const CaseShape& shape, const Element& element) : AttendCase(shape, shape.type, Integrity::unchecked, element) {}

  const CaseShape& shape() const { return shape_; }
  const CellShape& cells() const { return cell_shape_; }
  const Units& query_units() const { return query_units_; }
  const Units& key_units() const { return key_units_; }
  const Mask& mask() const { return mask_; }
  int query_heads() const { return shape_.group * shape_.key_heads; }
  ScoreRule score() const;
  const float* sinks() const { return sinks_.empty() ? nullptr : sinks_.data(); }  // [query heads]
  std::span<const float> sink_logits() const { return sinks_; }
  const Bands& bands() const { return bands_; }
  Rows<const float> queries() const { return rows(queries_, shape_.query_tokens, query_heads(), shape_.head_dim); }
  Rows<const float> keys() const { return rows(keys_, shape_.key_tokens, shape_.key_heads, shape_.head_dim); }
  Rows<const float> values() const { return rows(values_, shape_.key_tokens, shape_.key_heads, shape_.value_dim); }

  void clear();  // partials
  AttendWork work(const std::vector<int>& query_units, const std::vector<int>& key_units) const;
  AttendWork work() const;  // everything
  void run(const KernelTable& kernels, int threads = 1, int strips_per_block = 0) const;
  Finished finish() const;
  /// The floats of all partials that belong to rows, in a fixed order.
  std::vector<float> partial_bits() const;
  /// Reference of a row, by query token and query head.
  ReferencePartial reference(std::int64_t token, int head) const;

  static constexpr std::int64_t kMargin = 3;  // rows of NaN before and after the caller's rows

 private:
  static Rows<const float> rows(const std::vector<float>& data, std::int64_t tokens, int heads, int dim);
  std::vector<float> random_rows(std::mt19937_64& random, std::int64_t tokens, int heads, int dim) const;
  void replace(std::vector<float>& data, Operand operand, std::int64_t tokens, int heads, int dim, const Element& element) const;
  const Buffer& cell(const std::vector<Buffer>& cells, int unit, int head) const { return cells[unit * shape_.key_heads + head]; }

  CaseShape shape_;
  CellShape cell_shape_;
  Units query_units_, key_units_;
  Mask mask_;
  Bands bands_;  // bound to the first query
  std::vector<float> queries_, keys_, values_, sinks_;
  std::vector<Buffer> query_cells_, key_cells_, partials_;  // [unit][key/value head]
};

std::vector<int> every_unit(const Units& units);

}  // namespace gyre::testing
