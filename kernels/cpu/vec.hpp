// Vectors of fp32, one type per instruction set, with the few operations that the body of attend needs.
//
//   kLanes   query rows in one vector
//   kRegisters that the instruction set has
//   kStrips  strips of 16 rows in a block: whole register blocks
//   kVectors vectors of rows that the register block is wide
//   kKeys    keys that the register block of the scores is high
//   kRows    value channels that the register block of the products is high
//   kPair    elements in a 32-bit word of what is multiplied: `multiply` adds their products, `words` rounds fp32 to them
//   add_product  sum = multiply(a, b, sum), in a register block that takes all registers
//   evens, odds  of each piece of four lanes the two even (odd) ones of a, then those of b
//   halves       two rows of kChannels floats in one vector that holds both
//   store_words  neighbouring lanes, rounded to words
//   narrow, interleave  two vectors rounded to halves of words one behind the other; halves of two vectors to words
//   Integers     of 32 bits, in as many lanes; `folded` is x ^ x >> Bits
//   kTellsApart   a block one vector wide (and 8 high) is nearly as fast: where vectors see different panels of keys, each goes
//   alone
//   kScalesNormal where `scale` is slow there is `scale_normal`, for results that are normal numbers
//
// A register block has kRows * kVectors accumulators. Two multiply-add pipes of latency 4 want at least 8, and each
// accumulator costs 1 / kRows + 1 / kVectors loads a multiply-add, of which two pipes can feed two.
//
// Everything here has internal linkage: this file is compiled with different instruction sets enabled, and a function shared
// between them would run where it must not. For the same reason nothing from the standard library is called in this folder.
#pragma once

#include <cstdint>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define GYRE_INLINE [[gnu::always_inline]] static inline
#define GYRE_INLINE_MEMBER [[gnu::always_inline]] inline
#define GYRE_UNROLL _Pragma("GCC unroll 32")

namespace gyre {
namespace {

/// The compiler prefers other values for registers.
template <class T>
GYRE_INLINE void keep_in_memory(T& x) {
  asm volatile("" : "+m"(x));
}

/// 2^exponent is 0 beside every number in [0.5, 2) from here down; a clamp for those who build exponents from bits.
[[maybe_unused]] constexpr float kLeastExponent = -200.0F;

#if defined(__AVX512F__) && defined(__AVX512DQ__)
struct Avx512 {
  using Vector = __m512;
  using Mask = __mmask16;
  static constexpr int kLanes = 16, kRegisters = 32, kStrips = 3, kVectors = 3, kKeys = 4, kRows = 4, kPair = 1;
  static constexpr bool kTellsApart = true, kScalesNormal = false;

  GYRE_INLINE Vector zero() { return _mm512_setzero_ps(); }
  GYRE_INLINE Vector set1(float x) { return _mm512_set1_ps(x); }
  GYRE_INLINE Vector load(const float* p) { return _mm512_load_ps(p); }
  GYRE_INLINE void store(float* p, Vector x) { _mm512_store_ps(p, x); }
  GYRE_INLINE Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  GYRE_INLINE Vector sub(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
  GYRE_INLINE Vector mul(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
  GYRE_INLINE Vector div(Vector a, Vector b) { return _mm512_div_ps(a, b); }
  GYRE_INLINE Vector min(Vector a, Vector b) { return _mm512_min_ps(a, b); }
  GYRE_INLINE Vector max(Vector a, Vector b) { return _mm512_max_ps(a, b); }
  GYRE_INLINE Vector abs(Vector x) { return _mm512_abs_ps(x); }
  GYRE_INLINE Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  GYRE_INLINE Vector multiply(Vector a, Vector b, Vector c) { return fma(a, b, c); }
  GYRE_INLINE void add_product(Vector a, Vector b, Vector& sum) { sum = multiply(a, b, sum); }
  GYRE_INLINE Vector words(const Vector (&x)[kPair]) { return x[0]; }
  GYRE_INLINE Vector round(Vector x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  GYRE_INLINE Vector scale(Vector x, Vector exponent) { return _mm512_scalef_ps(x, exponent); }
  GYRE_INLINE Mask lanes(std::uint64_t bits) { return static_cast<Mask>(bits); }
  GYRE_INLINE Mask greater(Vector a, Vector b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
  GYRE_INLINE Vector select(Mask mask, Vector a, Vector b) { return _mm512_mask_mov_ps(b, mask, a); }
  using Integers = __m512i;
  GYRE_INLINE Integers integer(std::uint32_t x) { return _mm512_set1_epi32(static_cast<int>(x)); }
  GYRE_INLINE Integers load_integers(const std::uint32_t* p) { return _mm512_load_si512(p); }
  GYRE_INLINE Integers add_integers(Integers a, Integers b) { return _mm512_add_epi32(a, b); }
  GYRE_INLINE Integers mul_integers(Integers a, Integers b) { return _mm512_mullo_epi32(a, b); }
  template <int Bits>
  GYRE_INLINE Integers folded(Integers x) {
    return _mm512_xor_si512(x, _mm512_srli_epi32(x, Bits));
  }
  GYRE_INLINE Mask below(Integers x, std::int32_t limit) { return _mm512_cmplt_epi32_mask(x, _mm512_set1_epi32(limit)); }
  GYRE_INLINE Vector evens(Vector a, Vector b) { return _mm512_shuffle_ps(a, b, 0x88); }
  GYRE_INLINE Vector odds(Vector a, Vector b) { return _mm512_shuffle_ps(a, b, 0xdd); }
  GYRE_INLINE Vector halves(const float* low, const float* high) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_load_ps(low)), _mm256_load_ps(high), 1);
  }
  GYRE_INLINE void store_words(float* words, Vector x) { store(words, x); }
  /// Rows to columns: of four by four pieces, then of four by four of those.
  GYRE_INLINE void transpose(Vector (&square)[kLanes]) {
    Vector piece[kLanes];
    GYRE_UNROLL for (int i = 0; i < kLanes; i += 4) {
      const __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(square[i], square[i + 1]));
      const __m512d b = _mm512_castps_pd(_mm512_unpackhi_ps(square[i], square[i + 1]));
      const __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(square[i + 2], square[i + 3]));
      const __m512d d = _mm512_castps_pd(_mm512_unpackhi_ps(square[i + 2], square[i + 3]));
      piece[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c)), piece[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
      piece[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d)), piece[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
    GYRE_UNROLL for (int i = 0; i < 4; ++i) {
      const Vector a = _mm512_shuffle_f32x4(piece[i], piece[i + 4], 0x44), b = _mm512_shuffle_f32x4(piece[i], piece[i + 4], 0xee);
      const Vector c = _mm512_shuffle_f32x4(piece[i + 8], piece[i + 12], 0x44);
      const Vector d = _mm512_shuffle_f32x4(piece[i + 8], piece[i + 12], 0xee);
      square[i] = _mm512_shuffle_f32x4(a, c, 0x88), square[i + 4] = _mm512_shuffle_f32x4(a, c, 0xdd);
      square[i + 8] = _mm512_shuffle_f32x4(b, d, 0x88), square[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
    }
  }
};
#endif

#if defined(__AVX512BF16__)
/// Multiplies pairs of bf16: a vector holds 16 words of two.
struct Avx512Bf16 : Avx512 {
  static constexpr int kPair = 2;

  /// c + a[0] b[0] + a[1] b[1] in every lane. Denormal inputs count as 0.
  GYRE_INLINE Vector multiply(Vector a, Vector b, Vector c) {
    return _mm512_dpbf16_ps(c, (__m512bh)_mm512_castps_si512(a), (__m512bh)_mm512_castps_si512(b));
  }
  GYRE_INLINE void add_product(Vector a, Vector b, Vector& sum) { sum = multiply(a, b, sum); }
  /// Rounds two vectors to words.
  GYRE_INLINE Vector words(const Vector (&x)[kPair]) {
    alignas(64) static const std::uint16_t kOrder[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                         8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(_mm512_load_si512(kOrder), (__m512i)_mm512_cvtne2ps_pbh(x[1], x[0])));
  }
  /// Rounds two vectors to neighbouring halves of words: the first one's lanes, then the second one's.
  GYRE_INLINE Vector narrow(const Vector (&x)[kPair]) { return _mm512_castsi512_ps((__m512i)_mm512_cvtne2ps_pbh(x[1], x[0])); }
  /// Of two vectors' halves, one by one, makes words: `a` gets those of the lower halves.
  GYRE_INLINE void interleave(Vector& a, Vector& b) {
    alignas(64) static const std::uint16_t kLow[32] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                                       8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
    alignas(64) static const std::uint16_t kHigh[32] = {16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55,
                                                        24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63};
    const __m512i left = _mm512_castps_si512(a), right = _mm512_castps_si512(b);
    a = _mm512_castsi512_ps(_mm512_permutex2var_epi16(left, _mm512_load_si512(kLow), right));
    b = _mm512_castsi512_ps(_mm512_permutex2var_epi16(left, _mm512_load_si512(kHigh), right));
  }
  /// Neighbouring lanes become words.
  GYRE_INLINE void store_words(float* words, Vector x) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(words), (__m256i)_mm512_cvtneps_pbh(x));
  }
};
#endif

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
struct Avx2 {
  using Vector = __m256;
  using Mask = __m256;
  static constexpr int kLanes = 8, kRegisters = 16, kStrips = 3, kVectors = 3, kKeys = 4, kRows = 4, kPair = 1;
  static constexpr bool kTellsApart = false, kScalesNormal = true;

  GYRE_INLINE Vector zero() { return _mm256_setzero_ps(); }
  GYRE_INLINE Vector set1(float x) { return _mm256_set1_ps(x); }
  GYRE_INLINE Vector load(const float* p) { return _mm256_load_ps(p); }
  GYRE_INLINE void store(float* p, Vector x) { _mm256_store_ps(p, x); }
  GYRE_INLINE Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  GYRE_INLINE Vector sub(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
  GYRE_INLINE Vector mul(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
  GYRE_INLINE Vector div(Vector a, Vector b) { return _mm256_div_ps(a, b); }
  GYRE_INLINE Vector min(Vector a, Vector b) { return _mm256_min_ps(a, b); }
  GYRE_INLINE Vector max(Vector a, Vector b) { return _mm256_max_ps(a, b); }
  GYRE_INLINE Vector abs(Vector x) { return _mm256_andnot_ps(set1(-0.0F), x); }
  GYRE_INLINE Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
  GYRE_INLINE Vector multiply(Vector a, Vector b, Vector c) { return fma(a, b, c); }
  /// Never into the register of a or b: the compiler would do so, and have sums change places from turn to turn of a loop by way of
  /// memory, where they take all registers but those of a and b.
  GYRE_INLINE void add_product(Vector a, Vector b, Vector& sum) { asm("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b)); }
  GYRE_INLINE Vector words(const Vector (&x)[kPair]) { return x[0]; }
  GYRE_INLINE Vector round(Vector x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  GYRE_INLINE Mask lanes(std::uint64_t bits) {
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i word = _mm256_set1_epi32(static_cast<int>(bits & 0xff));
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(word, bit), bit));
  }
  GYRE_INLINE Mask greater(Vector a, Vector b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
  GYRE_INLINE Vector select(Mask mask, Vector a, Vector b) { return _mm256_blendv_ps(b, a, mask); }
  using Integers = __m256i;
  GYRE_INLINE Integers integer(std::uint32_t x) { return _mm256_set1_epi32(static_cast<int>(x)); }
  GYRE_INLINE Integers load_integers(const std::uint32_t* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }
  GYRE_INLINE Integers add_integers(Integers a, Integers b) { return _mm256_add_epi32(a, b); }
  GYRE_INLINE Integers mul_integers(Integers a, Integers b) { return _mm256_mullo_epi32(a, b); }
  template <int Bits>
  GYRE_INLINE Integers folded(Integers x) {
    return _mm256_xor_si256(x, _mm256_srli_epi32(x, Bits));
  }
  GYRE_INLINE Mask below(Integers x, std::int32_t limit) {
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(limit), x));
  }
  GYRE_INLINE Vector evens(Vector a, Vector b) { return _mm256_shuffle_ps(a, b, 0x88); }
  GYRE_INLINE Vector odds(Vector a, Vector b) { return _mm256_shuffle_ps(a, b, 0xdd); }
  GYRE_INLINE void store_words(float* words, Vector x) { store(words, x); }
  /// As Avx512::transpose.
  GYRE_INLINE void transpose(Vector (&square)[kLanes]) {
    Vector piece[kLanes];
    GYRE_UNROLL for (int i = 0; i < kLanes; i += 4) {
      const __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(square[i], square[i + 1]));
      const __m256d b = _mm256_castps_pd(_mm256_unpackhi_ps(square[i], square[i + 1]));
      const __m256d c = _mm256_castps_pd(_mm256_unpacklo_ps(square[i + 2], square[i + 3]));
      const __m256d d = _mm256_castps_pd(_mm256_unpackhi_ps(square[i + 2], square[i + 3]));
      piece[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c)), piece[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
      piece[i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(b, d)), piece[i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(b, d));
    }
    GYRE_UNROLL for (int i = 0; i < 4; ++i) {
      square[i] = _mm256_permute2f128_ps(piece[i], piece[i + 4], 0x20);
      square[i + 4] = _mm256_permute2f128_ps(piece[i], piece[i + 4], 0x31);
    }
  }
  GYRE_INLINE Vector low_half(Vector words) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(words), 16)); }
  GYRE_INLINE Vector high_half(Vector words) {
    return _mm256_and_ps(words, _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(0xffff0000U))));
  }
  GYRE_INLINE Vector widen_f16(const void* p) { return _mm256_cvtph_ps(_mm_load_si128(static_cast<const __m128i*>(p))); }

  /// In two steps, of which the first is exact (half the exponent keeps x normal), so that a denormal result is rounded once.
  GYRE_INLINE Vector scale(Vector x, Vector exponent) {
    const __m256i whole = _mm256_cvtps_epi32(_mm256_max_ps(exponent, set1(kLeastExponent)));
    const __m256i half = _mm256_srai_epi32(whole, 1);
    return _mm256_mul_ps(_mm256_mul_ps(x, power(half)), power(_mm256_sub_epi32(whole, half)));
  }
  GYRE_INLINE Vector scale_normal(Vector x, Vector exponent) {
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(_mm256_cvtps_epi32(exponent), 23)));
  }
  GYRE_INLINE bool all_greater(Vector a, Vector b) { return _mm256_movemask_ps(greater(a, b)) == 0xff; }
  GYRE_INLINE Vector power(__m256i exponent) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(exponent, _mm256_set1_epi32(127)), 23));
  }
};
#endif

/// Four lanes in the compilers' vector extension: SSE2 on x86-64, NEON on 64-bit ARM, scalar code anywhere else. `fma` here rounds
/// twice, so the bits differ from those of the other instruction sets (the bounds hold all the same).
struct Portable {
  typedef float Vector __attribute__((vector_size(16)));
  typedef std::int32_t Mask __attribute__((vector_size(16)));
  static constexpr int kLanes = 4, kRegisters = 16, kStrips = 1, kVectors = 4, kKeys = 2, kRows = 2, kPair = 1;
  static constexpr bool kTellsApart = false, kScalesNormal = false;

  GYRE_INLINE Vector zero() { return Vector{}; }
  GYRE_INLINE Vector set1(float x) { return Vector{x, x, x, x}; }
  GYRE_INLINE Vector load(const float* p) { return *reinterpret_cast<const Vector*>(p); }
  GYRE_INLINE void store(float* p, Vector x) { *reinterpret_cast<Vector*>(p) = x; }
  GYRE_INLINE Vector add(Vector a, Vector b) { return a + b; }
  GYRE_INLINE Vector sub(Vector a, Vector b) { return a - b; }
  GYRE_INLINE Vector mul(Vector a, Vector b) { return a * b; }
  GYRE_INLINE Vector div(Vector a, Vector b) { return a / b; }
  GYRE_INLINE Vector min(Vector a, Vector b) { return a < b ? a : b; }
  GYRE_INLINE Vector max(Vector a, Vector b) { return a > b ? a : b; }
  GYRE_INLINE Vector abs(Vector x) { return (Vector)((Mask)x & 0x7fffffff); }
  GYRE_INLINE Vector fma(Vector a, Vector b, Vector c) { return a * b + c; }
  GYRE_INLINE Vector multiply(Vector a, Vector b, Vector c) { return fma(a, b, c); }
  GYRE_INLINE void add_product(Vector a, Vector b, Vector& sum) { sum = multiply(a, b, sum); }
  GYRE_INLINE Vector words(const Vector (&x)[kPair]) { return x[0]; }
  GYRE_INLINE Mask lanes(std::uint64_t bits) {
    const Mask bit{1, 2, 4, 8};
    const auto word = static_cast<std::int32_t>(bits & 0xf);
    return (Mask{word, word, word, word} & bit) == bit;
  }
  GYRE_INLINE Mask greater(Vector a, Vector b) { return a > b; }
  GYRE_INLINE Vector select(Mask mask, Vector a, Vector b) { return mask ? a : b; }
  typedef std::uint32_t Integers __attribute__((vector_size(16)));
  GYRE_INLINE Integers integer(std::uint32_t x) { return Integers{x, x, x, x}; }
  GYRE_INLINE Integers load_integers(const std::uint32_t* p) { return *reinterpret_cast<const Integers*>(p); }
  GYRE_INLINE Integers add_integers(Integers a, Integers b) { return a + b; }
  GYRE_INLINE Integers mul_integers(Integers a, Integers b) { return a * b; }
  template <int Bits>
  GYRE_INLINE Integers folded(Integers x) {
    return x ^ x >> Bits;
  }
  GYRE_INLINE Mask below(Integers x, std::int32_t limit) { return (Mask)x < limit; }
  GYRE_INLINE Vector evens(Vector a, Vector b) { return __builtin_shufflevector(a, b, 0, 2, 4, 6); }
  GYRE_INLINE Vector odds(Vector a, Vector b) { return __builtin_shufflevector(a, b, 1, 3, 5, 7); }
  GYRE_INLINE void store_words(float* words, Vector x) { store(words, x); }
  /// Rows to columns.
  GYRE_INLINE void transpose(Vector (&square)[kLanes]) {
    const Vector a = __builtin_shufflevector(square[0], square[1], 0, 4, 1, 5);
    const Vector b = __builtin_shufflevector(square[2], square[3], 0, 4, 1, 5);
    const Vector c = __builtin_shufflevector(square[0], square[1], 2, 6, 3, 7);
    const Vector d = __builtin_shufflevector(square[2], square[3], 2, 6, 3, 7);
    square[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5), square[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
    square[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5), square[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
  }

  GYRE_INLINE Mask widen(const void* p) {
    typedef std::uint16_t Halves __attribute__((vector_size(8)));
    return __builtin_convertvector(*static_cast<const Halves*>(p), Mask);
  }
  GYRE_INLINE Vector low_half(Vector words) { return (Vector)((Mask)words << 16); }
  GYRE_INLINE Vector high_half(Vector words) { return (Vector)((Mask)words & static_cast<std::int32_t>(0xffff0000U)); }
  /// As to_float(f16) in kernels/convert.hpp.
  GYRE_INLINE Vector widen_f16(const void* p) {
    const Mask half = widen(p);
    const Mask magnitude = (half & 0x7fff) << 13;
    const Mask finite = (Mask)((Vector)magnitude * set1(0x1p112F));
    const Mask bits = magnitude >= (0x7c00 << 13) ? magnitude | 0x7f800000 : finite;
    return (Vector)(bits | (half & 0x8000) << 16);
  }

  /// Beside 2^23 there is no room for a fraction; from there on every number is an integer already.
  GYRE_INLINE Vector round(Vector x) {
    const Vector border = set1(0x1p23F);
    const Vector signed_border = x < zero() ? -border : border;
    const Vector rounded = (x + signed_border) - signed_border;
    return x < border && x > -border ? rounded : x;
  }
  /// As Avx2::scale.
  GYRE_INLINE Vector scale(Vector x, Vector exponent) {
    const Mask whole = __builtin_convertvector(max(exponent, set1(kLeastExponent)), Mask);
    const Mask half = whole >> 1;
    return x * power(half) * power(whole - half);
  }
  GYRE_INLINE Vector power(Mask exponent) { return (Vector)((exponent + 127) << 23); }
};

}  // namespace
}  // namespace gyre
