/* What the C programs of these tests share: deterministic tensors, this rank's rows of them, and sentences that are checked. */
#ifndef GYRE_TESTS_BINDINGS_CASE_H
#define GYRE_TESTS_BINDINGS_CASE_H

#include <gyre.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 203, HEADS = 4, KEY_HEADS = 2, DIM = 8, VALUE_DIM = 6 };

static int failures = 0, rank = 0, ranks = 0;

static inline void check(int holds, const char* sentence) {
  if (holds) return;
  ++failures;
  fprintf(stderr, "rank %d of %d: not true: %s (last error: %s)\n", rank, ranks, sentence, gyre_last_error());
}

static inline int said(const char* part) {
  return strstr(gyre_last_error(), part) != NULL;
}

/* Any deterministic tensors do; 0 queries, 1 keys, 2 values, 3 the gradient of the output. */
static inline double element(int tensor, int64_t token, int head, int channel) {
  return (float)(1.5 * sin(101.0 * tensor + 31.0 * (double)token + 17.0 * head + 7.0 * channel));
}

typedef struct rows {
  int64_t tokens;
  int64_t* token; /* of each row */
} rows;

static inline rows rows_of(const gyre_range* ranges, size_t count) {
  rows found = {0, NULL};
  int64_t token;
  size_t index;
  found.token = malloc(sizeof(int64_t) * TOKENS);
  for (index = 0; index < count; ++index)
    for (token = ranges[index].begin; token < ranges[index].end; ++token) found.token[found.tokens++] = token;
  return found;
}

static inline gyre_tensor tensor_of(rows held, int heads, int dim) {
  gyre_tensor tensor;
  memset(&tensor, 0, sizeof tensor);
  tensor.tokens = held.tokens, tensor.heads = heads, tensor.dim = dim;
  tensor.data = calloc((size_t)(held.tokens * heads * dim + 1), sizeof(float));
  return tensor;
}

static inline void fill(gyre_tensor tensor, rows held, int which) {
  float* at = tensor.data;
  int64_t row;
  int head, channel;
  for (row = 0; row < held.tokens; ++row)
    for (head = 0; head < tensor.heads; ++head)
      for (channel = 0; channel < tensor.dim; ++channel) *at++ = (float)element(which, held.token[row], head, channel);
}

/* One row of causal attention by the definition. */
static inline double reference(int64_t token, int head, double* out) {
  const int key_head = head / (HEADS / KEY_HEADS);
  double sum = 0;
  int64_t key;
  int channel;
  memset(out, 0, sizeof(double) * VALUE_DIM);
  for (key = 0; key <= token; ++key) {
    double score = 0, weight;
    for (channel = 0; channel < DIM; ++channel) score += element(0, token, head, channel) * element(1, key, key_head, channel);
    weight = exp(score / sqrt(DIM));
    sum += weight;
    for (channel = 0; channel < VALUE_DIM; ++channel) out[channel] += weight * element(2, key, key_head, channel);
  }
  for (channel = 0; channel < VALUE_DIM; ++channel) out[channel] /= sum;
  return log(sum);
}

static inline gyre_problem problem_of(void) {
  gyre_problem problem;
  check(gyre_problem_init(&problem, sizeof problem) == GYRE_OK, "a problem has defaults");
  problem.query_tokens = problem.key_tokens = TOKENS;
  problem.query_heads = HEADS, problem.key_heads = KEY_HEADS, problem.head_dim = DIM, problem.value_dim = VALUE_DIM;
  problem.mask = "causal";
  return problem;
}

/* Operands of this rank's rows, filled. */
static inline gyre_operands operands_of(const gyre_attention* attention, rows* queries) {
  gyre_operands operands;
  size_t count = 0;
  const gyre_range* ranges = gyre_attention_query_rows(attention, &count);
  rows keys;
  *queries = rows_of(ranges, count);
  ranges = gyre_attention_key_rows(attention, &count);
  keys = rows_of(ranges, count);
  memset(&operands, 0, sizeof operands);
  operands.size = sizeof operands;
  operands.queries = tensor_of(*queries, HEADS, DIM);
  operands.keys = tensor_of(keys, KEY_HEADS, DIM);
  operands.values = tensor_of(keys, KEY_HEADS, VALUE_DIM);
  operands.out = tensor_of(*queries, HEADS, VALUE_DIM);
  operands.lse = calloc((size_t)(queries->tokens * HEADS + 1), sizeof(float));
  fill(operands.queries, *queries, 0), fill(operands.keys, keys, 1), fill(operands.values, keys, 2);
  free(keys.token);
  return operands;
}

static inline void release(gyre_operands* operands, rows* held) {
  free(operands->queries.data), free(operands->keys.data), free(operands->values.data), free(operands->out.data);
  free(operands->lse), free(held->token);
}

#endif
