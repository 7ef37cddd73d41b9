/* A C program against an installed tree: two tokens that see each other alike, so that the output is the mean of the values. */
#include <gyre.h>
#include <stdio.h>

int main(void) {
  float queries[2] = {0, 0}, keys[2] = {1, 2}, values[2] = {1, 2}, out[2];
  const gyre_tensor q = {queries, GYRE_F32, 1, 1, 0, 2, 0, 0}, k = {keys, GYRE_F32, 1, 1, 0, 2, 0, 0};
  const gyre_tensor v = {values, GYRE_F32, 1, 1, 0, 2, 0, 0}, o = {out, GYRE_F32, 1, 1, 0, 2, 0, 0};
  gyre_communicator* alone;
  gyre_attention* attention;
  gyre_problem problem;
  gyre_operands operands;
  gyre_problem_init(&problem, sizeof problem);
  problem.query_tokens = problem.key_tokens = 2, problem.head_dim = problem.value_dim = 1;
  operands.size = sizeof operands, operands.queries = q, operands.keys = k, operands.values = v, operands.out = o,
  operands.lse = NULL;
  if (gyre_communicator_self(&alone) != GYRE_OK || gyre_attention_create(alone, &problem, NULL, &attention) != GYRE_OK ||
      gyre_forward(attention, &operands, NULL) != GYRE_OK) {
    printf("%s\n", gyre_last_error());
    return 1;
  }
  printf("from C: %g %g\n", out[0], out[1]);
  gyre_attention_free(attention);
  gyre_communicator_free(alone);
  return out[0] == 1.5F && out[1] == 1.5F ? 0 : 1;
}
