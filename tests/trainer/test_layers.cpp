// Every layer's gradient against central differences in float64: with a step of 1e-5 these are good to about 1e-9.
#include <functional>
#include <vector>

#include "bench/trainer/cross_entropy.hpp"
#include "bench/trainer/random.hpp"
#include "bench/trainer/rotary.hpp"
#include "bench/transformer/linear.hpp"
#include "bench/transformer/rms_norm.hpp"
#include "bench/transformer/swiglu.hpp"
#include "support/catch.hpp"

using namespace gyre::trainer;
using namespace gyre::transformer;

namespace {

std::vector<double> drawn(std::size_t size, std::uint64_t seed) {
  Random random(seed);
  std::vector<double> values(size);
  for (double& value : values) value = random.normal();
  return values;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t element = 0; element < a.size(); ++element) sum += a[element] * b[element];
  return sum;
}

/// Of loss() by every element of x, against what was computed.
void check_gradient(const std::function<double()>& loss, std::vector<double>& x, const std::vector<double>& gradient) {
  constexpr double kStep = 1e-5;
  REQUIRE(gradient.size() == x.size());
  for (std::size_t element = 0; element < x.size(); ++element) {
    const double before = x[element];
    x[element] = before + kStep;
    const double above = loss();
    x[element] = before - kStep;
    const double below = loss();
    x[element] = before;
    INFO("element " << element);
    CHECK(gradient[element] == Approx((above - below) / (2 * kStep)).epsilon(1e-7).margin(1e-8));
  }
}

}  // namespace

TEST_CASE("the gradients of a linear layer are those of differences, and are added where that is asked for") {
  const LinearShape shape = {.rows = 5, .inputs = 3, .outputs = 4};
  auto x = drawn(15, 1), weight = drawn(12, 2);
  const auto grad_y = drawn(20, 3), before = drawn(15, 4);
  const auto loss = [&] {
    std::vector<double> y(20);
    linear(shape, x.data(), weight.data(), y.data());
    return dot(y, grad_y);
  };
  auto grad_x = before;
  std::vector<double> grad_weight(12);
  linear_backward(shape, x.data(), weight.data(), grad_y.data(), grad_x.data(), Into::add, grad_weight.data());
  for (std::size_t element = 0; element < before.size(); ++element) grad_x[element] -= before[element];
  check_gradient(loss, x, grad_x);
  check_gradient(loss, weight, grad_weight);
}

TEST_CASE("the gradients of a root mean square normalisation are those of differences") {
  const NormShape shape = {.rows = 3, .width = 6, .epsilon = 1e-2};
  auto x = drawn(18, 1), gain = drawn(6, 2);
  const auto grad_y = drawn(18, 3);
  const auto loss = [&] {
    std::vector<double> y(18);
    rms_norm(shape, x.data(), gain.data(), y.data());
    return dot(y, grad_y);
  };
  std::vector<double> grad_x(18), grad_gain(6);
  rms_norm_backward(shape, x.data(), gain.data(), grad_y.data(), grad_x.data(), grad_gain.data());
  check_gradient(loss, x, grad_x);
  check_gradient(loss, gain, grad_gain);
}

TEST_CASE("the gradients of a gated unit are those of differences") {
  auto gate = drawn(9, 1), up = drawn(9, 2);
  const auto grad_y = drawn(9, 3);
  const auto loss = [&] {
    std::vector<double> y(9);
    swiglu(9, gate.data(), up.data(), y.data());
    return dot(y, grad_y);
  };
  std::vector<double> grad_gate(9), grad_up(9);
  swiglu_backward(9, gate.data(), up.data(), grad_y.data(), grad_gate.data(), grad_up.data());
  check_gradient(loss, gate, grad_gate);
  check_gradient(loss, up, grad_up);
}

TEST_CASE("cross-entropy leaves the scaled gradient of its sum, and rows without a target neither count nor get one") {
  const std::vector<std::int32_t> targets = {2, kNoTarget, 0, 4};
  auto logits = drawn(20, 1);
  const auto loss = [&] {
    auto copy = logits;
    return 0.25 * cross_entropy(targets, 5, 0.25, copy.data());
  };
  auto gradient = logits;
  cross_entropy(targets, 5, 0.25, gradient.data());
  check_gradient(loss, logits, gradient);
  for (int token = 0; token < 5; ++token) CHECK(gradient[5 + token] == 0);
}

TEST_CASE("cross-entropy of even logits is the logarithm of the vocabulary") {
  std::vector<double> logits(8, 3.0);
  CHECK(cross_entropy<double>(std::vector<std::int32_t>{1}, 8, 1, logits.data()) == Approx(std::log(8.0)));
}

TEST_CASE("rotary positions leave products that depend on distance alone, and turning back undoes them") {
  const auto query = drawn(8, 1), key = drawn(8, 2);
  const auto product = [&](std::int64_t query_position, std::int64_t key_position) {
    auto turned_query = query, turned_key = key;
    Rotary<double>(std::vector{query_position}, 8, 100).turn(turned_query.data(), 1, Turn::forward);
    Rotary<double>(std::vector{key_position}, 8, 100).turn(turned_key.data(), 1, Turn::forward);
    return dot(turned_query, turned_key);
  };
  CHECK(product(5, 3) == Approx(product(1005, 1003)));
  CHECK(product(5, 3) != Approx(product(5, 4)));
  CHECK(product(7, 7) == Approx(dot(query, key)));

  const auto rows = drawn(2 * 3 * 8, 3);  // [positions, heads, head_dim]
  auto turned = rows;
  const Rotary<double> rotary(std::vector<std::int64_t>{2, 40}, 8, 100);
  rotary.turn(turned.data(), 3, Turn::forward);
  CHECK(turned != rows);
  rotary.turn(turned.data(), 3, Turn::back);
  for (std::size_t element = 0; element < rows.size(); ++element) CHECK(turned[element] == Approx(rows[element]));
}
