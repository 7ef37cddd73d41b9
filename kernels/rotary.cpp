#include "kernels/rotary.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iomanip>
#include <numbers>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "kernels/dispatch.hpp"

namespace gyre {
namespace {

[[noreturn]] void refuse(const std::string& text) {
  throw std::invalid_argument(text);
}

std::string text_of(double number) {
  std::ostringstream text;
  text << std::setprecision(std::numeric_limits<double>::max_digits10) << number;
  return text.str();
}

void require_dims(const Rotary& rotary, int head_dim) {
  const int dims = rotary.turned_dims(head_dim);
  if (head_dim > 2 * kMostRotaryPairs)
    refuse("rotary positions of rows of " + std::to_string(head_dim) + " dims; give a head dim of at most " +
           std::to_string(2 * kMostRotaryPairs));
  if (dims < 2 || dims > head_dim || dims % 2 != 0)
    refuse("rotary positions of " + std::to_string(dims) + " dims, and the head dim is " + std::to_string(head_dim) +
           "; rotate an even number of dims, from 2 to the head dim");
}

/// YaRN: the dim whose pair turns so many times over the original length.
double dim_of_turns(const Rotary& rotary, int dims, double turns) {
  const auto original = static_cast<double>(rotary.original_tokens);
  return dims * std::log(original / (2 * std::numbers::pi * turns)) / (2 * std::log(rotary.base));
}

/// From 0, of frequencies that stay, to 1, of those that are divided by the scale. A ramp of no length is given one.
struct Ramp {
  double low, high;
  double at(int pair) const { return std::clamp((pair - low) / (high - low), 0.0, 1.0); }
};
Ramp yarn_ramp(const Rotary& rotary, int dims) {
  constexpr double kLeastLength = 0.001;
  const double low = std::max(std::floor(dim_of_turns(rotary, dims, rotary.beta_fast)), 0.0);
  const double high = std::min(std::ceil(dim_of_turns(rotary, dims, rotary.beta_slow)), dims - 1.0);
  return {.low = low, .high = low == high ? high + kLeastLength : high};
}

}  // namespace

void Rotary::validate(int head_dim) const {
  require_dims(*this, head_dim);
  if (!(base > 1 && base <= kLargestRotaryBase))
    refuse("the base of rotary positions is " + text_of(base) + "; give a number above 1, to " + text_of(kLargestRotaryBase) +
           ", usually 10000");
  if (scaling == RotaryScaling::none) return;
  if (!(scale >= 1 && scale <= kLargestRotaryScale))
    refuse("the scale of rotary positions is " + text_of(scale) + "; give a number from 1 to " + text_of(kLargestRotaryScale));
  if (scaling == RotaryScaling::ntk && turned_dims(head_dim) < 4)
    refuse("NTK scaling of rotary positions of " + std::to_string(turned_dims(head_dim)) +
           " dims: it changes the base by a power of dims / (dims - 2); rotate at least 4");
  if (scaling != RotaryScaling::yarn) return;
  if (original_tokens < 1 || original_tokens > kLargestOriginalTokens)
    refuse("YaRN's original length is " + std::to_string(original_tokens) +
           " tokens; give the length that the model was trained for, 1 to " + std::to_string(kLargestOriginalTokens));
  if (!(beta_slow > 0 && beta_fast >= beta_slow && beta_fast <= kLargestRotaryScale))
    refuse("YaRN's betas are " + text_of(beta_fast) + " and " + text_of(beta_slow) +
           "; give a fast one not below the slow one, both above 0: usually 32 and 1");
}

std::vector<double> Rotary::frequencies(int head_dim) const {
  const int count = turned_dims(head_dim);
  const double stretched = scaling == RotaryScaling::ntk ? base * std::pow(scale, count / (count - 2.0)) : base;
  std::vector<double> all(count / 2);
  for (int pair = 0; pair < count / 2; ++pair) all[pair] = std::pow(stretched, -2.0 * pair / count);
  if (scaling == RotaryScaling::linear) {
    for (double& frequency : all) frequency /= scale;
  }
  if (scaling == RotaryScaling::yarn) {
    const Ramp ramp = yarn_ramp(*this, count);
    for (int pair = 0; pair < count / 2; ++pair) {
      const double slow = ramp.at(pair);
      all[pair] = all[pair] / scale * slow + all[pair] * (1 - slow);
    }
  }
  return all;
}

double Rotary::magnitude() const {
  return scaling == RotaryScaling::yarn && scale > 1 ? 0.1 * std::log(scale) + 1 : 1;
}

std::string to_string(const Rotary& rotary) {
  std::string text = text_of(rotary.base) + (rotary.layout == RotaryLayout::half ? ", half, " : ", interleaved, ") +
                     (rotary.dims == 0 ? "all" : std::to_string(rotary.dims)) + " dims";
  switch (rotary.scaling) {
    case RotaryScaling::none:
      return text;
    case RotaryScaling::linear:
      return text + ", linear " + text_of(rotary.scale);
    case RotaryScaling::ntk:
      return text + ", ntk " + text_of(rotary.scale);
    case RotaryScaling::yarn:
      return text + ", yarn " + text_of(rotary.scale) + " from " + std::to_string(rotary.original_tokens) + " tokens (" +
             text_of(rotary.beta_fast) + ", " + text_of(rotary.beta_slow) + ")";
  }
  return text;
}

/// A power of two times a frequency is exact; long double has what is left of its cosine after so many turns.
RotaryTable::RotaryTable(const Rotary& rotary, int head_dim, const KernelTable& kernels)
    : kernels_(kernels), layout_(rotary.layout), magnitude_(rotary.magnitude()) {
  rotary.validate(head_dim);
  const std::vector<double> frequencies = rotary.frequencies(head_dim);
  pairs_ = static_cast<int>(frequencies.size());
  for (int bit = 0; bit < kPositionBits; ++bit) {
    for (const double frequency : frequencies) {
      const long double angle = std::ldexp(static_cast<long double>(frequency), bit);
      cosines_.push_back(static_cast<double>(std::cos(angle)));
      sines_.push_back(static_cast<double>(std::sin(angle)));
    }
  }
}

Turner::Turner(const RotaryTable& table, const Stretch& stretch) : table_(table), stretch_(stretch) {
  const std::int64_t position = stretch.position(0);
  if (std::abs(position) >> kPositionBits != 0)
    refuse("a row stands at position " + std::to_string(position) + "; rotary positions are below 2^" +
           std::to_string(kPositionBits));
  begin();
}

void Turner::begin() {
  const std::int64_t position = stretch_.position(0);
  token_ = 0;
  std::fill_n(cosines_, table_.pairs_, table_.magnitude_);
  std::fill_n(sines_, table_.pairs_, 0.0);
  turn_by(std::abs(position));
  if (position >= 0) return;
  for (int pair = 0; pair < table_.pairs_; ++pair) sines_[pair] = -sines_[pair];
}

/// By so many positions.
void Turner::turn_by(std::int64_t distance) {
  for (int bit = 0; distance >> bit != 0; ++bit) {
    if ((distance >> bit & 1) == 0) continue;
    const std::ptrdiff_t first = std::ptrdiff_t{bit} * table_.pairs_;
    table_.kernels_.turn_on(table_.pairs_, table_.cosines_.data() + first, table_.sines_.data() + first, cosines_, sines_);
  }
}

void Turner::go_to(std::int64_t token) {
  if (token < token_) begin();
  const std::int64_t before = stretch_.position(std::exchange(token_, token));
  turn_by(stretch_.position(token) - before);
}

void Turner::turn(float* row) const {
  table_.kernels_.turn(table_.layout_, table_.pairs_, cosines_, sines_, row);
}

void Turner::add_turned_back(const float* gradient, int head_dim, double* sum) const {
  const int count = table_.pairs_;
  const bool half = table_.layout_ == RotaryLayout::half;
  const int stride = half ? 1 : 2, partner = half ? count : 1;
  for (int pair = 0; pair < count; ++pair) {
    const int at = pair * stride;
    const auto x = static_cast<double>(gradient[at]), y = static_cast<double>(gradient[at + partner]);
    sum[at] += x * cosines_[pair] + y * sines_[pair];
    sum[at + partner] += y * cosines_[pair] - x * sines_[pair];
  }
  for (int dim = 2 * count; dim < head_dim; ++dim) sum[dim] += static_cast<double>(gradient[dim]);
}

}  // namespace gyre
