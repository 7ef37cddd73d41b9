"""gyre.NativeSparseAttention on the ranks of mpirun (or one), against its definition in float64. Every rank runs every test."""

import unittest

import gyre
import numpy
from reference import WORLD, RanksTest, rows

LAST = WORLD.size - 1
LENGTHS = {"block": 8, "stride": 4, "select_block": 8, "select_blocks": 4, "window": 11}


def softmax(scores, seen):
    """[heads, queries, keys]; 0 where nothing is seen."""
    most = numpy.where(seen, scores, -numpy.inf).max(-1, keepdims=True, initial=-1e9)
    weights = numpy.exp(numpy.where(seen, scores - most, -numpy.inf))
    return numpy.divide(weights, weights.sum(-1, keepdims=True), out=numpy.zeros_like(weights), where=seen.any(-1, keepdims=True))


class Native:
    """Inputs that are the same on every rank, and what the definition makes of them with the blocks that were selected."""

    def __init__(self, tokens, dtype="float32", compression="mean"):
        draw = numpy.random.default_rng(3)
        self.tokens, self.compression, self.blocks = tokens, compression, max(0, (tokens - 8) // 4 + 1)
        shapes = {"q": (tokens, 4, 8), "k": (tokens, 2, 8), "v": (tokens, 2, 6), "grad_out": (tokens, 4, 6), "compressed_k": (self.blocks, 2, 8),
                  "compressed_v": (self.blocks, 2, 6)}  # fmt: skip
        self.given = {name: draw.normal(0, 1.5, shape).astype(dtype) for name, shape in shapes.items()}
        self.given["gates"] = draw.uniform(0, 1, (tokens, 4, 3)).astype(dtype)

    def attention(self, comm=WORLD, **options):
        arguments = dict(tokens=self.tokens, query_heads=4, key_heads=2, head_dim=8, value_dim=6, compression=self.compression, threads=1, deadline_seconds=100)
        return gyre.NativeSparseAttention(comm, **{**arguments, **LENGTHS, **options})

    def compressed(self, attention):
        """Arguments of calls, where there are some."""
        names = ("compressed_k", "compressed_v") if self.compression == "given" else ()
        return {name: rows(self.given[name], attention.compressed_rows) for name in names}

    def expected(self, visible):
        """out and gradients, by name."""
        given = {name: value.astype("float64") for name, value in self.given.items()}
        q, gates, grad_out = given["q"], given["gates"], given["grad_out"]
        pool = numpy.zeros((self.blocks, self.tokens))
        for block in range(self.blocks):
            pool[block, 4 * block : 4 * block + 8] = 1 / 8
        if self.compression == "mean":
            given["compressed_k"], given["compressed_v"] = (numpy.einsum("mj,jgd->mgd", pool, given[name]) for name in "kv")
        i, j = numpy.arange(self.tokens)[:, None], numpy.arange(self.tokens)
        seen = (numpy.broadcast_to(4 * numpy.arange(self.blocks) + 7 <= i, (4, self.tokens, self.blocks)), visible,
                numpy.broadcast_to((j <= i) & (j > i - 11), visible.shape))  # fmt: skip
        results = {"out": 0, "dq": 0, "dgates": []}
        gradients = [{name: numpy.zeros_like(given[name]) for name in ("k", "v")}, {name: numpy.zeros_like(given[name]) for name in ("compressed_k", "compressed_v")}]
        for branch in range(3):
            prefix = "compressed_" if branch == 0 else ""
            k, v = (numpy.repeat(given[prefix + name], 2, axis=1) for name in "kv")
            weights = softmax(numpy.einsum("ihd,jhd->hij", q, k) * 8**-0.5, seen[branch])
            out, gate = numpy.einsum("hij,jhe->ihe", weights, v), gates[..., branch, None]
            results["out"] += gate * out
            results["dgates"].append((grad_out * out).sum(-1))
            grad = gate * grad_out
            ds = weights * (numpy.einsum("ihe,jhe->hij", grad, v) - numpy.einsum("ihe,ihe->hi", grad, out)[..., None]) * 8**-0.5
            results["dq"] += numpy.einsum("hij,jhd->ihd", ds, k)
            into = gradients[branch == 0]
            into[prefix + "k"] += numpy.einsum("hij,ihd->jhd", ds, q).reshape(-1, 2, 2, 8).sum(2)
            into[prefix + "v"] += numpy.einsum("hij,ihe->jhe", weights, grad).reshape(-1, 2, 2, 6).sum(2)
        results["dgates"] = numpy.stack(results["dgates"], -1)
        for name in "kv":
            results["d" + name] = gradients[0][name]
            if self.compression == "mean":
                results["d" + name] += numpy.einsum("mj,mgd->jgd", pool, gradients[1]["compressed_" + name])
            else:
                results["compressed_d" + name] = gradients[1]["compressed_" + name]
        return results


class NativeTest(RanksTest):
    def check(self, case, limit=5e-6, **options):
        attention = case.attention(backward=True, **options)
        q, k, v, gates, grad_out = (rows(case.given[name], attention.rows) for name in ("q", "k", "v", "gates", "grad_out"))
        out, state = attention.forward(q, k, v, gates, **case.compressed(attention))
        tokens = range(case.tokens)
        visible = numpy.array([[[state.visible(i, j, head) for j in tokens] for i in tokens] for head in range(4)])
        self.assertEqual(set(WORLD.allgather(visible.tobytes())), {visible.tobytes()})
        self.assertEqual(state.pairs, visible.sum())
        blocks = visible[:, :, ::8].sum(-1)
        numpy.testing.assert_array_equal(blocks, numpy.broadcast_to(numpy.minimum(4, numpy.arange(case.tokens) // 8 + 1), blocks.shape))
        numpy.testing.assert_array_equal(visible[0], visible[1])  # of a group
        gradients = attention.backward(grad_out, q, k, v, gates, state, **case.compressed(attention))
        expected = case.expected(visible)
        self.near(out, expected["out"], attention.rows, limit, "out")
        for name, got in zip(("dq", "dk", "dv", "dgates"), gradients):
            self.near(got, expected[name], attention.rows, limit, name)
        for name, got in zip(("compressed_dk", "compressed_dv"), gradients[4:]):
            self.near(got, expected[name], attention.compressed_rows, limit, name)

    def test_outputs_and_gradients_are_those_of_the_definition(self):
        self.check(Native(101))
        self.check(Native(101), partition="striped(16)", strategy="all_gather")
        self.check(Native(61, compression="given"))
        self.check(Native(5))  # no block is complete

    def test_a_layout_of_ones_own_holds(self):
        third = [(0, 30, 0), (30, 61, LAST), (61, 90, 0)]
        self.check(Native(90), partition=third)

    def test_any_ranks_select_what_one_does(self):
        case = Native(101)
        found = []
        for comm in (WORLD, None):
            attention = case.attention(comm)
            state = attention.forward(*(rows(case.given[name], attention.rows) for name in ("q", "k", "v", "gates")))[1]
            found.append([[state.visible(i, j, head) for j in range(0, 101, 8)] for i in range(101) for head in (0, 2)])
        self.assertEqual(*found)

    def test_wrong_arguments_are_refused_on_every_rank(self):
        case = Native(40)
        attention = case.attention(backward=True)
        q, k, v, gates, grad_out = (rows(case.given[name], attention.rows) for name in ("q", "k", "v", "gates", "grad_out"))
        wrong = gates[..., :2] if WORLD.rank == LAST else gates
        self.refused(lambda: attention.forward(q, k, v, wrong), "gates has shape", "query heads, 3")
        self.refused(lambda: attention.forward(q, k, v, gates, compressed_k=k), "compression='given'")
        self.refused(lambda: attention.backward(grad_out, q, k, v, gates, None), "state")
        self.refused(lambda: case.attention(block=9), "block is 9", "multiple")
        self.refused(lambda: case.attention(compression="mlp"), "'mean' or 'given'")
        out, state = attention.forward(q, k, v, gates)
        self.refused(lambda: attention.backward(grad_out, q, k, v, gates, Native(48).attention().forward(*(
            rows(Native(48).given[name], Native(48).attention().rows) for name in ("q", "k", "v", "gates")))[1]), "not one that forward")


if __name__ == "__main__":
    unittest.main(verbosity=2 if WORLD.rank == 0 else 0)
