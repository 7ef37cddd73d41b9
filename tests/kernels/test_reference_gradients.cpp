// The reference of gradients against finite differences of the reference of the forward pass.
#include <cmath>
#include <span>

#include "kernels/attend_case.hpp"
#include "support/catch.hpp"

namespace gyre::testing {
namespace {

struct Tensors {
  std::vector<float> queries, keys, values, grad_out;
  int head_dim = 5, value_dim = 3, key_heads = 2, group = 2;
  std::int64_t query_tokens = 7, key_tokens = 9, offset = 1;

  explicit Tensors(std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<double> normal(0, 1);
    const auto draw = [&](std::vector<float>& to, std::int64_t count) {
      for (to.resize(count); float& x : to) x = static_cast<float>(normal(random));
    };
    draw(queries, query_tokens * heads() * head_dim), draw(keys, key_tokens * key_heads * head_dim);
    draw(values, key_tokens * key_heads * value_dim), draw(grad_out, query_tokens * heads() * value_dim);
  }
  int heads() const { return key_heads * group; }
  Rows<const float> query_rows() const { return Rows<const float>(queries.data(), query_tokens, heads(), head_dim); }
  Rows<const float> key_rows() const { return Rows<const float>(keys.data(), key_tokens, key_heads, head_dim); }
  Rows<const float> value_rows() const { return Rows<const float>(values.data(), key_tokens, key_heads, value_dim); }
  Rows<const float> grad_rows() const { return Rows<const float>(grad_out.data(), query_tokens, heads(), value_dim); }

  /// sum of grad_out . out
  double loss(const ScoreRule& rule, const Bands& bands, std::span<const float> sinks = {}) const {
    double sum = 0;
    for (std::int64_t token = 0; token < query_tokens; ++token) {
      for (int head = 0; head < heads(); ++head) {
        ReferencePartial row = reference_partial(query_rows().row(token, head), offset + token, key_rows(), value_rows(),
                                                 head / group, 0, rule, bands, head);
        if (!sinks.empty()) row.take_sink(static_cast<double>(sinks[head]));
        for (int c = 0; c < value_dim; ++c) sum += static_cast<double>(grad_rows().row(token, head)[c]) * row.out(c);
      }
    }
    return sum;
  }
};

}  // namespace

TEST_CASE("the reference's gradients are what finite differences of its outputs are, with caps, slopes, sinks and dropout") {
  for (const char* mask : {"full", "causal", "window(2)", "causal & strided(5)"}) {
    for (int variant = 0; variant < 8; ++variant) {
      Tensors tensors(3);
      const Mask parsed = Mask::parse(mask);
      ScoreRule rule{.scale = 0.6};
      if (variant % 2 == 1) rule.softcap = 0.7;
      if (variant >= 2) rule.slopes = alibi_slopes(4);
      std::vector<float> sinks;
      if (variant >= 6) rule.dropout = {.probability = 0.4, .seed = 5};
      if (variant >= 4) sinks = {-0.5F, 1.5F, 0.25F, 3.0F};
      const ReferenceGradients found =
          reference_gradients(tensors.query_rows(), tensors.key_rows(), tensors.value_rows(), tensors.grad_rows(), tensors.offset,
                              0, rule, parsed.bands(), Type::f32, Type::f32, sinks);
      double worst = 0;
      const auto compare = [&](std::vector<float>& inputs, const ReferenceGradient& gradient) {
        for (std::size_t k = 0; k < inputs.size(); ++k) {
          const float before = inputs[k];
          const float above = before + 0x1p-10F, below = before - 0x1p-10F;
          inputs[k] = above;
          const double high = tensors.loss(rule, parsed.bands(), sinks);
          inputs[k] = below;
          const double low = tensors.loss(rule, parsed.bands(), sinks);
          inputs[k] = before;
          const double slope = (high - low) / (static_cast<double>(above) - static_cast<double>(below));
          worst = std::max(worst, std::abs(slope - gradient.value[k]));
        }
      };
      compare(tensors.queries, found.query), compare(tensors.keys, found.key), compare(tensors.values, found.value);
      compare(sinks, found.sinks);
      INFO(mask << ", variant " << variant << ": " << worst);
      CHECK(worst < 1e-5);
    }
  }
}

TEST_CASE("slopes are ALiBi's, also of numbers of heads that are no power of two") {
  const std::vector<double> eight = alibi_slopes(8), twelve = alibi_slopes(12);
  CHECK(alibi_slopes(1) == std::vector<double>{1.0 / 256});
  for (int head = 0; head < 8; ++head) {
    CHECK(eight[head] == std::exp2(-1 - head));
    CHECK(twelve[head] == eight[head]);
  }
  REQUIRE(twelve.size() == 12);
  for (int head = 8; head < 12; ++head) CHECK(twelve[head] == std::exp2(-0.5 - (head - 8)));
}

}  // namespace gyre::testing
