// The body of each instruction set, called directly.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>
#include <random>
#include <vector>

#include "kernels/attend_case.hpp"
#include "kernels/clock.hpp"
#include "kernels/convert.hpp"
#include "kernels/partial.hpp"
#include "support/catch.hpp"

namespace gyre::testing {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// One strip of head dim 1 against 16 keys and 8 value channels.
struct SmallTile {
  Buffer query{kStrip * 4}, key{16 * 4}, value{16 * 8 * 4}, partial{19 * kStrip * 4}, scores{16 * kStrip * 4};
  std::vector<std::uint64_t> visible = std::vector<std::uint64_t>(16, 0);
  Tile tile;

  SmallTile() {
    query.fill(0), key.fill(0), value.fill(0), scores.fill(kNan), clear();
    tile.strips[0] = {query.floats(), partial.floats()};
    tile.strip_count = 1, tile.words = 1, tile.value_dim = 8, tile.keys = tile.unit_keys = 16;
    tile.key = key.floats(), tile.value = value.floats(), tile.visible = visible.data(), tile.scores = scores.floats();
  }
  void clear() const {
    std::fill_n(partial.floats(), 19 * kStrip, 0.0F);
    std::fill_n(partial.floats() + 16 * kStrip, kStrip, kEmptyMaximum);
  }
  float numerator(int channel, int lane) const { return partial.floats()[channel * kNumeratorStride + lane]; }
  float maximum(int lane) const { return partial.floats()[16 * kStrip + lane]; }
  float sum(int lane) const { return partial.floats()[17 * kStrip + lane]; }
};

}  // namespace

TEST_CASE("exp2 of a fraction is right to 2e-7 and exact at zero") {
  for (const KernelTable* kernels : available_kernels()) {
    SmallTile small;
    small.key.floats()[0] = 1;
    small.visible[0] = 0xffff;
    double worst = 0;
    const int samples = 1 << 20, half = samples / 2;
    for (int sample = 0; sample < samples; sample += kStrip) {
      for (int lane = 0; lane < kStrip; ++lane) {
        small.query.floats()[lane] = std::ldexp(static_cast<float>(sample + lane - half), -20);
      }
      small.clear();
      kernels->attend(small.tile);
      for (int lane = 0; lane < kStrip; ++lane) {
        const double score = static_cast<double>(small.query.floats()[lane]);
        const double expected = std::exp2(score - static_cast<double>(small.maximum(lane)));
        worst = std::max(worst, std::abs(static_cast<double>(small.sum(lane)) / expected - 1));
        if (score == 0 && small.sum(lane) != 1) worst = 1;
      }
    }
    INFO(kernels->name << ": largest relative error " << worst);
    CHECK(worst < (std::string(kernels->name) == "portable" ? 2.5e-7 : 2e-7));
  }
}

TEST_CASE("capped scores are right to 3e-7 of themselves, from the smallest to the cap") {
  for (const KernelTable* kernels : available_kernels()) {
    SmallTile small;
    small.key.floats()[0] = 1;
    small.visible[0] = 0xffff;
    small.tile.cap = 0x1p60F;  // so that every score is whole, and its own maximum
    double worst = 0;
    bool within = true;
    std::mt19937_64 random(1);
    std::uniform_real_distribution<double> exponent(-20, 6);
    for (int round = 0; round < 40'000; ++round) {
      for (int lane = 0; lane < kStrip; ++lane) {
        const auto size = static_cast<float>(std::exp2(exponent(random)));
        small.query.floats()[lane] = lane % 2 == 0 ? size : -size;
      }
      small.clear();
      kernels->attend(small.tile);
      for (int lane = 0; lane < kStrip; ++lane) {
        const double expected = std::tanh(static_cast<double>(small.query.floats()[lane]) * std::numbers::ln2 / 2);
        const double found = static_cast<double>(small.maximum(lane)) * 0x1p-60;
        worst = std::max(worst, std::abs(found / expected - 1));
        within = within && std::abs(found) <= 1;
      }
    }
    INFO(kernels->name << ": largest relative error " << worst);
    CHECK(worst < 3e-7);
    CHECK(within);
    for (const float large : {1e3F, 1e30F, -1e3F, -1e30F, 0.0F}) {
      small.query.floats()[0] = large;
      small.clear();
      kernels->attend(small.tile);
      CHECK(small.maximum(0) == (large > 0 ? 0x1p60F : large < 0 ? std::max(-0x1p60F, kEmptyMaximum) : 0));
    }
  }
}

TEST_CASE("weights shrink by exact powers of two, rounded once when they become denormal, down to zero") {
  for (const KernelTable* kernels : available_kernels()) {
    SmallTile small;
    std::fill_n(small.visible.begin(), 2, 0xffff);
    small.value.floats()[8] = 1;  // key 1, channel 0
    bool right = true;
    for (const float fraction : {0.0F, 0.25F, -0.37109375F, 0.4375F}) {
      small.clear();
      small.key.floats()[0] = fraction, small.key.floats()[1] = fraction;
      std::fill_n(small.query.floats(), kStrip, 1.0F);
      kernels->attend(small.tile);
      const float weight = small.numerator(0, 0);
      for (int exponent = 100; exponent < 260; exponent += kStrip) {
        // Key 0 scores 0 and sets the maximum, key 1 scores fraction - exponent.
        small.clear();
        small.key.floats()[0] = 0;
        small.key.floats()[1] = 1;
        for (int lane = 0; lane < kStrip; ++lane) small.query.floats()[lane] = fraction - static_cast<float>(exponent + lane);
        kernels->attend(small.tile);
        for (int lane = 0; lane < kStrip; ++lane) right = right && small.numerator(0, lane) == std::ldexp(weight, -exponent - lane);
      }
    }
    INFO(kernels->name);
    CHECK(right);
  }
}

TEST_CASE("values and keys of a panel that no row sees are not read, and stale scratch is not either") {
  for (const KernelTable* kernels : available_kernels()) {
    SmallTile small;
    std::fill_n(small.query.floats(), kStrip, 1.0F);
    std::fill_n(small.visible.begin(), 5, 0x00ff);  // keys 0..4 by rows 0..7
    std::fill_n(small.value.floats(), 8 * 8, 3.0F);
    std::fill_n(small.key.floats() + 8, 8, kNan);
    std::fill_n(small.value.floats() + 8 * 8, 8 * 8, kNan);
    kernels->attend(small.tile);
    INFO(kernels->name);
    for (int lane = 0; lane < kStrip; ++lane) {
      CHECK(small.sum(lane) == (lane < 8 ? 5 : 0));
      CHECK(small.numerator(7, lane) == (lane < 8 ? 15 : 0));
      CHECK(small.maximum(lane) == (lane < 8 ? 0 : kEmptyMaximum));
    }
  }
}

TEST_CASE("maxima are whole numbers and scores far from zero round to them") {
  for (const KernelTable* kernels : available_kernels()) {
    SmallTile small;
    small.visible[0] = 0xffff;
    small.key.floats()[0] = 1;
    const float scores[kStrip] = {0.5F,       1.5F,        2.5F,       -0.5F, -1.5F,  0.49999997F, 1e6F,   -1e6F,
                                  8388607.5F, -8388607.5F, 4194304.5F, 1e20F, -1e20F, 16777215.F,  -3.25F, 7};
    std::copy_n(scores, kStrip, small.query.floats());
    kernels->attend(small.tile);
    INFO(kernels->name);
    for (int lane = 0; lane < kStrip; ++lane) {
      CHECK(small.maximum(lane) == std::nearbyint(scores[lane]));
      CHECK(std::isfinite(small.sum(lane)));
    }
  }
}

TEST_CASE("every instruction set expands each 16-bit number to its value times the factor") {
  for (const KernelTable* kernels : available_kernels()) {
    const Buffer narrow(2 * 0x10000), wide(4 * 0x10000);
    std::uint16_t* const bits = reinterpret_cast<std::uint16_t*>(narrow.data());
    for (int i = 0; i < 0x10000; ++i) bits[i] = static_cast<std::uint16_t>(i);
    for (const Type type : {Type::bf16, Type::f16}) {
      for (const float factor : {1.0F, 0.18033688F}) {
        for (const int width : {kChannels, kStrip}) {
          kernels->expand(type, width, narrow.data(), 0x10000, factor, wide.floats());
          int wrong = 0;
          for (int i = 0; i < 0x10000; ++i) {
            const int pair = pair_of(type), row = i / pair / width * pair + i % pair, column = i / pair % width;
            const float expected = (type == Type::bf16 ? to_float(bf16{bits[i]}) : to_float(f16{bits[i]})) * factor;
            const float found = wide.floats()[row * width + column];
            wrong += std::isnan(expected) ? !std::isnan(found)
                                          : std::bit_cast<std::uint32_t>(found) != std::bit_cast<std::uint32_t>(expected);
          }
          INFO(kernels->name << ", " << to_string(type) << ", width " << width);
          CHECK(wrong == 0);
        }
      }
    }
    const float source[kStrip] = {0, -0.0F, 1, -2, 3, 1e-40F, 7, 8};
    const Buffer in(64), out(64);
    std::copy_n(source, kStrip, in.floats());
    kernels->expand(Type::f32, kStrip, in.data(), kStrip, 3, out.floats());
    for (int i = 0; i < kStrip; ++i) CHECK(out.floats()[i] == source[i] * 3);
  }
}

TEST_CASE("the peak loop of every instruction set runs and is plausible") {
  for (const KernelTable* kernels : available_kernels()) {
    const double flops = kernels->peak_flops(0.01);
    INFO(kernels->name << ": " << flops * 1e-9 << " GFLOP/s");
    CHECK(flops > 1e8);
    CHECK(flops < 2e12);
    CHECK((kernels->pairs_peak_flops == nullptr) == (kernels->attend_pairs == nullptr));
    const double of_pairs = peak_flops(*kernels, Type::bf16, 0.01);
    CHECK(of_pairs > 1e8);
    CHECK(of_pairs < 4e12);
  }
}

TEST_CASE("the clock of a core is that of a processor, however long it is measured") {
  for (const double seconds : {0.0, 1e-4, 5e-3}) {
    const double hertz = clock_hertz(seconds);
    INFO(hertz * 1e-9 << " GHz in " << seconds << " s");
    CHECK(hertz > 1e8);
    CHECK(hertz < 1e10);
  }
}

}  // namespace gyre::testing
