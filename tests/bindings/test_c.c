/* A C99 program that calls Gyre over MPI, as a trainer would: every sentence below is checked on every rank. Exit status 1 if one
   is false. */
#include <mpi.h>

#include "case.h"

/* The log-sum-exp of every row, once. */
static double (*all_lse(void))[HEADS] {
  static double lse[TOKENS][HEADS];
  static int known = 0;
  double out[VALUE_DIM];
  int64_t token;
  int head;
  for (token = 0; token < TOKENS && !known; ++token)
    for (head = 0; head < HEADS; ++head) lse[token][head] = reference(token, head, out);
  known = 1;
  return lse;
}

static void compare(const gyre_operands* operands, rows held) {
  double worst = 0, worst_lse = 0, out[VALUE_DIM];
  int64_t row;
  int head, channel;
  for (row = 0; row < held.tokens; ++row) {
    for (head = 0; head < HEADS; ++head) {
      const double lse = reference(held.token[row], head, out);
      const float* got = (const float*)operands->out.data + (row * HEADS + head) * VALUE_DIM;
      for (channel = 0; channel < VALUE_DIM; ++channel) worst = fmax(worst, fabs(got[channel] - out[channel]));
      worst_lse = fmax(worst_lse, fabs(operands->lse[row * HEADS + head] - lse));
    }
  }
  check(worst < 3e-6 && worst_lse < 1e-5, "forward gives what the definition gives");
}

/* Gradients of the values by the definition: dV[j] = sum over rows and heads of the group of the weight of j times grad_out. */
static void compare_values(const gyre_gradient_operands* operands, rows keys) {
  double worst = 0, largest = 0;
  int64_t row, token;
  int head, channel, member;
  for (row = 0; row < keys.tokens; ++row) {
    for (head = 0; head < KEY_HEADS; ++head) {
      const float* got = (const float*)operands->grad_values.data + (row * KEY_HEADS + head) * VALUE_DIM;
      double expected[VALUE_DIM] = {0};
      for (token = keys.token[row]; token < TOKENS; ++token) {
        for (member = 0; member < HEADS / KEY_HEADS; ++member) {
          const int query_head = head * (HEADS / KEY_HEADS) + member;
          double score = 0, weight;
          for (channel = 0; channel < DIM; ++channel)
            score += element(0, token, query_head, channel) * element(1, keys.token[row], head, channel);
          weight = exp(score / sqrt(DIM) - all_lse()[token][query_head]);
          for (channel = 0; channel < VALUE_DIM; ++channel) expected[channel] += weight * element(3, token, query_head, channel);
        }
      }
      for (channel = 0; channel < VALUE_DIM; ++channel) {
        worst = fmax(worst, fabs(got[channel] - expected[channel]));
        largest = fmax(largest, fabs(expected[channel]));
      }
    }
  }
  check(worst <= 4e-6 * fmax(largest, 1), "backward gives what the definition gives");
}

/* grad_out . out = sum_j dV[j] . v[j], over all ranks: so it is for attention. And sum_i dQ[i] . q[i] = sum_j dK[j] . k[j]. */
static double dot(gyre_tensor a, gyre_tensor b) {
  double sum = 0, all = 0;
  int64_t index;
  for (index = 0; index < a.tokens * a.heads * a.dim; ++index) sum += (double)((float*)a.data)[index] * ((float*)b.data)[index];
  MPI_Allreduce(&sum, &all, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
  return all;
}

static void test_backward(gyre_communicator* communicator, const char* travels) {
  const gyre_problem problem = problem_of();
  gyre_options options;
  gyre_attention* attention = NULL;
  gyre_call_time time;
  gyre_operands forward;
  gyre_gradient_operands operands;
  rows queries, keys;
  size_t count;
  const gyre_range* ranges;
  gyre_options_init(&options, sizeof options);
  options.backward = travels, options.partition = "zigzag", options.strategy = "ring";
  check(gyre_attention_create(communicator, &problem, &options, &attention) == GYRE_OK, "an attention with gradients is made");
  if (attention == NULL) return;
  forward = operands_of(attention, &queries);
  check(gyre_forward(attention, &forward, NULL) == GYRE_OK, "forward succeeds where gradients can be asked for");
  ranges = gyre_attention_key_rows(attention, &count);
  keys = rows_of(ranges, count);
  memset(&operands, 0, sizeof operands);
  operands.size = sizeof operands;
  operands.queries = forward.queries, operands.keys = forward.keys, operands.values = forward.values, operands.out = forward.out;
  operands.lse = forward.lse;
  operands.grad_out = tensor_of(queries, HEADS, VALUE_DIM);
  fill(operands.grad_out, queries, 3);
  operands.grad_queries = tensor_of(queries, HEADS, DIM);
  operands.grad_keys = tensor_of(keys, KEY_HEADS, DIM), operands.grad_values = tensor_of(keys, KEY_HEADS, VALUE_DIM);
  time.size = sizeof time;
  check(gyre_backward(attention, &operands, &time) == GYRE_OK && time.total_seconds > 0, "backward succeeds and says what it took");
  compare_values(&operands, keys);
  check(fabs(dot(operands.grad_out, operands.out) - dot(operands.grad_values, operands.values)) < 1e-3,
        "gradients of values and the output have the same product");
  check(fabs(dot(operands.grad_queries, operands.queries) - dot(operands.grad_keys, operands.keys)) < 1e-3 &&
            fabs(dot(operands.grad_queries, operands.grad_queries)) > 1,
        "gradients of queries and keys have the same product");
  if (rank == ranks - 1) operands.grad_keys.dim += 1;
  check(gyre_backward(attention, &operands, NULL) == GYRE_INVALID_ARGUMENT && said("keys"),
        "a gradient that one rank has of the wrong shape is refused on every rank");
  free(operands.grad_out.data), free(operands.grad_queries.data), free(operands.grad_keys.data), free(operands.grad_values.data);
  free(keys.token);
  release(&forward, &queries);
  gyre_attention_free(attention);
}

static void test_forward(gyre_communicator* communicator, const gyre_options* options) {
  const gyre_problem problem = problem_of();
  gyre_attention* attention = NULL;
  gyre_call_time time;
  gyre_description description;
  gyre_operands operands;
  rows held;
  int call;
  time.size = sizeof time, description.size = sizeof description;
  check(gyre_attention_create(communicator, &problem, options, &attention) == GYRE_OK, "an attention is made");
  if (attention == NULL) return;
  operands = operands_of(attention, &held);
  for (call = 0; call < 2; ++call) {
    memset(operands.out.data, 255, sizeof(float) * (size_t)(held.tokens * HEADS * VALUE_DIM));
    check(gyre_forward(attention, &operands, call == 0 ? NULL : &time) == GYRE_OK, "forward succeeds");
    compare(&operands, held);
  }
  check(time.size == sizeof time && time.total_seconds > 0 && time.total_seconds >= time.computing_seconds,
        "a call says what it took");
  check(gyre_attention_describe(attention, &description) == GYRE_OK, "an attention is described");
  check(description.query_tokens == held.tokens && description.strategy != NULL && strlen(description.isa) > 0 &&
            description.arena_bytes > 0,
        "a description has this rank's rows, strategy, instruction set and memory");
  release(&operands, &held);
  gyre_attention_free(attention);
}

/* A struct that ends where an older header ended: what lies behind it is neither read nor written. */
static void test_older_and_newer_callers(gyre_communicator* communicator) {
  union {
    gyre_options now;
    unsigned char bytes[sizeof(gyre_options) + 32];
  } options;
  const size_t first = 120;
  gyre_problem problem = problem_of();
  gyre_attention* attention = NULL;
  size_t index, changed = 0;
  memset(options.bytes, 0xa5, sizeof options);
  check(gyre_options_init(&options.now, first) == GYRE_OK, "options of the first header have defaults");
  for (index = first; index < sizeof options; ++index) changed += options.bytes[index] != 0xa5;
  check(changed == 0 && options.now.size == first, "nothing is written behind an older caller's struct");
  check(gyre_attention_create(communicator, &problem, &options.now, &attention) == GYRE_OK,
        "an older caller's options are understood");
  gyre_attention_free(attention);

  check(gyre_options_init(&options.now, sizeof options) == GYRE_OK && options.now.size == sizeof options &&
            options.bytes[sizeof options - 1] == 0,
        "what a newer caller's options have more is zero");
  check(gyre_attention_create(communicator, &problem, &options.now, &attention) == GYRE_OK,
        "a newer caller is understood while it asks for nothing new");
  gyre_attention_free(attention);
  options.bytes[sizeof(gyre_options)] = 1;
  check(gyre_attention_create(communicator, &problem, &options.now, &attention) == GYRE_INVALID_ARGUMENT && attention == NULL &&
            said("gyre_options has") && said("library"),
        "what a newer caller asks for and this library lacks is refused");
  problem.size = 8;
  check(gyre_attention_create(communicator, &problem, NULL, &attention) == GYRE_INVALID_ARGUMENT && said("sizeof(gyre_problem)"),
        "a size that no header ever had is refused");
  check(gyre_problem_init(&problem, 8) == GYRE_INVALID_ARGUMENT, "and gets no defaults");
}

/* Callers whose structs end where those of the first header did: what lies behind is not theirs. */
static void test_callers_of_the_first_header(gyre_communicator* communicator) {
  gyre_problem problem = problem_of();
  gyre_attention* attention = NULL;
  gyre_operands operands;
  rows held;
  problem.size = 80;
  problem.alibi = problem.sinks = 7, problem.dropout = 7;
  check(gyre_attention_create(communicator, &problem, NULL, &attention) == GYRE_OK, "a problem of the first header is understood");
  if (attention == NULL) return;
  operands = operands_of(attention, &held);
  operands.size = 208;
  operands.sinks = operands.lse;
  check(gyre_forward(attention, &operands, NULL) == GYRE_OK, "operands of the first header are understood");
  compare(&operands, held);
  release(&operands, &held);
  gyre_attention_free(attention);
}

static void test_wrong_input(gyre_communicator* communicator) {
  gyre_problem problem = problem_of();
  gyre_options options;
  gyre_attention* attention = NULL;
  gyre_operands operands;
  rows held;
  check(gyre_attention_create(NULL, &problem, NULL, &attention) == GYRE_INVALID_ARGUMENT && said("gyre_communicator is null"),
        "a null handle is refused");
  problem.mask = "causal & windw(3)";
  check(gyre_attention_create(communicator, &problem, NULL, &attention) == GYRE_INVALID_ARGUMENT && said("column"),
        "a mask that does not parse is refused with its column");
  problem = problem_of();
  problem.key_heads = 3;
  check(gyre_attention_create(communicator, &problem, NULL, &attention) == GYRE_INVALID_ARGUMENT &&
            said("4 query heads do not divide into 3 key/value heads"),
        "heads that do not divide are refused");
  problem = problem_of();
  gyre_options_init(&options, sizeof options);
  options.backward = "sideways";
  check(gyre_attention_create(communicator, &problem, &options, &attention) == GYRE_INVALID_ARGUMENT && said("sideways"),
        "a name that there is not is refused");
  /* What one rank alone has wrong is refused on all, with the same words. */
  gyre_options_init(&options, sizeof options);
  if (rank == ranks - 1) options.strategy = "rong";
  check(gyre_attention_create(communicator, &problem, &options, &attention) == GYRE_INVALID_ARGUMENT && said("rong"),
        "a strategy that one rank spells wrong is refused on every rank");
  options.strategy = "ring";
  options.prefetch = rank == 0 ? 2 : 1;
  if (ranks > 1)
    check(gyre_attention_create(communicator, &problem, &options, &attention) == GYRE_DISAGREEMENT &&
              said("ranks disagree on prefetch: ") && said("2 on rank 0"),
          "ranks that ask for different things are told who asks for what");
  check(gyre_attention_create(communicator, &problem, NULL, &attention) == GYRE_OK, "ranks go on after a refusal");
  operands = operands_of(attention, &held);
  if (rank == ranks - 1) operands.keys.tokens += 1;
  check(gyre_forward(attention, &operands, NULL) == GYRE_INVALID_ARGUMENT && said("keys is ["),
        "a tensor that one rank has of the wrong shape is refused on every rank");
  operands.keys.tokens -= rank == ranks - 1;
  if (rank == 0) operands.queries.dtype = (gyre_dtype)7;
  check(gyre_forward(attention, &operands, NULL) == GYRE_INVALID_ARGUMENT && said("queries.dtype is 7"),
        "a type that one rank made up is refused on every rank");
  operands.queries.dtype = GYRE_F32;
  check(
      gyre_forward(attention, rank == ranks - 1 ? NULL : &operands, NULL) == GYRE_INVALID_ARGUMENT && said("gyre_operands is null"),
      "operands that one rank does not give are refused on every rank");
  check(gyre_forward(attention, &operands, NULL) == GYRE_OK, "calls go on after a refusal");
  compare(&operands, held);
  release(&operands, &held);
  gyre_attention_free(attention);
}

/* A layout of the caller's own: the ranks in reverse, the first rows with the last rank. */
static void test_layout(gyre_communicator* communicator) {
  gyre_chunk* chunks = calloc((size_t)ranks, sizeof *chunks);
  gyre_options options;
  int index;
  for (index = 0; index < ranks; ++index) {
    chunks[index].begin = (int64_t)TOKENS * index / ranks;
    chunks[index].end = (int64_t)TOKENS * (index + 1) / ranks;
    chunks[index].rank = ranks - 1 - index;
  }
  gyre_options_init(&options, sizeof options);
  options.query_chunks = chunks, options.query_chunk_count = (size_t)ranks;
  options.threads = 0;
  test_forward(communicator, &options);
  options.partition = "zigzag";
  {
    const gyre_problem problem = problem_of();
    gyre_attention* attention = NULL;
    check(gyre_attention_create(communicator, &problem, &options, &attention) == GYRE_INVALID_ARGUMENT && said("give one of them"),
          "a partition and a layout are not both taken");
  }
  free(chunks);
}

/* Without MPI; handles go in the wrong order. */
static void test_alone(void) {
  gyre_communicator* alone = NULL;
  gyre_attention* attention = NULL;
  const gyre_problem problem = problem_of();
  gyre_operands operands;
  rows held;
  check(gyre_communicator_self(&alone) == GYRE_OK && gyre_communicator_ranks(alone) == 1 && gyre_communicator_rank(alone) == 0,
        "one rank needs no MPI");
  check(gyre_attention_create(alone, &problem, NULL, &attention) == GYRE_OK, "one rank makes an attention");
  gyre_communicator_free(alone);
  operands = operands_of(attention, &held);
  check(held.tokens == TOKENS, "one rank has all rows");
  check(gyre_forward(attention, &operands, NULL) == GYRE_OK, "an attention outlives its communicator's handle");
  compare(&operands, held);
  release(&operands, &held);
  gyre_attention_free(attention);
  gyre_attention_free(NULL), gyre_communicator_free(NULL);
}

int main(int argc, char** argv) {
  gyre_communicator* communicator = NULL;
  gyre_options options;
  int worst = 0;
  ranks = 1;
  check(strcmp(gyre_last_error(), "") == 0, "before the first failure there is no last error");
  check(gyre_communicator_mpi(0, &communicator) == GYRE_INVALID_ARGUMENT && said("MPI_Init"), "MPI has to stand");
  test_alone();
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  check(gyre_communicator_mpi((int32_t)MPI_Comm_c2f(MPI_COMM_WORLD), &communicator) == GYRE_OK, "a communicator is taken");
  check(gyre_communicator_rank(communicator) == rank && gyre_communicator_ranks(communicator) == ranks, "with its ranks");
  test_forward(communicator, NULL);
  gyre_options_init(&options, sizeof options);
  options.strategy = "ulysses", options.partition = "zigzag", options.sharing = "off", options.integrity = 1, options.threads = 2;
  test_forward(communicator, &options);
  test_layout(communicator);
  test_backward(communicator, "auto");
  test_backward(communicator, "queries");
  test_older_and_newer_callers(communicator);
  test_callers_of_the_first_header(communicator);
  test_wrong_input(communicator);
  gyre_communicator_free(communicator);
  MPI_Allreduce(&failures, &worst, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  MPI_Finalize();
  if (rank == 0 && worst == 0) printf("gyre %s: all of it is true on %d ranks\n", gyre_version(), ranks);
  return worst == 0 ? 0 : 1;
}
