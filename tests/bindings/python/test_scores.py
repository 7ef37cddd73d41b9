"""ALiBi, learned sink logits and dropout of gyre.Attention on the ranks of mpirun (or one), against float64. Every rank runs every test."""

import unittest

import gyre
import numpy
from reference import WORLD, Case, RanksTest, rows

LAST = WORLD.size - 1
SINKS = numpy.array([0.5, -1.25, 3, 0], "float32")
WAYS = ({"strategy": "ring", "partition": "zigzag"}, {"strategy": "ulysses"}, {"strategy": "ring", "backward": "queries"})


def called(case, attention, **sinks):
    """(out, lse, dq, dk, dv, ...) of this rank's rows."""
    q, grad_out = (rows(case.given[name], attention.query_rows) for name in ("q", "grad_out"))
    k, v = (rows(case.given[name], attention.key_rows) for name in ("k", "v"))
    out, lse = attention.forward(q, k, v, **sinks)
    return out, lse, *attention.backward(grad_out, q, k, v, out, lse, **sinks)


class Scores(RanksTest):
    def check(self, case, attention, **sinks):
        got = called(case, attention, **sinks)
        for name, array in zip(("out", "lse", "dq", "dk", "dv"), got):
            held = attention.key_rows if name in ("dk", "dv") else attention.query_rows
            self.near(array, getattr(case, name), held, 4e-6, name)
        return got[5:]

    def test_alibi_biases_scores_by_distance_forward_and_backward(self):
        for way in WAYS:
            for mask in ("causal", "full", "window(20) | sinks(3)"):
                with self.subTest(mask=mask, **way):
                    case = Case(161, mask=mask, alibi=True)
                    self.assertEqual(self.check(case, case.attention(**{"backward": True, **way})), ())

    def test_sinks_join_the_softmax_and_every_rank_has_their_gradients_of_all_rows(self):
        for way in WAYS:
            for alibi in (False, True):
                with self.subTest(alibi=alibi, **way):
                    case = Case(161, alibi=alibi, sinks=SINKS)
                    (dsinks,) = self.check(case, case.attention(**{"backward": True, **way}), sinks=SINKS)
                    self.assertEqual((type(dsinks), dsinks.dtype), (numpy.ndarray, numpy.float32))
                    self.near(dsinks, case.dsinks, [slice(0, 4)], 4e-6, "dsinks")
                    self.assertEqual(set(WORLD.allgather(dsinks.tobytes())), {dsinks.tobytes()})

    def test_a_row_that_sees_no_key_has_the_log_sum_exp_of_its_sink(self):
        case = Case(40, 24, sinks=SINKS)  # the first 16
        self.check(case, case.attention(backward=True), sinks=SINKS)

    def test_gradients_of_sinks_are_written_where_the_caller_says(self):
        case = Case(33, sinks=SINKS)
        attention = case.attention(backward=True)
        q, k, v, grad_out = (rows(case.given[name], attention.query_rows) for name in ("q", "k", "v", "grad_out"))
        out, lse = attention.forward(q, k, v, sinks=SINKS)
        dsinks = numpy.full(4, numpy.nan, "float32")
        self.assertIs(attention.backward(grad_out, q, k, v, out, lse, sinks=SINKS, dsinks=dsinks)[3], dsinks)
        self.near(dsinks, case.dsinks, [slice(0, 4)], 4e-6, "dsinks")

    def test_dropout_drops_the_same_pairs_on_any_number_of_ranks(self):
        case = Case(161)
        alone = case.attention(None, backward=True, dropout=(0.25, 7))
        right = called(case, alone)
        for way in WAYS:
            with self.subTest(**way):
                attention = case.attention(**{"backward": True, **way}, dropout=(0.25, 7))
                for name, got, all_rows in zip(("out", "lse", "dq", "dk", "dv"), called(case, attention), right):
                    held = attention.key_rows if name in ("dk", "dv") else attention.query_rows
                    self.near(got, all_rows.astype("float64"), held, 4e-6, name)
        numpy.testing.assert_allclose(right[1], case.lse, atol=1e-5)  # dropout is not in it
        for out in (case.out, called(case, case.attention(None, backward=True, dropout=(0.25, 8)))[0]):
            self.assertGreater(numpy.abs(right[0] - out).max(), 0.1)

    def test_rotary_positions_are_those_of_rows_that_were_rotated_before(self):
        frequencies = 100.0 ** (-numpy.arange(3) / 3)
        for rope, more, layout, scale, magnitude in (((100, "half", 6), {}, "half", 1, 1), ((100, "interleaved", 6), {"rope_linear": 2.0}, "interleaved", 2, 1)):
            case, rotated = Case(161), Case(161)
            for name in "qk":
                angles = numpy.arange(161)[:, None, None] * frequencies / scale
                x, y = (slice(0, 3), slice(3, 6)) if layout == "half" else (slice(0, 6, 2), slice(1, 6, 2))
                rows_of = case.given[name].astype("float64")
                turned = rows_of.copy()
                turned[..., x] = rows_of[..., x] * numpy.cos(angles) - rows_of[..., y] * numpy.sin(angles)
                turned[..., y] = rows_of[..., x] * numpy.sin(angles) + rows_of[..., y] * numpy.cos(angles)
                rotated.given[name] = turned.astype("float32")
            right = called(rotated, rotated.attention(None, backward=True))[:2]
            for way in WAYS:
                with self.subTest(rope=rope, **way):
                    attention = case.attention(**{"backward": True, **way}, rope=rope, **more)
                    for name, got, all_rows in zip(("out", "lse"), called(case, attention), right):
                        self.near(got, all_rows.astype("float64"), attention.query_rows, 4e-6, name)

    def test_dual_chunk_attention_of_one_chunk_is_rotary_and_of_more_is_not(self):
        case = Case(161)
        right = called(case, case.attention(None, backward=True, rope=100))
        for way in WAYS:
            with self.subTest(**way):
                attention = case.attention(**{"backward": True, **way}, rope=100, dual_chunk=(200, 39))
                for name, got, all_rows in zip(("out", "lse", "dq", "dk", "dv"), called(case, attention), right):
                    held = attention.key_rows if name in ("dk", "dv") else attention.query_rows
                    self.near(got, all_rows.astype("float64"), held, 4e-6, name)
        alone = [called(case, case.attention(None, backward=True, rope=100, dual_chunk=chunk))[0] for chunk in ((60, 10), (60, 10, 100))]
        self.assertGreater(numpy.abs(alone[0] - right[0]).max(), 0.1)
        self.assertGreater(numpy.abs(alone[1] - alone[0]).max(), 1e-3)

    def test_wrong_rotary_positions_are_refused(self):
        case = Case(33)
        for options, saying in (({"rope": (100, "third")}, "'third'"), ({"yarn": (4, 100)}, "give rope"), ({"rope": 100, "rope_ntk": 2.0, "rope_linear": 2.0}, "exclude"),
                                ({"rope": (100, "half", 7)}, "7 dims"), ({"rope": 1}, "above 1"), ({"dual_chunk": (9, 2)}, "give their base"), ({"rope": 100, "dual_chunk": (9, 9)}, "give 0 to 8")):  # fmt: skip
            self.refused(lambda options=options: case.attention(**options), saying)

    def test_dropout_of_nothing_is_none(self):
        case = Case(97)
        self.check(case, case.attention(backward=True, dropout=(0, 3)))

    def test_on_average_dropout_leaves_the_output_as_it_is(self):
        case = Case(33)
        q, k, v = (case.given[name] for name in "qkv")
        mean = sum(case.attention(None, dropout=(0.25, seed)).forward(q, k, v)[0] for seed in range(200)) / 200
        self.assertLess(numpy.abs(mean - case.out).mean(), 0.1 * numpy.abs(case.out).mean())


class WrongScores(RanksTest):
    def test_sinks_that_do_not_fit_are_named_with_what_was_given_and_what_is_wanted(self):
        case = Case(97, sinks=SINKS)
        attention = case.attention(backward=True)
        q, k, v, grad_out = (rows(case.given[name], attention.query_rows) for name in ("q", "k", "v", "grad_out"))
        nan = numpy.array([0, 0, numpy.nan, 0], "float32")
        for wrong, *parts in (
            (SINKS[:3], "sinks has shape [3]", "give [4]: query heads"),
            (SINKS[:, None], "sinks has shape [4, 1]"),
            (SINKS.astype("float64"), "sinks is float64"),
            (SINKS.astype("float16"), "sinks is float16", "give float32"),
            (numpy.repeat(SINKS, 2)[::2], "sinks has a stride of 2"),
            (None, "sinks is a NoneType"),
            (nan, "the sink of head 2 is nan"),
        ):
            given = wrong if WORLD.rank == LAST else SINKS
            self.refused(lambda: attention.forward(q, k, v, sinks=given), *parts)
        out, lse = attention.forward(q, k, v, sinks=SINKS)
        small = numpy.empty(4 - (WORLD.rank == LAST), "float32")
        self.refused(lambda: attention.backward(grad_out, q, k, v, out, lse, sinks=SINKS, dsinks=small), "dsinks has shape [3]", "[4]")
        self.refused(lambda: attention.backward(grad_out, q, k, v, out, lse), "sinks is a NoneType")

    def test_sinks_that_the_attention_was_not_made_with_are_refused(self):
        case = Case(97)
        attention = case.attention(backward=True)
        q, k, v, grad_out = (rows(case.given[name], attention.query_rows) for name in ("q", "k", "v", "grad_out"))
        self.refused(lambda: attention.forward(q, k, v, sinks=SINKS), "sinks are given", "sinks=True")
        out, lse = attention.forward(q, k, v)
        self.refused(lambda: attention.backward(grad_out, q, k, v, out, lse, dsinks=SINKS.copy()), "dsinks is given", "sinks=True")

    def test_dropout_that_is_none_is_refused(self):
        case = Case(97)
        self.refused(lambda: case.attention(dropout=(1.5 if WORLD.rank == LAST else 0.5, 1)), "dropout is 1.5", "0.999")
        for wrong in (0.1, (0.1,), (0.1, -1), (0.1, 2**64), "some"):
            with self.assertRaisesRegex(TypeError, r"dropout is neither None nor \(probability, seed\)"):
                case.attention(dropout=wrong)
        if WORLD.size > 1:
            self.refused(lambda: case.attention(dropout=(0.5, WORLD.rank)), "ranks disagree on dropout", kind=gyre.Disagreement)
            self.refused(lambda: case.attention(alibi=WORLD.rank == 0), "ranks disagree on", kind=gyre.Disagreement)


if __name__ == "__main__":
    unittest.main(verbosity=2 if WORLD.rank == 0 else 0)
