// Few query rows, as in decoding: where the sums of one unit and what rows have accumulated lie while their keys are gone through.
//
// Partials have rows in lanes; here a row's channels lie side by side, as the kernels for few rows make them. Both pieces begin
// with statistics of 16 rows each:
//
//   sums of a unit  maximum [16], sum [16], unused [16], numerator [rows][channels to 16]
//   total of rows   maximum [16], sum [16], what its additions lost [16],
//                   then numerator and what its additions lost [rows][2][channels to 16]
#pragma once

#include <cstdint>

#include "kernels/cell.hpp"

namespace gyre {

/// Rows that the kernels for few rows take: one strip's.
inline constexpr int kMostFewRows = kStrip;

inline constexpr int kFewStatistics = 3 * kStrip;  // floats before the numerators

/// Floats from one row's channels to the next one's. value_dim: rounded up to kChannels or not.
constexpr int few_stride(int value_dim) {
  return (value_dim + kStrip - 1) / kStrip * kStrip;
}
constexpr int few_sums_floats(int value_dim) {
  return kFewStatistics + kMostFewRows * few_stride(value_dim);
}
constexpr int few_total_floats(int value_dim) {
  return kFewStatistics + 2 * kMostFewRows * few_stride(value_dim);
}

/// A total from the first rows of a strip's partial, and back. value_dim: rounded up to kChannels.
void take_few(const float* partial, int rows, int value_dim, float* total);
void give_few(const float* total, int rows, int value_dim, float* partial);

}  // namespace gyre
