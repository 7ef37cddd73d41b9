"""Arrays of JAX, which are read-only and know bfloat16, on the ranks of mpirun (or one). Every rank runs every test."""

import sys
import unittest

try:
    import jax
except ImportError:
    print("skipped: no JAX for this interpreter")
    sys.exit(0)

import gyre
from jax import numpy
from reference import WORLD, Case, RanksTest, rows


class Jax(RanksTest):
    def test_arrays_are_read_where_they_lie_and_results_are_arrays_of_jax(self):
        for dtype, name, limit in ((numpy.float32, "f32", 4e-6), (numpy.bfloat16, "bf16", 2e-2)):
            case = Case(97)
            attention = case.attention(dtype=name, backward=True)
            held = attention.query_rows
            q, k, v, grad_out = (numpy.asarray(rows(case.given[tensor], held), dtype) for tensor in ("q", "k", "v", "grad_out"))
            out, lse = attention.forward(q, k, v)
            self.assertTrue(isinstance(out, jax.Array) and out.dtype == dtype and lse.dtype == numpy.float32)
            self.near(out.astype("float32"), case.out, held, limit, "out")
            for name, got in zip(("dq", "dk", "dv"), attention.backward(grad_out, q, k, v, out, lse)):
                self.assertEqual(got.dtype, dtype)
                self.near(got.astype("float32"), getattr(case, name), held, limit, name)

    def test_what_is_read_only_is_not_written(self):
        attention = gyre.Attention(WORLD, query_tokens=8, head_dim=4, threads=1)
        q = numpy.zeros((attention.query_tokens, 1, 4))
        self.refused(lambda: attention.forward(q, q, q, out=q), "out is an array of JAX, which is never written")


if __name__ == "__main__":
    unittest.main(verbosity=2 if WORLD.rank == 0 else 0)
