"""What happens to a job of which one rank raises. usage: test_endings.py MPIEXEC"""

import os
import subprocess
import sys
import tempfile
import textwrap
import time
import unittest

MPIEXEC = sys.argv[1]
START = """
import sys, numpy, gyre
from mpi4py import MPI
attention = gyre.Attention(MPI.COMM_WORLD, query_tokens=192, head_dim=8, partition="contiguous", threads=1)
q = numpy.zeros((attention.query_tokens, 1, 8), "float32")
"""


class Endings(unittest.TestCase):
    def job(self, script, *flags, ranks=3):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "job.py")
            with open(path, "w") as file:
                file.write(START + textwrap.dedent(script))
            begin = time.monotonic()
            done = subprocess.run([MPIEXEC, "--oversubscribe", "--bind-to", "none", "-n", str(ranks), sys.executable, *flags, path],
                                  capture_output=True, text=True, timeout=100)  # fmt: skip
        return done, time.monotonic() - begin

    def test_a_rank_that_raises_while_the_others_wait_ends_the_job_with_its_traceback(self):
        done, seconds = self.job("""
            if MPI.COMM_WORLD.rank == 1:
                raise KeyError("my own mistake")
            attention.forward(q, q, q)
        """)  # fmt: skip
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("KeyError: 'my own mistake'", done.stderr)
        lines = [line for line in done.stderr.splitlines() if line.startswith("gyre: error: ")]
        self.assertEqual(lines, ["gyre: error: rank 1 ends with KeyError: 'my own mistake'"])
        self.assertLess(seconds, 60)  # the deadline of a lost rank is 600

    def test_a_refusal_that_nobody_catches_ends_the_job_with_one_line_of_gyre(self):
        done, _ = self.job("""
            attention.forward(q[:1] if MPI.COMM_WORLD.rank == 2 else q, q, q)
        """)  # fmt: skip
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("ValueError: q has shape [1, 1, 8]", done.stderr)
        self.assertEqual(len([line for line in done.stderr.splitlines() if line.startswith("gyre: error: ")]), 1, done.stderr)

    def test_a_job_that_ends_well_ends_well(self):
        done, _ = self.job("""
            attention.forward(q, q, q)
            del attention
        """)  # fmt: skip
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_a_process_alone_needs_no_mpi4py_and_ends_as_ever(self):
        done = subprocess.run([sys.executable, "-c", textwrap.dedent("""
            import sys, gyre, numpy
            q = numpy.ones((5, 1, 8), "float32")
            out, lse = gyre.Attention(query_tokens=5, head_dim=8).forward(q, q, q)
            assert (out == 1).all() and "mpi4py" not in sys.modules
            gyre.Attention(query_tokens=-1)
        """)], capture_output=True, text=True, timeout=100)  # fmt: skip
        self.assertEqual(done.returncode, 1)
        self.assertIn("ValueError: query tokens is -1", done.stderr)
        self.assertNotIn("gyre: error", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
