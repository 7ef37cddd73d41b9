// Between the caller's rows and cells: queries, keys and values in; finished rows out, of partials or of results. Rows may be of
// any type: cells hold shape.type, rounded to nearest even where that is narrower (convert.hpp). Queries and keys may be turned on
// their way by where their unit stands (rotary.hpp): rounded to fp32 then, and after that to shape.type.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cell.hpp"
#include "kernels/rotary.hpp"
#include "kernels/tensor.hpp"

namespace gyre {

/// Lays out the query cell of `tokens` tokens from row `first` on, for one key/value head (query heads head * group ...), in all
/// its forms.
void pack_query(const CellShape& shape, TypedRows queries, std::int64_t first, std::int64_t tokens, int head, std::byte* cell,
                const Turned& turned = {});

/// Lays out the key/value cell of one key/value head. Rows past the unit's end become zero. turned: keys, by the first stretch.
void pack_key_value(const CellShape& shape, TypedRows keys, TypedRows values, std::int64_t first, std::int64_t tokens, int head,
                    std::byte* cell, const Turned& turned = {});

/// The empty partial: numerator 0, sum 0, maximum kEmptyMaximum.
void clear_partial(const CellShape& shape, std::int64_t tokens, std::byte* cell);

/// Divides by the sums, each number with what its additions lost, and writes rows: out [tokens, query heads, value_dim], lse
/// [tokens, query heads] (natural logarithm; may be null). A row that saw no key: 0 and minus infinity. sinks: a logit for each
/// query head that joins the softmax with a value of 0 (gpt-oss); null: none. The sum grows by exp(sink - maximum), in float64; lse
/// has it too, and is the logit alone in a row that saw no key. So a row may be finished but once, when it has seen all its keys.
void finish_partial(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head, TypedOutRows out, float* lse,
                    std::int64_t first, const float* sinks = nullptr);

/// The same from a result (result.hpp): to the bit what finishing the partial gives that it was settled from.
void finish_result(const CellShape& shape, const std::byte* cell, std::int64_t tokens, int head, TypedOutRows out, float* lse,
                   std::int64_t first, const float* sinks = nullptr);

}  // namespace gyre
