// Rows of native sparse attention that are neither the caller's nor a branch's: turned ones, and sums of gradients.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/mechanism/estimator.hpp"

namespace gyre {

/// Dense rows of fp32 sums, [tokens, heads, dim], at first 0.
class Sums {
 public:
  Sums(std::int64_t tokens, int heads, int dim)
      : heads_(heads), dim_(dim), tokens_(tokens), values_(static_cast<std::size_t>(tokens * heads * dim)) {}
  TypedOutRows rows() { return {values_.data(), Type::f32, tokens_, heads_, dim_}; }
  TypedRows rows() const { return {values_.data(), Type::f32, tokens_, heads_, dim_}; }
  std::vector<float>& values() { return values_; }
  /// Of the same shape. Local.
  void add(const Estimator& estimator, const Sums& other);

 private:
  int heads_, dim_;
  std::int64_t tokens_;
  std::vector<float> values_;
};

/// Rows as branches see them: the caller's or, where positions turn them, a copy that is rounded as cells are.
class TurnedRows {
 public:
  /// held: tokens of every rank. rotary: null where nothing turns them. Collective.
  TurnedRows(const Estimator& estimator, const RowMap& held, const TypedRows& given, const RotaryTable* rotary);
  TurnedRows(const TurnedRows&) = delete;
  TurnedRows& operator=(const TurnedRows&) = delete;
  const TypedRows& view() const { return view_; }

 private:
  TypedRows view_;
  std::vector<float> copy_;
};

/// Gradients into the caller's rows of these tokens, turned back where the rows have been turned, and rounded. Local.
void write_gradients(const Estimator& estimator, const Sums& sums, std::span<const Range> tokens, const RotaryTable* rotary,
                     const TypedOutRows& into);

}  // namespace gyre
