"""gyre.Attention on the ranks of mpirun (or one), against float64. Every rank runs every test."""

import inspect
import pathlib
import threading
import time
import unittest

import gyre
import numpy
from reference import POSITIONS, WORLD, Case, RanksTest, rows

LAST = WORLD.size - 1


class Results(RanksTest):
    def check(self, case, attention, limit=2e-6):
        queries, keys = attention.query_rows, attention.key_rows
        q, k, v = (rows(case.given[name], held) for name, held in (("q", queries), ("k", keys), ("v", keys)))
        out, lse = attention.forward(q, k, v)
        self.assertIsInstance(out, numpy.ndarray)
        self.assertEqual((out.dtype, lse.dtype), (q.dtype, numpy.float32))
        self.near(out, case.out, queries, limit, "out")
        self.near(lse, case.lse, queries, 1e-5, "lse")
        return q, k, v, out, lse

    def test_forward_gives_what_the_definition_gives_under_every_mask_strategy_and_partition(self):
        for mask in POSITIONS:
            for strategy, partition in (("auto", "auto"), ("ring", "zigzag"), ("ulysses", "contiguous"), ("all_gather", "balanced")):
                with self.subTest(mask=mask, strategy=strategy, partition=partition):
                    case = Case(161, mask=mask)
                    self.check(case, case.attention(strategy=strategy, partition=partition))

    def test_queries_and_keys_of_different_numbers_meet_at_their_ends(self):
        case = Case(33, 161)
        self.check(case, case.attention())
        case = Case(40, 24)  # the first 16 see no key
        attention = case.attention()
        *_, out, lse = self.check(case, attention)
        numpy.testing.assert_equal(rows(numpy.isinf(case.lse), attention.query_rows), numpy.isinf(lse))

    def test_backward_gives_the_gradients_of_the_definition_whichever_way_they_travel(self):
        for mask in POSITIONS:
            for backward in (True, "keys", "queries"):
                with self.subTest(mask=mask, backward=backward):
                    case = Case(161, mask=mask)
                    attention = case.attention(backward=backward, strategy="ring", partition="zigzag")
                    q, k, v, out, lse = self.check(case, attention)
                    gradients = attention.backward(rows(case.given["grad_out"], attention.query_rows), q, k, v, out, lse)
                    for name, got in zip(("dq", "dk", "dv"), gradients):
                        held = attention.query_rows if name == "dq" else attention.key_rows
                        self.near(got, getattr(case, name), held, 4e-6, name)

    def test_results_are_written_where_the_caller_says(self):
        case = Case(97)
        attention = case.attention(backward=True)
        held = attention.query_rows
        q, k, v, grad_out = (rows(case.given[name], held) for name in ("q", "k", "v", "grad_out"))
        wide = numpy.full((attention.query_tokens, 4, 9), numpy.nan, "float32")  # the last channels are not ours
        lse = numpy.empty((attention.query_tokens, 4), "float32")
        out, same = attention.forward(q, k, v, out=wide[..., :6], lse=lse)
        self.assertTrue(same is lse and out.base is wide)
        self.near(wide[..., :6], case.out, held, 2e-6, "out")
        self.assertTrue(numpy.isnan(wide[..., 6:]).all())
        dq, dk, dv = (numpy.empty_like(array) for array in (q, k, v))
        got = attention.backward(grad_out, q, k, v, wide[..., :6], lse, dq=dq, dk=dk, dv=dv)
        self.assertTrue(got[0] is dq and got[1] is dk and got[2] is dv)
        self.near(dk, case.dk, held, 4e-6, "dk")

    def test_arrays_are_read_where_they_lie_with_their_strides(self):
        case = Case(97)
        attention = case.attention()
        q, k, v = (rows(case.given[name], attention.query_rows) for name in "qkv")
        by_head = [numpy.ascontiguousarray(array.transpose(1, 0, 2)) for array in (q, k, v)]
        for array in by_head:
            array.flags.writeable = False  # as JAX's are
        out, _ = attention.forward(*(array.transpose(1, 0, 2) for array in by_head))
        self.near(out, case.out, attention.query_rows, 2e-6, "out")

    def test_half_precision_is_read_and_written_and_sums_stay_float32(self):
        case = Case(97, dtype="float16")
        self.check(case, case.attention(dtype="f16"), limit=1e-3)  # of the result's own rounding

    def test_a_layout_of_the_callers_own_is_kept(self):
        case = Case(97)
        cuts = [97 * cut // WORLD.size for cut in range(WORLD.size + 1)]
        layout = [(begin, end, LAST - rank) for rank, (begin, end) in enumerate(zip(cuts, cuts[1:]))]
        attention = case.attention(partition=layout)
        self.assertEqual(attention.query_rows, [slice(cuts[LAST - WORLD.rank], cuts[LAST - WORLD.rank + 1])])
        self.check(case, attention)

    def test_a_communicator_serves_several_attentions_in_turns(self):
        communicator = gyre.Communicator(WORLD)
        self.assertEqual((communicator.rank, communicator.ranks), (WORLD.rank, WORLD.size))
        first, second = Case(97), Case(64, mask="full", seed=2)
        attentions = [(case, case.attention(communicator)) for case in (first, second)]
        for _ in range(2):
            for case, attention in attentions:
                self.check(case, attention)
        self.assertGreater(attentions[0][1].last_call.total_seconds, 0)
        self.assertEqual(communicator.all_gather(WORLD.rank), list(range(WORLD.size)))

    def test_a_process_alone_has_all_rows(self):
        case = Case(97)
        attention = case.attention(None)
        self.assertEqual(attention.query_rows, [slice(0, 97)])
        self.check(case, attention)

    def test_other_threads_run_while_it_works(self):
        if WORLD.rank > 0:  # one rank is enough
            return
        attention = gyre.Attention(None, query_tokens=3000, query_heads=8, head_dim=64, threads=1)
        q = numpy.ones((3000, 8, 64), "float32")
        seen, done = [], threading.Event()

        def look():
            while not done.is_set():
                seen.append(time.monotonic())

        thread = threading.Thread(target=look)
        thread.start()
        begin = time.monotonic()
        attention.forward(q, q, q)
        end = time.monotonic()
        done.set()
        thread.join()
        quarter = (end - begin) / 4  # without the lock another thread may have run as the call began and ended, not in between
        self.assertTrue(any(begin + quarter < moment < end - quarter for moment in seen))


class WrongInput(RanksTest):
    def test_wrong_arguments_of_one_rank_are_a_value_error_on_all(self):
        case = Case(97)
        only = lambda wrong, right: wrong if WORLD.rank == LAST else right
        self.refused(lambda: case.attention(strategy=only("rong", "ring")), "strategy", "rong")
        self.refused(lambda: case.attention(mask=only("causal &", "causal")), "column")
        self.refused(lambda: case.attention(dtype=only("f31", "f32")), "f31")
        self.refused(lambda: case.attention(backward=only("sideways", "keys")), "backward is 'sideways'")
        self.refused(lambda: case.attention(key_heads=only(3, 2)), "4 query heads do not divide into 3 key/value heads")
        self.refused(lambda: case.attention(partition=[(0, 50, 0), (51, 97, 0)]), "50")

    def test_ranks_that_want_different_things_are_told_who_wants_what(self):
        if WORLD.size > 1:
            case = Case(97)
            call = lambda: case.attention(scale=0.5 if WORLD.rank == 0 else 0.25)
            self.refused(call, "ranks disagree on scale", "0.5 on rank 0", kind=gyre.Disagreement)
            self.assertTrue(issubclass(gyre.Disagreement, ValueError))

    def test_a_wrong_array_of_one_rank_is_named_with_what_was_given_and_what_is_wanted(self):
        case = Case(97)
        attention = case.attention()
        queries = attention.query_tokens
        wanted = WORLD.allgather(queries)[LAST]
        right = [rows(case.given[name], attention.query_rows) for name in "qkv"]

        def wrong(index, array, *parts):
            given = list(right)
            if WORLD.rank == LAST:
                given[index] = array
            self.refused(lambda: attention.forward(*given), *parts)

        wrong(0, right[0][:, :3], "q has shape [", ", 3, 8]", f"[{wanted}, 4, 8]", "query tokens, query heads, head dim")
        wrong(1, right[1][..., 0], "k has shape [", "key tokens, key heads, head dim")
        wrong(2, right[2].astype("float64"), "v is float64", "float32, bfloat16 or float16")
        wrong(1, [1, 2], "k is a list", "DLPack")
        wrong(1, None, "k is a NoneType")
        wrong(0, numpy.asfortranarray(right[0]), "q has a stride", "contiguous")
        wrong(0, numpy.broadcast_to(right[0][:, :1], right[0].shape), "q has strides", "overlap")
        read_only = numpy.empty((queries, 4, 6), "float32")
        read_only.flags.writeable = WORLD.rank != LAST
        self.refused(lambda: attention.forward(*right, out=read_only), "out is a ndarray", "writable")
        small = numpy.empty((queries, 4 - (WORLD.rank == LAST)), "float32")
        self.refused(lambda: attention.forward(*right, lse=small), "lse has shape [", ", 3]", f"[{wanted}, 4]")
        out, _ = attention.forward(*right)  # nobody is left behind
        self.near(out, case.out, attention.query_rows, 2e-6, "out")

    def test_gradients_that_were_not_asked_for_are_refused(self):
        case = Case(97)
        attention = case.attention()
        q, k, v, grad_out = (rows(case.given[name], attention.query_rows) for name in ("q", "k", "v", "grad_out"))
        out, lse = attention.forward(q, k, v)
        self.refused(lambda: attention.backward(grad_out, q, k, v, out, lse), "backward")

    def test_what_is_no_communicator_is_a_type_error(self):
        with self.assertRaisesRegex(TypeError, "mpi4py"):
            gyre.Attention("world", query_tokens=3)


class Documentation(unittest.TestCase):
    def test_methods_say_their_shapes_and_stubs_their_types(self):
        for method, words in ((gyre.Attention.forward, "query tokens"), (gyre.Attention.backward, "grad_out"), (gyre.Attention, "head_dim")):
            self.assertIn(words, inspect.getdoc(method))
        folder = pathlib.Path(gyre.__file__).parent
        stubs = (folder / "_gyre.pyi").read_text()
        compile(stubs, "_gyre.pyi", "exec")
        for part in ("class Attention", "def forward(self, q:", "def backward(self, grad_out:", "class Stall(RuntimeError)"):
            self.assertIn(part, stubs)
        self.assertTrue((folder / "py.typed").exists())


if __name__ == "__main__":
    unittest.main(verbosity=2 if WORLD.rank == 0 else 0)
