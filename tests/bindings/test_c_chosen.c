/* Pairs that query heads choose, from C99 over MPI. Exit status 1 if a sentence is false on any rank. */
#include <mpi.h>

#include "case.h"

/* One row of attention by the definition, over the keys that the mask shows. */
static void chosen_reference(const gyre_mask* mask, int64_t token, int head, double* out) {
  double sum = 0;
  int64_t key;
  int channel;
  memset(out, 0, sizeof(double) * VALUE_DIM);
  for (key = 0; key < TOKENS; ++key) {
    double score = 0, weight;
    if (!gyre_mask_visible(mask, token, key, head)) continue;
    for (channel = 0; channel < DIM; ++channel) score += element(0, token, head, channel) * element(1, key, head / 2, channel);
    weight = exp(score / sqrt(DIM));
    sum += weight;
    for (channel = 0; channel < VALUE_DIM; ++channel) out[channel] += weight * element(2, key, head / 2, channel);
  }
  for (channel = 0; channel < VALUE_DIM; ++channel) out[channel] /= sum;
}

static void compare_chosen(const gyre_operands* operands, rows held, const gyre_mask* mask) {
  double worst = 0, out[VALUE_DIM];
  int64_t row;
  int head, channel;
  for (row = 0; row < held.tokens; ++row) {
    for (head = 0; head < HEADS; ++head) {
      const float* got = (const float*)operands->out.data + (row * HEADS + head) * VALUE_DIM;
      chosen_reference(mask, held.token[row], head, out);
      for (channel = 0; channel < VALUE_DIM; ++channel) worst = fmax(worst, fabs(got[channel] - out[channel]));
    }
  }
  check(worst < 3e-6, "forward over chosen pairs gives what the definition gives");
}

static void check_pairs(const gyre_mask* mask) {
  double pairs = 0, hidden = 0, first = gyre_mask_pairs(mask);
  int64_t query, key;
  int head;
  for (head = 0; head < HEADS; ++head) {
    for (query = 0; query < TOKENS; ++query) {
      for (key = 0; key < TOKENS; ++key) pairs += gyre_mask_visible(mask, query, key, head);
      for (key = query + 1; key < TOKENS; ++key) hidden += gyre_mask_visible(mask, query, key, head);
    }
  }
  check(pairs == gyre_mask_pairs(mask) && hidden == 0, "the pairs of a mask are those that are visible, and all are causal");
  check(pairs < HEADS * TOKENS * (TOKENS + 1) / 2.0 && pairs > 0, "some pairs are chosen, and not all");
  MPI_Bcast(&first, 1, MPI_DOUBLE, 0, MPI_COMM_WORLD);
  check(first == pairs, "every rank has the same pairs");
  check(!gyre_mask_visible(mask, 3, 3, HEADS) && !gyre_mask_visible(NULL, 3, 3, 0) && gyre_mask_pairs(NULL) == 0,
        "a head that there is not, and no mask, see nothing");
}

/* With plain positions, and in dual chunks. */
static void test_chosen_pairs(gyre_communicator* communicator, int chunks) {
  gyre_problem problem = problem_of();
  gyre_attention *dense = NULL, *attention = NULL;
  gyre_mask* mask = NULL;
  gyre_operands operands, forward;
  rows queries, held;
  if (chunks) problem.rope_base = 100, problem.dual_chunk = 150, problem.dual_chunk_local = 20;
  check(gyre_attention_create(communicator, &problem, NULL, &dense) == GYRE_OK, "an attention of all pairs is made");
  if (dense == NULL) return;
  operands = operands_of(dense, &queries);
  check(gyre_estimate_mask(dense, &operands.queries, &operands.keys, "vertical_slash(31,100)", &mask) == GYRE_OK,
        "query heads choose pairs");
  check_pairs(mask);
  problem.chosen = mask;
  check(gyre_attention_create(communicator, &problem, NULL, &attention) == GYRE_OK, "an attention of the chosen pairs is made");
  gyre_attention_free(dense);
  if (attention != NULL) {
    forward = operands_of(attention, &held);
    check(gyre_forward(attention, &forward, NULL) == GYRE_OK, "forward over chosen pairs succeeds");
    if (!chunks) compare_chosen(&forward, held, mask);
    release(&forward, &held);
    gyre_attention_free(attention), attention = NULL;
  }
  problem.mask = "full";
  check(gyre_attention_create(communicator, &problem, NULL, &attention) == GYRE_INVALID_ARGUMENT &&
            said("chosen from the mask 'causal'") && said("is 'full'"),
        "pairs of another mask are refused");
  gyre_mask_free(mask), gyre_mask_free(NULL);
  release(&operands, &queries);
}

static void test_wrong_choices(gyre_communicator* communicator) {
  gyre_problem problem = problem_of();
  gyre_attention* dense = NULL;
  gyre_mask* mask = NULL;
  gyre_operands operands;
  gyre_tensor wrong;
  rows queries;
  if (gyre_attention_create(communicator, &problem, NULL, &dense) != GYRE_OK) return;
  operands = operands_of(dense, &queries);
  check(gyre_estimate_mask(dense, &operands.queries, &operands.keys, rank == ranks - 1 ? NULL : "dense", &mask) ==
                GYRE_INVALID_ARGUMENT &&
            said("sparse is null"),
        "a choice that one rank lacks is refused on every rank");
  check(
      gyre_estimate_mask(dense, &operands.queries, &operands.keys, "moba(16)", &mask) == GYRE_INVALID_ARGUMENT && said("moba(16)"),
      "a choice that is none is refused");
  check(gyre_estimate_mask(dense, NULL, &operands.keys, "dense", &mask) == GYRE_INVALID_ARGUMENT && said("queries is null"),
        "queries that are not there are refused");
  wrong = operands.keys;
  if (rank == 0) wrong.tokens += 1;
  check(gyre_estimate_mask(dense, &operands.queries, &wrong, "dense", &mask) == GYRE_INVALID_ARGUMENT && said("keys are ["),
        "a tensor of another size on one rank is refused on every rank");
  if (ranks > 1) {
    check(gyre_estimate_mask(dense, &operands.queries, &operands.keys, rank == 0 ? "moba(16,2)" : "moba(16,3)", &mask) ==
              GYRE_DISAGREEMENT,
          "ranks that choose differently are told so");
  }
  check(mask == NULL, "what failed left no mask");
  release(&operands, &queries);
  gyre_attention_free(dense);
  problem.softcap = 30;
  check(gyre_attention_create(communicator, &problem, NULL, &dense) == GYRE_OK, "an attention with a cap is made");
  operands = operands_of(dense, &queries);
  check(
      gyre_estimate_mask(dense, &operands.queries, &operands.keys, "moba(16,2)", &mask) == GYRE_INVALID_ARGUMENT && said("softcap"),
      "scores that no estimate is made of are refused");
  release(&operands, &queries);
  gyre_attention_free(dense);
}

int main(int argc, char** argv) {
  gyre_communicator* communicator = NULL;
  int worst = 0;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  check(gyre_communicator_mpi((int32_t)MPI_Comm_c2f(MPI_COMM_WORLD), &communicator) == GYRE_OK, "a communicator is taken");
  test_chosen_pairs(communicator, 0);
  test_chosen_pairs(communicator, 1);
  test_wrong_choices(communicator);
  gyre_communicator_free(communicator);
  MPI_Allreduce(&failures, &worst, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  MPI_Finalize();
  if (rank == 0 && worst == 0) printf("gyre %s: all of it is true on %d ranks\n", gyre_version(), ranks);
  return worst == 0 ? 0 : 1;
}
