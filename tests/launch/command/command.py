"""What the tests of the gyre command share: a problem with its attention by the definition, and ways to run the command.

Each file of tests is run as `test_NAME.py GYRE MPIEXEC [CLASS]`. Standard library only: tensors are small enough for plain Python to be the float64
reference.
"""

import math
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
import unittest

from tensor_files import CODES, load, save

GYRE, MPIEXEC = sys.argv[1:3]


def slope(head, heads):
    """ALiBi's, as its authors compute them."""
    power = 2 ** int(math.log2(heads))
    return 2 ** (-8 * (head + 1) / power) if head < power else 2 ** (-8 * (2 * (head - power) + 1) / (2 * power))


def kept(probability, seed, query, key, head):
    """What dropout multiplies a weight by, as kernels/dropout.hpp says."""
    step, ones = 0x9E3779B97F4A7C15, 2**64 - 1

    def mixed(z):
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & ones
        z = (z ^ z >> 27) * 0x94D049BB133111EB & ones
        return z ^ z >> 31

    row = mixed(mixed(mixed(seed + step & ones) ^ (query & ones)) + (head + 1) * step & ones)
    x = row + key * 0x9E3779B9 & 0xFFFFFFFF
    x = (x ^ x >> 16) * 0x7FEB352D + (row >> 32) & 0xFFFFFFFF
    x = (x ^ x >> 15) * 0x846CA68B & 0xFFFFFFFF
    signed = x - 2**32 if x >= 2**31 else x
    return 0 if signed < probability * 2**32 - 2**31 else 1 / (1 - probability)


def product(i, j, query, key):
    return sum(a * b for a, b in zip(query, key))


def rotary_product(apart, frequencies, layout="half", magnitude=1.0):
    """Of rows whose pairs are rotated, by how far apart i and j are taken to be."""
    pairs = len(frequencies)

    def rotated(i, j, query, key):
        total = product(i, j, query[2 * pairs :], key[2 * pairs :])
        for pair, frequency in enumerate(frequencies):
            x, y = (pair, pair + pairs) if layout == "half" else (2 * pair, 2 * pair + 1)
            q, k = complex(query[x], query[y]), complex(key[x], key[y])
            angle = apart(i, j) * frequency
            total += magnitude**2 * (q * k.conjugate() * complex(math.cos(angle), math.sin(angle))).real
        return total

    return rotated


class Case:
    """A small problem, its files, and its attention by the definition."""

    def __init__(self, folder, queries, keys, heads, kv_heads, dim, value_dim, descr="<f4", seed=1):
        draw = random.Random(seed)
        self.queries, self.keys, self.heads, self.kv_heads, self.dim, self.value_dim = queries, keys, heads, kv_heads, dim, value_dim
        self.tensors, self.arguments = {}, []
        shapes = {"q": (queries, heads, dim), "k": (keys, kv_heads, dim), "v": (keys, kv_heads, value_dim)}
        for name, shape in shapes.items():
            values = [draw.gauss(0, 1.5) for _ in range(math.prod(shape))]
            path = os.path.join(folder, name + ".npy")
            save(path, shape, values, descr)
            code = CODES[descr]
            stored = struct.unpack(f"<{len(values)}{code}", struct.pack(f"<{len(values)}{code}", *values))
            self.tensors[name] = struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *stored))
            self.arguments += ["--" + name, path]

    def row(self, name, token, head):
        heads, dim = (self.heads if name == "q" else self.kv_heads), (self.value_dim if name == "v" else self.dim)
        begin = (token * heads + head) * dim
        return self.tensors[name][begin : begin + dim]

    def expected(self, visible, offset, scale=None, softcap=None, alibi=False, sinks=None, dropout=None, product=product):
        scale = self.dim**-0.5 if scale is None else scale
        out, lse = [], []
        for token in range(self.queries):
            for head in range(self.heads):
                by_head = (head,) if visible.__code__.co_argcount == 3 else ()
                keys = [j for j in range(self.keys) if visible(token + offset, j, *by_head)]
                query, kv_head = self.row("q", token, head), head * self.kv_heads // self.heads
                scores = [scale * product(token + offset, j, query, self.row("k", j, kv_head)) for j in keys]
                if softcap is not None:
                    scores = [softcap * math.tanh(score / softcap) for score in scores]
                if alibi:
                    scores = [score - slope(head, self.heads) * abs(token + offset - j) for score, j in zip(scores, keys)]
                most = max(scores + ([sinks[head]] if sinks else []), default=0)
                weights = [math.exp(s - most) for s in scores]
                total = sum(weights) + (math.exp(sinks[head] - most) if sinks else 0)
                lse.append(most + math.log(total) if total else -math.inf)
                if dropout is not None:
                    weights = [w * kept(*dropout, token + offset, j, head) for w, j in zip(weights, keys)]
                values = [self.row("v", j, kv_head) for j in keys]
                out += [sum(w * v[c] for w, v in zip(weights, values)) / total if keys else 0.0 for c in range(self.value_dim)]
        return out, lse


class CommandTest(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory(prefix="gyre-command-")
        self.addCleanup(self.scratch.cleanup)
        self.folder = self.scratch.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def gyre(self, *arguments, mpi=0, timeout=60):
        launch = [MPIEXEC, "--oversubscribe", "--bind-to", "none", "-n", str(mpi)] if mpi else []
        return subprocess.run([*launch, GYRE, *map(str, arguments)], capture_output=True, text=True, timeout=timeout)

    def succeed(self, *arguments, **options):
        done = self.gyre(*arguments, **options)
        self.assertEqual(done.returncode, 0, done.stderr)
        warnings = [line for line in done.stderr.splitlines() if line.startswith("gyre: warning: ")]
        self.assertLessEqual(len(warnings), 1, done.stderr)  # more ranks or threads than cores, here
        self.assertEqual(done.stderr, "".join(line + "\n" for line in warnings))
        return done.stdout

    def refuse(self, *arguments, saying=(), **options):
        before = sorted(os.listdir(self.folder))
        done = self.gyre(*arguments, timeout=20, **options)
        ours = [line for line in done.stderr.splitlines() if "gyre:" in line]
        self.assertEqual(done.returncode, 2, (arguments, done.stderr))
        self.assertEqual(len(ours), 1, (arguments, done.stderr))
        self.assertTrue(ours[0].startswith("gyre: error: "), ours)
        for part in [saying] if isinstance(saying, str) else saying:
            self.assertIn(part, ours[0])
        self.assertEqual(done.stdout, "", arguments)
        self.assertEqual(sorted(os.listdir(self.folder)), before, "a failed run left files behind")

    def kill_and_run_again(self, launch):
        """A job that writes, one beside it that is refused, and one after it was killed that is not."""
        arguments = ("run", "--synthetic", "300", "--out", self.path("out.npy"))
        victim = subprocess.Popen([*launch, GYRE, *arguments, "--repeat", "1000000"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not os.path.exists(self.path("out.npy.gyre-partial")):
                self.assertIsNone(victim.poll(), "it ended before it was killed")
                time.sleep(0.01)
            beside = self.gyre(*arguments)
        finally:
            victim.kill()
            victim.wait()
        self.assertEqual(beside.returncode, 2, beside.stderr)
        self.assertIn("another job writes it now", beside.stderr)
        for _ in range(1000):  # ranks of mpirun notice a little later
            after = self.gyre(*arguments)
            if after.returncode == 0:
                break
            time.sleep(0.02)
        self.assertEqual((after.returncode, after.stderr), (0, ""))
        self.assertEqual(os.listdir(self.folder), ["out.npy"])

    def compare(self, case, mask, visible, *more, offset=None, scale=None, softcap=None, alibi=False, sinks=None, dropout=None,
                product=product, **options):  # fmt: skip
        """Runs a case and compares its files with the definition."""
        out_file, lse_file = self.path("out.npy"), self.path("lse.npy")
        arguments = ["run", *case.arguments, "--mask", mask, "--out", out_file, "--lse", lse_file, "--check", "5", *more]
        self.succeed(*arguments, **options)
        expected_out, expected_lse = case.expected(visible, case.keys - case.queries if offset is None else offset, scale, softcap, alibi, sinks, dropout, product)
        shape, out = load(out_file)
        self.assertEqual(shape, (case.queries, case.heads, case.value_dim))
        lse_shape, lse = load(lse_file)
        self.assertEqual(lse_shape, (case.queries, case.heads))
        largest = max(map(abs, expected_out), default=0)
        limit = 5e-3 if "bf16" in more else 2e-6  # weights may be rounded to bf16
        for index, (got, expected) in enumerate(zip(out, expected_out)):
            self.assertLessEqual(abs(got - expected), limit * largest, (more, index))
        for index, (got, expected) in enumerate(zip(lse, expected_lse)):
            self.assertTrue(got == expected or abs(got - expected) < 1e-5, (more, index, got, expected))
        self.assertEqual([name for name in os.listdir(self.folder) if "partial" in name], [])


def main():
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
