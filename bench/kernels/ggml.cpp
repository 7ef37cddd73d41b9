// Flash attention of ggml: queries and arithmetic of fp32, keys and values of fp32 or, as its users keep them, f16.
#include <ggml-cpu.h>
#include <ggml.h>

#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "bench/kernels/axis.hpp"
#include "bench/kernels/data.hpp"
#include "bench/kernels/opponents.hpp"
#include "kernels/reference.hpp"

namespace gyre::bench {
namespace {

struct Free {
  void operator()(ggml_context* context) const { ggml_free(context); }
};

class Ggml : public Subject {
 public:
  Ggml(const Shape& shape, Type key_value_type)
      : shape_(shape),
        axis_(shape),
        type_(key_value_type),
        queries_(shape.keys, 1, shape.head_dim, Type::f32, 1),
        keys_(shape.keys, 1, shape.head_dim, key_value_type, 2),
        values_(shape.keys, 1, shape.head_dim, key_value_type, 3),
        context_(ggml_init({.mem_size = memory_bytes(), .mem_buffer = nullptr, .no_alloc = false})) {
    ggml_tensor* const query = tensor(queries_, Type::f32);
    out_ = ggml_flash_attn_ext(context_.get(), query, tensor(keys_, type_), tensor(values_, type_), mask(),
                               1 / std::sqrt(static_cast<float>(shape.head_dim)), 0, 0);
    graph_ = ggml_new_graph(context_.get());
    ggml_build_forward_expand(graph_, out_);
    plan_ = ggml_graph_plan(graph_, 1, nullptr);
    work_.resize(plan_.work_size);
    plan_.work_data = work_.data();
  }

  void run() override { ggml_graph_compute(graph_, &plan_); }

  double error() override {
    constexpr double kAllowed = 1e-2;  // its exponentials and its queries may be of less precision
    double worst = 0;
    for (int sample = 0; sample < 8; ++sample) {
      const std::int64_t token = shape_.keys * (2 * sample + 1) / 16;
      const ReferencePartial reference = reference_partial(queries_.rows().row(token, 0), token, keys_.rows(), values_.rows(), 0, 0,
                                                           score_of(shape_), axis_.bands);
      for (int c = 0; c < shape_.head_dim; ++c) {
        const float found = static_cast<const float*>(out_->data)[token * shape_.head_dim + c];
        const double share = std::abs(found - reference.out(c)) / kAllowed;
        if (!(share <= worst)) worst = share;
      }
    }
    return worst;
  }

  double flops() const override { return 4 * axis_.pairs(shape_) * shape_.head_dim; }
  double bytes() const override {
    return static_cast<double>(shape_.keys) * shape_.head_dim * (8 + 2 * static_cast<double>(type_bytes(type_)));
  }

 private:
  /// Of tensors, the mask among them, and what describes them.
  std::size_t memory_bytes() const {
    return (std::size_t{1} << 24) +
           static_cast<std::size_t>(shape_.keys) * (std::int64_t{16} * shape_.head_dim + 2 * shape_.keys + 64);
  }

  ggml_tensor* tensor(const RandomRows& rows, Type type) {
    const std::int64_t count = shape_.keys * shape_.head_dim;
    ggml_tensor* const tensor =
        ggml_new_tensor_3d(context_.get(), type == Type::f16 ? GGML_TYPE_F16 : GGML_TYPE_F32, shape_.head_dim, shape_.keys, 1);
    if (type == Type::f16) ggml_fp32_to_fp16_row(rows.rows().data, static_cast<ggml_fp16_t*>(tensor->data), count);
    if (type == Type::f32) std::copy_n(rows.rows().data, count, static_cast<float*>(tensor->data));
    return tensor;
  }

  /// Null if everything is visible.
  ggml_tensor* mask() {
    if (shape_.mask == "full") return nullptr;
    ggml_tensor* const mask = ggml_new_tensor_2d(context_.get(), GGML_TYPE_F16, shape_.keys, shape_.keys);
    const ggml_fp16_t visible = ggml_fp32_to_fp16(0), hidden = ggml_fp32_to_fp16(-std::numeric_limits<float>::infinity());
    for (std::int64_t query = 0; query < shape_.keys; ++query) {
      for (std::int64_t key = 0; key < shape_.keys; ++key) {
        static_cast<ggml_fp16_t*>(mask->data)[query * shape_.keys + key] = key <= query ? visible : hidden;
      }
    }
    return mask;
  }

  Shape shape_;
  Axis axis_;
  Type type_;
  RandomRows queries_, keys_, values_;
  std::unique_ptr<ggml_context, Free> context_;
  ggml_tensor* out_ = nullptr;
  ggml_cgraph* graph_ = nullptr;
  ggml_cplan plan_{};
  std::vector<std::uint8_t> work_;
};

}  // namespace

std::unique_ptr<Subject> make_ggml(const Shape& shape, Type key_value_type) {
  return std::make_unique<Ggml>(shape, key_value_type);
}

std::string ggml_version() {
  return ::ggml_version();
}

}  // namespace gyre::bench
