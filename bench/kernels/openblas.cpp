// sgemm of OpenBLAS. OPENBLAS_CORETYPE in the environment chooses its kernels: unset it, or it may take those of another processor.
#include <cblas.h>

#include "bench/kernels/products.hpp"

namespace gyre::bench {
namespace {

class OpenBlas : public Products {
 public:
  OpenBlas(const Shape& shape, Block block) : Products(shape, block) { openblas_set_num_threads(1); }

 private:
  void multiply_keys(Part queries, Part keys) override {
    const int dim = shape().head_dim;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, int_of(queries.count), int_of(keys.count), dim, 1,
                this->queries() + queries.first * dim, dim, this->keys() + keys.first * dim, dim, 0, scores(),
                int_of(block().keys));
  }
  void multiply_values(Part queries, Part keys) override {
    const int dim = shape().head_dim;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, int_of(queries.count), dim, int_of(keys.count), 1, weights(),
                int_of(block().keys), values() + keys.first * dim, dim, 1, out() + queries.first * dim, dim);
  }
  static int int_of(std::int64_t count) { return static_cast<int>(count); }
};

}  // namespace

std::unique_ptr<Subject> make_openblas(const Shape& shape, Block block) {
  return std::make_unique<OpenBlas>(shape, block);
}

std::string openblas_version() {
  return openblas_get_config() + std::string(", kernels of ") + openblas_get_corename();
}

}  // namespace gyre::bench
