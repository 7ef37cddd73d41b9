/* ALiBi, learned sink logits, dropout and rotary positions, from C99 over MPI. Exit status 1 if a sentence is false on any rank. */
#include <mpi.h>

#include "case.h"

/* What a weight becomes that the softmax of one row gives to a key: scores with ALiBi's slopes of 4 heads, 2^-2 to 2^-8. */
static double biased_score(int64_t token, int64_t key, int head) {
  double score = 0;
  int channel;
  for (channel = 0; channel < DIM; ++channel) score += element(0, token, head, channel) * element(1, key, head / 2, channel);
  return score / sqrt(DIM) - pow(2, -2 * (head + 1)) * (double)(token - key);
}

static const float kSinks[HEADS] = {0.5F, -1.25F, 3.0F, 0.0F};

/* One row with ALiBi and sinks by the definition: its output, and what it adds to the gradient of its head's sink. */
static double sink_reference(int64_t token, int head, double* out) {
  double sum = exp(kSinks[head]), product = 0;
  int64_t key;
  int channel;
  memset(out, 0, sizeof(double) * VALUE_DIM);
  for (key = 0; key <= token; ++key) {
    const double weight = exp(biased_score(token, key, head));
    sum += weight;
    for (channel = 0; channel < VALUE_DIM; ++channel) out[channel] += weight * element(2, key, head / 2, channel);
  }
  for (channel = 0; channel < VALUE_DIM; ++channel) {
    out[channel] /= sum;
    product += out[channel] * element(3, token, head, channel);
  }
  return -exp(kSinks[head]) / sum * product;
}

static void compare_sinks(const gyre_operands* operands, rows held, const float* grad_sinks) {
  double worst = 0, expected[HEADS] = {0}, out[VALUE_DIM];
  int64_t row, token;
  int head, channel;
  for (row = 0; row < held.tokens; ++row) {
    for (head = 0; head < HEADS; ++head) {
      const float* got = (const float*)operands->out.data + (row * HEADS + head) * VALUE_DIM;
      sink_reference(held.token[row], head, out);
      for (channel = 0; channel < VALUE_DIM; ++channel) worst = fmax(worst, fabs(got[channel] - out[channel]));
    }
  }
  check(worst < 3e-6, "forward with ALiBi and sinks gives what the definition gives");
  worst = 0;
  for (head = 0; head < HEADS; ++head) {
    for (token = 0; token < TOKENS; ++token) expected[head] += sink_reference(token, head, out);
    worst = fmax(worst, fabs(grad_sinks[head] - expected[head]));
  }
  check(worst < 2e-5, "every rank has the gradients of the sinks of all ranks' rows");
}

static gyre_gradient_operands gradients_of(const gyre_operands* forward, rows queries) {
  gyre_gradient_operands operands;
  rows keys = {forward->keys.tokens, NULL};
  memset(&operands, 0, sizeof operands);
  operands.size = sizeof operands;
  operands.queries = forward->queries, operands.keys = forward->keys, operands.values = forward->values,
  operands.out = forward->out;
  operands.lse = forward->lse, operands.sinks = forward->sinks;
  operands.grad_out = tensor_of(queries, HEADS, VALUE_DIM);
  fill(operands.grad_out, queries, 3);
  operands.grad_queries = tensor_of(queries, HEADS, DIM);
  operands.grad_keys = tensor_of(keys, KEY_HEADS, DIM), operands.grad_values = tensor_of(keys, KEY_HEADS, VALUE_DIM);
  return operands;
}

static void release_gradients(gyre_gradient_operands* operands) {
  free(operands->grad_out.data), free(operands->grad_queries.data);
  free(operands->grad_keys.data), free(operands->grad_values.data);
}

static void test_alibi_and_sinks(gyre_communicator* communicator) {
  gyre_problem problem = problem_of();
  gyre_options options;
  gyre_attention* attention = NULL;
  gyre_operands forward;
  gyre_gradient_operands backward;
  float grad_sinks[HEADS];
  rows queries;
  problem.alibi = problem.sinks = 1;
  gyre_options_init(&options, sizeof options);
  options.backward = "auto";
  check(gyre_attention_create(communicator, &problem, &options, &attention) == GYRE_OK,
        "an attention with ALiBi and sinks is made");
  if (attention == NULL) return;
  forward = operands_of(attention, &queries);
  check(gyre_forward(attention, &forward, NULL) == GYRE_INVALID_ARGUMENT && said("sinks is null; give a logit for each of the 4"),
        "sinks that are not given are asked for");
  forward.sinks = kSinks;
  check(gyre_forward(attention, &forward, NULL) == GYRE_OK, "forward succeeds with sinks");
  backward = gradients_of(&forward, queries);
  check(gyre_backward(attention, &backward, NULL) == GYRE_INVALID_ARGUMENT && said("grad_sinks is null"),
        "room for gradients of sinks is asked for");
  backward.grad_sinks = grad_sinks;
  check(gyre_backward(attention, &backward, NULL) == GYRE_OK, "backward succeeds with sinks");
  compare_sinks(&forward, queries, grad_sinks);
  release_gradients(&backward), release(&forward, &queries);
  gyre_attention_free(attention);
}

/* Rows of a rank against those of a process alone, which has them all: dropout leaves out the same pairs. */
static void test_dropout(gyre_communicator* communicator) {
  gyre_problem problem = problem_of();
  gyre_communicator* one = NULL;
  gyre_attention *together = NULL, *alone = NULL;
  gyre_operands mine, all;
  rows held, every;
  double worst = 0, kept = 0, out[VALUE_DIM];
  int64_t row;
  int index;
  problem.dropout = 0.25, problem.dropout_seed = 77;
  gyre_communicator_self(&one);
  check(gyre_attention_create(communicator, &problem, NULL, &together) == GYRE_OK &&
            gyre_attention_create(one, &problem, NULL, &alone) == GYRE_OK,
        "attentions with dropout are made");
  if (together == NULL || alone == NULL) return;
  mine = operands_of(together, &held), all = operands_of(alone, &every);
  check(gyre_forward(together, &mine, NULL) == GYRE_OK && gyre_forward(alone, &all, NULL) == GYRE_OK, "forward drops weights");
  for (row = 0; row < held.tokens; ++row)
    for (index = 0; index < HEADS * VALUE_DIM; ++index) {
      const float* right = (const float*)all.out.data + held.token[row] * HEADS * VALUE_DIM;
      worst = fmax(worst, fabs(((const float*)mine.out.data)[row * HEADS * VALUE_DIM + index] - right[index]));
    }
  check(worst < 3e-6, "the same pairs are dropped as by one rank");
  reference(TOKENS - 1, 0, out);
  for (index = 0; index < VALUE_DIM; ++index)
    kept = fmax(kept, fabs(((const float*)all.out.data)[(TOKENS - 1) * HEADS * VALUE_DIM + index] - out[index]));
  check(kept > 1e-3, "and some are");
  release(&mine, &held), release(&all, &every);
  gyre_attention_free(together), gyre_attention_free(alone), gyre_communicator_free(one);
}

/* How far apart dual chunk attention takes tokens to be; chunk 50, local window 10. */
static int64_t dual_chunk_apart(int64_t token, int64_t key) {
  const int64_t chunks = token / 40 - key / 40, at = token % 40;
  return (chunks == 0 ? at : chunks == 1 ? (at + 40 < 50 ? at + 40 : 50) : 50) - key % 40;
}

/* A score of rows whose pairs (2k, 2k + 1), of the first 6 channels, are rotated by where they stand: what that is of, is how far
   apart they are. */
static double rotary_score(int64_t token, int64_t key, int head, int64_t apart) {
  double score = 0;
  int channel, pair;
  for (pair = 0; pair < 3; ++pair) {
    const double angle = (double)apart * pow(100, -2.0 * pair / 6);
    const double qx = element(0, token, head, 2 * pair), qy = element(0, token, head, 2 * pair + 1);
    const double kx = element(1, key, head / 2, 2 * pair), ky = element(1, key, head / 2, 2 * pair + 1);
    score += (qx * kx + qy * ky) * cos(angle) - (qy * kx - qx * ky) * sin(angle);
  }
  for (channel = 6; channel < DIM; ++channel) score += element(0, token, head, channel) * element(1, key, head / 2, channel);
  return score / sqrt(DIM);
}

static void test_rotary_positions(gyre_communicator* communicator, int dual_chunk) {
  gyre_problem problem = problem_of();
  gyre_attention* attention = NULL;
  gyre_operands operands;
  rows held;
  double worst = 0;
  int64_t row, key;
  int head, channel;
  problem.rope_base = 100, problem.rope_layout = GYRE_ROPE_INTERLEAVED, problem.rope_dims = 6;
  if (dual_chunk) problem.dual_chunk = 50, problem.dual_chunk_local = 10;
  check(gyre_attention_create(communicator, &problem, NULL, &attention) == GYRE_OK, "an attention with rotary positions is made");
  if (attention == NULL) return;
  operands = operands_of(attention, &held);
  check(gyre_forward(attention, &operands, NULL) == GYRE_OK, "forward succeeds with rotary positions");
  for (row = 0; row < held.tokens; ++row) {
    for (head = 0; head < HEADS; ++head) {
      double sum = 0, out[VALUE_DIM] = {0};
      const float* got = (const float*)operands.out.data + (row * HEADS + head) * VALUE_DIM;
      for (key = 0; key <= held.token[row]; ++key) {
        const double weight = exp(
            rotary_score(held.token[row], key, head, dual_chunk ? dual_chunk_apart(held.token[row], key) : held.token[row] - key));
        sum += weight;
        for (channel = 0; channel < VALUE_DIM; ++channel) out[channel] += weight * element(2, key, head / 2, channel);
      }
      for (channel = 0; channel < VALUE_DIM; ++channel) worst = fmax(worst, fabs(got[channel] - out[channel] / sum));
    }
  }
  check(worst < 3e-6, "forward with rotary positions gives what the definition gives");
  release(&operands, &held);
  gyre_attention_free(attention);
}

static void test_wrong_positions(gyre_communicator* communicator) {
  gyre_problem problem = problem_of();
  gyre_attention* attention = NULL;
  problem.rope_dims = 4;
  check(gyre_attention_create(communicator, &problem, NULL, &attention) == GYRE_INVALID_ARGUMENT && said("rope_base is 0"),
        "dims of rotary positions that are not there are refused");
  problem.rope_base = 10000, problem.rope_dims = 5;
  check(gyre_attention_create(communicator, &problem, NULL, &attention) == GYRE_INVALID_ARGUMENT && said("5 dims"),
        "an odd number of dims is refused");
  problem.dual_chunk_local = 5;
  check(gyre_attention_create(communicator, &problem, NULL, &attention) == GYRE_INVALID_ARGUMENT && said("dual_chunk is 0"),
        "a local window without a chunk is refused");
  problem.dual_chunk_local = 0;
  problem.rope_dims = 0, problem.rope_scale = 2;
  check(gyre_attention_create(communicator, &problem, NULL, &attention) == GYRE_INVALID_ARGUMENT && said("rope_scaling"),
        "a scale of nothing is refused");
  problem.rope_scaling = GYRE_ROPE_YARN;
  check(gyre_attention_create(communicator, &problem, NULL, &attention) == GYRE_INVALID_ARGUMENT && said("original length is 0"),
        "YaRN without an original length is refused");
  problem.rope_scaling = GYRE_ROPE_LINEAR, problem.rope_original = 7;
  check(gyre_attention_create(communicator, &problem, NULL, &attention) == GYRE_INVALID_ARGUMENT && said("of YaRN alone"),
        "an original length of another scaling is refused");
}

static void test_wrong_scores(gyre_communicator* communicator) {
  gyre_problem problem = problem_of();
  gyre_attention* attention = NULL;
  problem.alibi = 2;
  check(gyre_attention_create(communicator, &problem, NULL, &attention) == GYRE_INVALID_ARGUMENT && said("gyre_problem.alibi is 2"),
        "a flag that is neither 0 nor 1 is refused");
  problem = problem_of();
  problem.dropout = rank == ranks - 1 ? 1.5 : 0.5;
  check(gyre_attention_create(communicator, &problem, NULL, &attention) == GYRE_INVALID_ARGUMENT && said("dropout is 1.5"),
        "a probability of one rank that is none is refused on every rank");
  problem.dropout = 0, problem.dropout_seed = 3;
  check(gyre_attention_create(communicator, &problem, NULL, &attention) == GYRE_INVALID_ARGUMENT && said("dropout_seed is 3"),
        "a seed of nothing is refused");
}

int main(int argc, char** argv) {
  gyre_communicator* communicator = NULL;
  int worst = 0;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  check(gyre_communicator_mpi((int32_t)MPI_Comm_c2f(MPI_COMM_WORLD), &communicator) == GYRE_OK, "a communicator is taken");
  test_alibi_and_sinks(communicator);
  test_dropout(communicator);
  test_rotary_positions(communicator, 0);
  test_rotary_positions(communicator, 1);
  test_wrong_positions(communicator);
  test_wrong_scores(communicator);
  gyre_communicator_free(communicator);
  MPI_Allreduce(&failures, &worst, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  MPI_Finalize();
  if (rank == 0 && worst == 0) printf("gyre %s: all of it is true on %d ranks\n", gyre_version(), ranks);
  return worst == 0 ? 0 : 1;
}
