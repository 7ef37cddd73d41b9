// matmul of oneDNN. Keys and values are laid out beforehand as it likes them best, as ours are packed beforehand.
#include <omp.h>

#include <map>
#include <oneapi/dnnl/dnnl.hpp>
#include <utility>

#include "bench/kernels/products.hpp"
#include "kernels/convert.hpp"

namespace gyre::bench {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;

struct Sizes {
  std::int64_t rows, inner, columns;
};

/// [rows, inner] times [inner, columns], whose form `right` says.
struct Product {
  dnnl::matmul::primitive_desc description;
  dnnl::matmul primitive;

  Product(const dnnl::engine& engine, memory::data_type type, const Sizes& sizes, std::int64_t left_stride,
          const memory::desc& right, std::int64_t out_stride, const dnnl::primitive_attr& attributes)
      : description(describe(engine, {{sizes.rows, sizes.inner}, type, memory::dims{left_stride, 1}}, right,
                             {{sizes.rows, sizes.columns}, memory::data_type::f32, memory::dims{out_stride, 1}}, attributes)),
        primitive(description) {}

  static dnnl::matmul::primitive_desc describe(const dnnl::engine& engine, const memory::desc& left, const memory::desc& right,
                                               const memory::desc& out, const dnnl::primitive_attr& attributes) {
#if DNNL_VERSION_MAJOR >= 3
    return {engine, left, right, out, attributes};
#else
    return {{left, right, out}, attributes, engine};
#endif
  }
};

class OneDnn : public Products {
 public:
  OneDnn(const Shape& shape, Block block)
      : Products(shape, block),
        bf16_(shape.type == Type::bf16),
        type_(bf16_ ? memory::data_type::bf16 : memory::data_type::f32),
        query_data_(converted(queries(), tokens() * dim())),
        weight_data_(converted(weights(), block.queries * block.keys)) {
    omp_set_num_threads(1);
    adding_.set_post_ops([] {
      dnnl::post_ops add;
      add.append_sum(1);
      return add;
    }());
    for (std::int64_t first = 0; first < tokens(); first += block.keys) {
      const std::int64_t count = std::min(block.keys, tokens() - first);
      key_blocks_.push_back(laid_out(keys() + first * dim(), {dim(), count}, Tag::ba, of_keys(block.queries, count)));
      value_blocks_.push_back(laid_out(values() + first * dim(), {count, dim()}, Tag::ab, of_values(block.queries, count)));
    }
  }

 private:
  std::int64_t dim() const { return shape().head_dim; }

  /// In the type that is multiplied.
  std::vector<std::byte> converted(const float* from, std::int64_t count) const {
    std::vector<std::byte> bytes(count * (bf16_ ? 2 : 4));
    for (std::int64_t i = 0; i < count; ++i) {
      if (bf16_) reinterpret_cast<gyre::bf16*>(bytes.data())[i] = to_bf16(from[i]);
      if (!bf16_) reinterpret_cast<float*>(bytes.data())[i] = from[i];
    }
    return bytes;
  }

  /// Keys as the first rows want them: the last rows, fewer than the others, take them as they lie.
  const Product& of_keys(std::int64_t queries, std::int64_t keys) {
    const memory::desc any{{dim(), keys}, type_, Tag::any};
    const memory::desc right = queries == block().queries ? any : of_keys(block().queries, keys).description.weights_desc();
    const Sizes sizes{.rows = queries, .inner = dim(), .columns = keys};
    return of_keys_.try_emplace({queries, keys}, engine_, type_, sizes, dim(), right, block().keys, dnnl::primitive_attr())
        .first->second;
  }
  const Product& of_values(std::int64_t queries, std::int64_t keys) {
    const memory::desc any{{keys, dim()}, type_, Tag::any};
    const memory::desc right = queries == block().queries ? any : of_values(block().queries, keys).description.weights_desc();
    const Sizes sizes{.rows = queries, .inner = keys, .columns = dim()};
    return of_values_.try_emplace({queries, keys}, engine_, type_, sizes, block().keys, right, dim(), adding_).first->second;
  }

  memory laid_out(const float* from, const memory::dims& dims, Tag tag, const Product& product) {
    std::vector<std::byte> plain = converted(from, dims[0] * dims[1]);
    memory source({dims, type_, tag}, engine_, plain.data());
    memory target(product.description.weights_desc(), engine_);
    dnnl::reorder(source, target).execute(stream_, source, target);
    stream_.wait();
    return target;
  }

  void multiply(const Product& product, std::byte* left, const memory& right, float* out) {
    product.primitive.execute(stream_, {{DNNL_ARG_SRC, memory(product.description.src_desc(), engine_, left)},
                                        {DNNL_ARG_WEIGHTS, right},
                                        {DNNL_ARG_DST, memory(product.description.dst_desc(), engine_, out)}});
    stream_.wait();
  }

  void multiply_keys(Part queries, Part keys) override {
    multiply(of_keys(queries.count, keys.count), query_data_.data() + queries.first * dim() * (bf16_ ? 2 : 4),
             key_blocks_[keys.index], scores());
  }
  void multiply_values(Part queries, Part keys) override {
    multiply(of_values(queries.count, keys.count), weight_data_.data(), value_blocks_[keys.index], out() + queries.first * dim());
  }

  bool bf16_;
  memory::data_type type_;
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  dnnl::primitive_attr adding_;
  std::vector<std::byte> query_data_, weight_data_;
  std::map<std::pair<std::int64_t, std::int64_t>, Product> of_keys_, of_values_;
  std::vector<memory> key_blocks_, value_blocks_;
};

}  // namespace

std::unique_ptr<Subject> make_onednn(const Shape& shape, Block block) {
  return std::make_unique<OneDnn>(shape, block);
}

std::string onednn_version() {
  const dnnl_version_t& version = *dnnl_version();
  return std::to_string(version.major) + '.' + std::to_string(version.minor) + '.' + std::to_string(version.patch);
}

}  // namespace gyre::bench
