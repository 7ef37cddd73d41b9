#include "bench/longbook/block_format.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "kernels/convert.hpp"

namespace gyre::longbook {
namespace {

using Bytes = const std::byte*;

int byte_at(Bytes from, int at) {
  return std::to_integer<int>(from[at]);
}

template <class Value>
Value value_at(Bytes from, int at) {
  Value value;
  std::memcpy(&value, from + at, sizeof(value));
  return value;
}

float half_at(Bytes from, int at) {
  return to_float(value_at<f16>(from, at));
}

void expand_f32(Bytes from, float* to) {
  *to = value_at<float>(from, 0);
}

void expand_f16(Bytes from, float* to) {
  *to = half_at(from, 0);
}

void expand_bf16(Bytes from, float* to) {
  *to = to_float(value_at<bf16>(from, 0));
}

/// Elements k and k + 16 are the halves of byte k.
void expand_q4_0(Bytes from, float* to) {
  const float scale = half_at(from, 0);
  for (int k = 0; k < 16; ++k) {
    const int pair = byte_at(from, 2 + k);
    to[k] = scale * static_cast<float>((pair & 15) - 8);
    to[k + 16] = scale * static_cast<float>((pair >> 4) - 8);
  }
}

void expand_q4_1(Bytes from, float* to) {
  const float scale = half_at(from, 0), least = half_at(from, 2);
  for (int k = 0; k < 16; ++k) {
    const int pair = byte_at(from, 4 + k);
    to[k] = scale * static_cast<float>(pair & 15) + least;
    to[k + 16] = scale * static_cast<float>(pair >> 4) + least;
  }
}

/// The fifth bit of element k is bit k of one word.
void expand_q5_0(Bytes from, float* to) {
  const float scale = half_at(from, 0);
  const auto fifth = value_at<std::uint32_t>(from, 2);
  for (int k = 0; k < 16; ++k) {
    const int pair = byte_at(from, 6 + k);
    const int low = (pair & 15) | static_cast<int>(fifth >> k & 1) << 4;
    const int high = pair >> 4 | static_cast<int>(fifth >> (k + 16) & 1) << 4;
    to[k] = scale * static_cast<float>(low - 16);
    to[k + 16] = scale * static_cast<float>(high - 16);
  }
}

void expand_q5_1(Bytes from, float* to) {
  const float scale = half_at(from, 0), least = half_at(from, 2);
  const auto fifth = value_at<std::uint32_t>(from, 4);
  for (int k = 0; k < 16; ++k) {
    const int pair = byte_at(from, 8 + k);
    const int low = (pair & 15) | static_cast<int>(fifth >> k & 1) << 4;
    const int high = pair >> 4 | static_cast<int>(fifth >> (k + 16) & 1) << 4;
    to[k] = scale * static_cast<float>(low) + least;
    to[k + 16] = scale * static_cast<float>(high) + least;
  }
}

void expand_q8_0(Bytes from, float* to) {
  const float scale = half_at(from, 0);
  for (int k = 0; k < 32; ++k) to[k] = scale * static_cast<float>(value_at<std::int8_t>(from, 2 + k));
}

/// Of run k of 32 elements, k below 8. 12 bytes hold 6 bits each: the first four scales, the first four minima, and behind them the
/// low four bits of the others, whose two high ones fill the first eight bytes.
struct ScaleAndLeast {
  float scale, least;
};
ScaleAndLeast scale_and_least(Bytes scales, int k) {
  if (k < 4) return {static_cast<float>(byte_at(scales, k) & 63), static_cast<float>(byte_at(scales, k + 4) & 63)};
  const int low = byte_at(scales, k + 4);
  return {static_cast<float>((low & 15) | byte_at(scales, k - 4) >> 6 << 4),
          static_cast<float>(low >> 4 | byte_at(scales, k) >> 6 << 4)};
}

/// Runs 2 k and 2 k + 1 of 32 elements are the low and the high halves of 32 bytes; bit r of byte e of `fifth`, where there are
/// fifth bits, is element e's of run r.
void expand_k(Bytes from, Bytes fifth, Bytes quants, float* to) {
  const float scale = half_at(from, 0), least = half_at(from, 2);
  for (int run = 0; run < 8; ++run) {
    const ScaleAndLeast of_run = scale_and_least(from + 4, run);
    const float run_scale = scale * of_run.scale, run_least = least * of_run.least;
    for (int k = 0; k < 32; ++k) {
      int quant = byte_at(quants, run / 2 * 32 + k) >> run % 2 * 4 & 15;
      if (fifth != nullptr) quant |= (byte_at(fifth, k) >> run & 1) << 4;
      to[run * 32 + k] = run_scale * static_cast<float>(quant) - run_least;
    }
  }
}

void expand_q4_k(Bytes from, float* to) {
  expand_k(from, nullptr, from + 16, to);
}

void expand_q5_k(Bytes from, float* to) {
  expand_k(from, from + 16, from + 48, to);
}

/// Two halves of 128 elements, each four runs of 32: low four bits in 64 bytes (runs 0 and 1 their low halves), high two bits in 32
/// bytes (two bits a run), a signed scale for each 16 elements.
void expand_q6_k(Bytes from, float* to) {
  const float scale = half_at(from, 208);
  for (std::ptrdiff_t half = 0; half < 2; ++half) {
    const Bytes low = from + half * 64, high = from + 128 + half * 32, scales = from + 192 + half * 8;
    for (int run = 0; run < 4; ++run) {
      for (int k = 0; k < 32; ++k) {
        const int four = byte_at(low, run % 2 * 32 + k) >> run / 2 * 4 & 15, two = byte_at(high, k) >> run * 2 & 3;
        const auto of_16 = static_cast<float>(value_at<std::int8_t>(scales, run * 2 + k / 16));
        *to++ = scale * of_16 * static_cast<float>((four | two << 4) - 32);
      }
    }
  }
}

template <auto kExpand, int kElements, int kBytes>
void each(Bytes from, std::int64_t blocks, float* to) {
  for (; blocks > 0; --blocks, from += kBytes, to += kElements) kExpand(from, to);
}

template <auto kExpand, int kElements, int kBytes>
constexpr BlockFormat format(std::uint32_t id, const char* name) {
  return {id, name, kElements, kBytes, each<kExpand, kElements, kBytes>};
}

constexpr BlockFormat kFormats[] = {
    format<expand_f32, 1, 4>(0, "F32"),        format<expand_f16, 1, 2>(1, "F16"),       format<expand_bf16, 1, 2>(30, "BF16"),
    format<expand_q4_0, 32, 18>(2, "Q4_0"),    format<expand_q4_1, 32, 20>(3, "Q4_1"),   format<expand_q5_0, 32, 22>(6, "Q5_0"),
    format<expand_q5_1, 32, 24>(7, "Q5_1"),    format<expand_q8_0, 32, 34>(8, "Q8_0"),   format<expand_q4_k, 256, 144>(12, "Q4_K"),
    format<expand_q5_k, 256, 176>(13, "Q5_K"), format<expand_q6_k, 256, 210>(14, "Q6_K")};

}  // namespace

const BlockFormat* find_block_format(std::uint32_t id) {
  const auto* const found =
      std::find_if(std::begin(kFormats), std::end(kFormats), [&](const BlockFormat& f) { return f.id == id; });
  return found == std::end(kFormats) ? nullptr : found;
}

std::string block_format_names() {
  std::string names;
  for (const BlockFormat& each_format : kFormats) names += (names.empty() ? "" : ", ") + std::string(each_format.name);
  return names;
}

}  // namespace gyre::longbook
