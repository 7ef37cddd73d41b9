"""Pairs that query heads of gyre.Attention choose, on the ranks of mpirun (or one), against float64. Every rank runs every test."""

import unittest

import gyre
import numpy
from reference import WORLD, Case, RanksTest, rows

LAST = WORLD.size - 1


def visible(mask, tokens=203, heads=4):
    """[heads, queries, keys]"""
    return numpy.array([[[mask.visible(i, j, head) for j in range(tokens)] for i in range(tokens)] for head in range(heads)])


def estimated(case, attention, sparse):
    return attention.estimate_mask(rows(case.given["q"], attention.query_rows), rows(case.given["k"], attention.key_rows), sparse)


class Chosen(RanksTest):
    def test_forward_and_backward_over_chosen_pairs_are_those_of_the_definition(self):
        case = Case(203)
        mask = estimated(case, case.attention(), "vertical_slash(31,100)")
        seen = visible(mask)
        self.assertEqual(mask.pairs, seen.sum())
        self.assertLess(mask.pairs, 4 * 203 * 204 / 2)
        self.assertFalse(numpy.triu(seen, 1).any())
        self.assertEqual(set(WORLD.allgather(seen.tobytes())), {seen.tobytes()})
        q, k, v, grad_out = (case.given[name].astype("float64") for name in ("q", "k", "v", "grad_out"))
        k, v = numpy.repeat(k, 2, axis=1), numpy.repeat(v, 2, axis=1)
        weights = numpy.where(seen, numpy.exp(numpy.einsum("ihd,jhd->hij", q, k) * 8**-0.5), 0)
        weights /= weights.sum(-1, keepdims=True)
        out = numpy.einsum("hij,jhe->ihe", weights, v)
        ds = weights * (numpy.einsum("ihe,jhe->hij", grad_out, v) - numpy.einsum("ihe,ihe->hi", grad_out, out)[..., None]) * 8**-0.5
        attention = case.attention(mask=mask, backward=True)
        mine, grad_mine = (rows(case.given[name], attention.query_rows) for name in ("q", "grad_out"))
        keys, values = (rows(case.given[name], attention.key_rows) for name in ("k", "v"))
        got, lse = attention.forward(mine, keys, values)
        self.near(got, out, attention.query_rows, 4e-6, "out")
        self.near(attention.backward(grad_mine, mine, keys, values, got, lse)[0], numpy.einsum("hij,jhd->ihd", ds, k), attention.query_rows, 4e-6, "dq")

    def test_any_ranks_choose_the_same_pairs_in_dual_chunks_too(self):
        case = Case(203)
        for options in ({}, {"rope": 100, "dual_chunk": (150, 20)}):
            alone = estimated(case, case.attention(None, **options), "vertical_slash(31,100)")
            for partition in ("zigzag", "striped(16)"):
                mask = estimated(case, case.attention(partition=partition, **options), "vertical_slash(31,100)")
                numpy.testing.assert_array_equal(visible(mask), visible(alone))
        self.assertIn("vertical_slash(31,100)", repr(alone))

    def test_wrong_choices_and_masks_are_refused(self):
        case = Case(203)
        attention = case.attention()
        q, k = rows(case.given["q"], attention.query_rows), rows(case.given["k"], attention.key_rows)
        self.refused(lambda: attention.estimate_mask(q, k, "moba(16)"), "moba(16)")
        self.refused(lambda: attention.estimate_mask(q[..., :7] if WORLD.rank == LAST else q, k, "moba(16,2)"), "q has shape", "head dim")
        self.refused(lambda: case.attention(softcap=30.0).estimate_mask(q, k, "moba(16,2)"), "softcap")
        with self.assertRaisesRegex(TypeError, "mask is neither an expression nor a gyre.Mask"):
            case.attention(mask=3)
        mask = attention.estimate_mask(q, k, "dense")
        with self.assertRaisesRegex(ValueError, "head is 4; give 0 to 3"):
            mask.visible(0, 0, 4)
        if WORLD.size > 1:
            self.refused(lambda: attention.estimate_mask(q, k, f"moba(16,{2 + WORLD.rank})"), "disagree", kind=gyre.Disagreement)


if __name__ == "__main__":
    unittest.main(verbosity=2 if WORLD.rank == 0 else 0)
