"""Attention and its gradients by the definition, in float64, and what the tests of the module share."""

import unittest

import gyre
import numpy
from mpi4py import MPI

WORLD = MPI.COMM_WORLD
POSITIONS = {
    "full": lambda i, j: numpy.full((len(i), len(j)), True),
    "causal": lambda i, j: j <= i[:, None],
    "window(20) | sinks(3)": lambda i, j: (j <= i[:, None]) & ((j >= i[:, None] - 20) | (j < 3)),
    "causal & documents(60,71,30)": lambda i, j: (j <= i[:, None]) & (document(j) == document(i)[:, None]),
}


def document(positions):
    return numpy.searchsorted([60, 131], positions, side="right")


class Case:
    """A problem with tensors that are the same on every rank, and what attention makes of them."""

    def __init__(self, queries, keys=None, heads=4, key_heads=2, dim=8, value_dim=6, mask="causal", seed=1, dtype="float32", alibi=False, sinks=None):
        """alibi: with the slopes of a power of two of heads; sinks: a logit of each head."""
        draw = numpy.random.default_rng(seed)
        keys = queries if keys is None else keys
        shapes = {"q": (queries, heads, dim), "k": (keys, key_heads, dim), "v": (keys, key_heads, value_dim), "grad_out": (queries, heads, value_dim)}
        self.given = {name: draw.normal(0, 1.5, shape).astype(dtype) for name, shape in shapes.items()}
        self.arguments = dict(query_tokens=queries, key_tokens=keys, query_heads=heads, key_heads=key_heads, head_dim=dim, value_dim=value_dim, mask=mask,
                              alibi=alibi, sinks=sinks is not None)  # fmt: skip
        q, k, v, grad_out = (self.given[name].astype("float64") for name in shapes)
        group = heads // key_heads
        k, v = numpy.repeat(k, group, axis=1), numpy.repeat(v, group, axis=1)
        i, j = numpy.arange(keys - queries, keys), numpy.arange(keys)
        visible = POSITIONS[mask](i, j)
        slopes = 2.0 ** (-8 * numpy.arange(1, heads + 1) / heads) * alibi
        bias = slopes[:, None, None] * numpy.abs(i[:, None] - j)
        scores = numpy.where(visible, numpy.einsum("ihd,jhd->hij", q, k) * dim**-0.5 - bias, -numpy.inf)
        most = numpy.where(visible.any(1), scores.max(-1), 0)[..., None]
        weights = numpy.exp(scores - most)
        logits = numpy.full(heads, -numpy.inf) if sinks is None else numpy.asarray(sinks, "float64")
        sink_weights = numpy.exp(logits[:, None, None] - most)
        total = weights.sum(-1, keepdims=True) + sink_weights
        with numpy.errstate(divide="ignore"):
            self.lse = (most + numpy.log(total))[..., 0].T
        weights = numpy.divide(weights, total, out=numpy.zeros_like(weights), where=total > 0)
        self.out = numpy.einsum("hij,jhe->ihe", weights, v)
        ds = weights * (numpy.einsum("ihe,jhe->hij", grad_out, v) - numpy.einsum("ihe,ihe->hi", grad_out, self.out)[..., None]) * dim**-0.5
        folded = lambda gradient: gradient.reshape(keys, key_heads, group, -1).sum(2)
        self.dsinks = -numpy.einsum("hi,ihe,ihe->h", numpy.divide(sink_weights, total, out=numpy.zeros_like(total), where=total > 0)[..., 0], grad_out, self.out)
        self.dq = numpy.einsum("hij,jhd->ihd", ds, k)
        self.dk = folded(numpy.einsum("hij,ihd->jhd", ds, q))
        self.dv = folded(numpy.einsum("hij,ihe->jhe", weights, grad_out))

    def attention(self, comm=WORLD, **options):
        return gyre.Attention(comm, **{"deadline_seconds": 100, "threads": 1, **self.arguments, **options})


def rows(array, slices):
    """This rank's rows of an array of all."""
    return numpy.concatenate([array[rows] for rows in slices]) if slices else array[:0]


class RanksTest(unittest.TestCase):
    def near(self, got, expected, slices, limit, name):
        """A rank's rows of a result, against the largest of all."""
        numpy.testing.assert_equal(numpy.asarray(got).shape, rows(expected, slices).shape, name)
        finite = numpy.isfinite(expected)
        error = numpy.abs(numpy.where(rows(finite, slices), numpy.asarray(got, "float64") - rows(numpy.where(finite, expected, 0), slices), 0))
        self.assertLessEqual(error.max(initial=0), limit * numpy.abs(expected[finite]).max(initial=0), name)

    def refused(self, call, *parts, kind=ValueError):
        """What this rank was told, in the same words as the others."""
        with self.assertRaises(kind) as caught:
            call()
        message = str(caught.exception)
        for part in parts:
            self.assertIn(part, message)
        self.assertEqual(set(WORLD.allgather(message)), {message})
