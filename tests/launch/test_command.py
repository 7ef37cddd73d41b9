"""The gyre command as a user meets it: files in, files out, one line and one status when something is wrong.

    test_command.py GYRE MPIEXEC [CLASS]

Standard library only: tensors are small enough for plain Python to be the float64 reference.
"""

import array
import fcntl
import functools
import json
import math
import os
import pty
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

GYRE, MPIEXEC = sys.argv[1:3]
RANKS = (1, 2, 3, 4, 5, 8)
CODES = {"<f2": "e", "<f4": "f", "<f8": "d", "<i8": "q", "<u2": "H", "|u1": "B", "|b1": "?"}
SAFE_CODES = {"F16": "e", "F32": "f", "F64": "d", "U8": "B"}


def save(path, shape, values, descr="<f4", fortran_order=False):
    text = f"{{'descr': '{descr}', 'fortran_order': {fortran_order}, 'shape': {tuple(shape)}, }}"
    text += " " * (-(11 + len(text)) % 64) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode())
        file.write(struct.pack(f"<{len(values)}{CODES.get(descr, 'f')}", *values))


def brain(value):
    """The nearest bfloat16, ties to even, as its 16 bits."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


def pack(values, dtype):
    if dtype == "BF16":
        return struct.pack(f"<{len(values)}H", *map(brain, values))
    return struct.pack(f"<{len(values)}{SAFE_CODES[dtype]}", *values)


def unpack(content, dtype):
    if dtype == "BF16":
        return [struct.unpack("<f", struct.pack("<I", bits << 16))[0] for (bits,) in struct.iter_unpack("<H", content)]
    return [value for (value,) in struct.iter_unpack("<" + SAFE_CODES[dtype], content)]


def save_safetensors(path, tensors, **others):
    """tensors: name -> (dtype, shape, values)."""
    header, data = dict(others), b""
    for name, (dtype, shape, values) in tensors.items():
        content = pack(values, dtype)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def load_safetensors(path, name):
    """dtype, shape, values of the only tensor."""
    with open(path, "rb") as file:
        content = file.read()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    assert list(header) == [name] and (8 + length) % 64 == 0, header
    entry, data = header[name], content[8 + length :]
    assert entry["data_offsets"] == [0, len(data)], header
    return entry["dtype"], tuple(entry["shape"]), unpack(data, entry["dtype"])


def load(path):
    with open(path, "rb") as file:
        content = file.read()
    (length,) = struct.unpack("<H", content[8:10])
    header = eval(content[10 : 10 + length])
    assert content[:8] == b"\x93NUMPY\x01\x00" and header["descr"] == "<f4" and not header["fortran_order"], header
    values = array.array("f")
    values.frombytes(content[10 + length :])
    assert len(values) == math.prod(header["shape"]), header
    return header["shape"], values


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

    def expected(self, visible, offset, scale=None, softcap=None):
        scale = self.dim**-0.5 if scale is None else scale
        out, lse = [], []
        for token in range(self.queries):
            for head in range(self.heads):
                by_head = (head,) if visible.__code__.co_argcount == 3 else ()
                keys = [j for j in range(self.keys) if visible(token + offset, j, *by_head)]
                query, kv_head = self.row("q", token, head), head * self.kv_heads // self.heads
                scores = [scale * sum(a * b for a, b in zip(query, self.row("k", j, kv_head))) for j in keys]
                if softcap is not None:
                    scores = [softcap * math.tanh(score / softcap) for score in scores]
                most = max(scores, default=0)
                weights = [math.exp(s - most) for s in scores]
                total = sum(weights)
                lse.append(most + math.log(total) if keys else -math.inf)
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

    def compare(self, case, mask, visible, *more, offset=None, scale=None, softcap=None, **options):
        """Runs a case and compares its files with the definition."""
        out_file, lse_file = self.path("out.npy"), self.path("lse.npy")
        arguments = ["run", *case.arguments, "--mask", mask, "--out", out_file, "--lse", lse_file, "--check", "5", *more]
        self.succeed(*arguments, **options)
        expected_out, expected_lse = case.expected(visible, case.keys - case.queries if offset is None else offset, scale, softcap)
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


class Results(CommandTest):
    def test_causal_self_attention_equals_the_definition_on_any_number_of_ranks(self):
        case = Case(self.folder, 29, 29, 4, 2, 6, 5)
        for ranks in RANKS:
            for partition in ("contiguous", "zigzag", "striped", "striped(3)", "balanced", "zigzag_documents", "auto"):
                more = ("--ranks", ranks, "--partition", partition, "--unit", 3, "--strategy", "ring")
                self.compare(case, "causal", lambda i, j: j <= i, *more)

    def test_fewer_queries_than_keys_meet_the_last_key_by_default(self):
        case = Case(self.folder, 7, 23, 3, 1, 5, 9)
        for ranks in RANKS:
            self.compare(case, "window(4) | sinks(2)", lambda i, j: i - 4 <= j <= i or (j < 2 and j <= i), "--ranks", ranks, "--unit", 2)

    def test_more_queries_than_keys_leave_rows_that_see_nothing_at_zero_and_minus_infinity(self):
        case = Case(self.folder, 19, 11, 2, 2, 4, 4)
        for ranks in (1, 3, 8):
            self.compare(case, "causal", lambda i, j: j <= i, "--ranks", ranks, "--unit", 4)
        self.assertEqual(load(self.path("lse.npy"))[1][0], -math.inf)

    def test_query_offset_and_scale_are_taken_as_given_also_when_negative(self):
        case = Case(self.folder, 9, 9, 2, 1, 4, 4)
        self.compare(case, "causal", lambda i, j: j <= i, "--query-offset", "-3", "--ranks", 3, "--unit", 2, offset=-3)
        self.compare(case, "causal", lambda i, j: j <= i, "--query-offset", "5", offset=5)
        self.compare(case, "full", lambda i, j: True, "--scale", "-0.25", scale=-0.25)

    def test_checksums_change_no_result_and_their_time_is_told(self):
        case = Case(self.folder, 23, 23, 4, 2, 7, 5)
        report = self.path("report.json")
        for ranks in RANKS:
            for sharing in ("auto", "off"):
                more = ("--integrity", "--shared-memory", sharing, "--ranks", ranks, "--threads", 1, "--unit", 3, "--report", report)
                self.compare(case, "causal", lambda i, j: j <= i, *more)
                with open(report, encoding="utf-8") as file:
                    self.assertGreater(json.load(file)["integrity_seconds"], 0)

    def test_softcap_comes_after_the_scale_and_before_the_mask(self):
        case = Case(self.folder, 19, 19, 4, 2, 7, 5)
        for softcap in (0.5, 3.0, 1000.0):
            for ranks in RANKS:
                more = ("--softcap", softcap, "--ranks", ranks, "--unit", 3)
                self.compare(case, "causal", lambda i, j: j <= i, *more, "--scale", 0.7, scale=0.7, softcap=softcap)

    def test_float16_and_float64_files_are_read(self):
        for descr in ("<f2", "<f8"):
            case = Case(self.folder, 13, 13, 4, 2, 6, 5, descr)
            self.compare(case, "documents(5,8)", lambda i, j: (i < 5) == (j < 5), "--ranks", 3, "--unit", 3)

    def test_16_bits_on_the_wire_give_the_attention_of_the_rounded_inputs(self):
        for dtype in ("BF16", "F16"):
            case = Case(self.folder, 23, 23, 4, 2, 7, 5)
            case.tensors = {name: unpack(pack(values, dtype), dtype) for name, values in case.tensors.items()}
            for ranks in RANKS:
                self.compare(case, "causal", lambda i, j: j <= i, "--dtype", dtype.lower(), "--ranks", ranks, "--unit", 3)
        report = self.path("report.json")
        sent = {}
        for dtype in ("f32", "bf16"):
            text = self.succeed("run", "--synthetic", 64, "--dtype", dtype, "--ranks", 4, "--unit", 16, "--strategy", "ring",
                                "--check", 9, "--report", report)  # fmt: skip
            with open(report, encoding="utf-8") as file:
                sent[dtype] = json.load(file)["bytes_sent"]
            self.assertEqual("of inputs as bf16 holds them" in text, dtype == "bf16", text)
        self.assertEqual(sent["f32"], 2 * sent["bf16"])

    def test_every_instruction_set_and_several_threads_agree_with_the_definition(self):
        case = Case(self.folder, 21, 21, 2, 1, 17, 7)
        self.compare(case, "causal", lambda i, j: j <= i, "--isa", "portable")
        self.compare(case, "causal", lambda i, j: j <= i, "--threads", 3, "--ranks", 2, "--unit", 5)

    def test_nothing_to_do_gives_empty_files(self):
        for queries, keys in ((0, 0), (0, 5)):
            case = Case(self.folder, queries, keys, 2, 1, 4, 3)
            for ranks in (1, 3):
                self.compare(case, "full", lambda i, j: True, "--ranks", ranks)
        self.compare(Case(self.folder, 4, 0, 2, 1, 4, 3), "full", lambda i, j: True, "--ranks", 2)

    def test_the_bits_of_synthetic_attention_do_not_depend_on_the_ranks_when_every_row_meets_its_keys_in_one_order(self):
        results = set()
        for ranks in RANKS:
            self.succeed("run", "--synthetic", 96, "--unit", 96, "--heads", 2, "--seed", 5, "--ranks", ranks, "--out", self.path("o.npy"))
            with open(self.path("o.npy"), "rb") as file:
                results.add(file.read())
        self.assertEqual(len(results), 1)


class Files(CommandTest):
    """The same numbers through every file format and type."""

    def run_case(self, case, *more, **options):
        out_file, lse_file = self.path("out.npy"), self.path("lse.npy")
        self.succeed("run", *case.arguments, "--mask", "causal", "--unit", 4, "--out", out_file, "--lse", lse_file, *more, **options)
        return load(out_file)[1], load(lse_file)[1]

    def test_one_safetensors_file_gives_the_bits_of_three_npy_files(self):
        case = Case(self.folder, 13, 17, 4, 2, 6, 5)
        shapes = {"q": (13, 4, 6), "k": (17, 2, 6), "v": (17, 2, 5)}
        tensors = {"other": ("U8", (3,), [1, 2, 3])}
        tensors |= {name: ("F32", shapes[name], case.tensors[name]) for name in ("v", "q", "k")}
        expected = self.run_case(case)
        save_safetensors(self.path("in.safetensors"), tensors, __metadata__={"format": "pt"})
        case.arguments = ["--input", self.path("in.safetensors")]
        for got, wanted in zip(self.run_case(case), expected):
            self.assertEqual(got.tobytes(), wanted.tobytes())

    def test_bf16_f16_and_f64_tensors_of_safetensors_are_what_their_bits_say(self):
        for dtype in ("BF16", "F16", "F64"):
            case = Case(self.folder, 9, 9, 2, 1, 4, 3)
            shapes = {"q": (9, 2, 4), "k": (9, 1, 4), "v": (9, 1, 3)}
            save_safetensors(self.path("in.safetensors"), {name: (dtype, shapes[name], case.tensors[name]) for name in "qkv"})
            case.tensors = {name: unpack(pack(values, dtype), dtype) for name, values in case.tensors.items()}
            case.arguments = ["--input", self.path("in.safetensors")]
            for ranks in (1, 3):
                self.compare(case, "causal", lambda i, j: j <= i, "--ranks", ranks, "--unit", 2)

    def test_outputs_of_every_type_are_the_float32_result_rounded_once(self):
        case = Case(self.folder, 23, 23, 2, 1, 6, 5)
        out, lse = self.run_case(case)
        for dtype, option in (("F32", "f32"), ("F16", "f16"), ("BF16", "bf16"), ("F64", "float64")):
            out_file, lse_file = self.path("out.safetensors"), self.path("lse.safetensors")
            more = ("--mask", "causal", "--unit", 4, "--out", out_file, "--lse", lse_file, "--out-dtype", option)
            self.succeed("run", *case.arguments, *more)
            got_dtype, shape, values = load_safetensors(out_file, "out")
            self.assertEqual((got_dtype, shape), (dtype, (23, 2, 5)))
            self.assertEqual(values, unpack(pack(out, dtype), dtype))
            self.assertEqual(load_safetensors(lse_file, "lse"), ("F32", (23, 2), list(lse)))
        for descr, option in (("<f2", "f16"), ("<f8", "f64")):
            self.succeed("run", *case.arguments, "--mask", "causal", "--unit", 4, "--out", self.path("o.npy"), "--out-dtype", option)
            save(self.path("expected.npy"), (23, 2, 5), out, descr)
            with open(self.path("o.npy"), "rb") as got, open(self.path("expected.npy"), "rb") as expected:
                self.assertEqual(got.read()[-230 * struct.calcsize(CODES[descr]) :], expected.read()[-230 * struct.calcsize(CODES[descr]) :])

    def test_a_result_beyond_the_type_of_its_file_is_refused_and_leaves_nothing(self):
        shapes = {"q": (6, 1, 2), "k": (6, 1, 2), "v": (6, 1, 2)}
        tensors = {name: ("F32", shape, [0.5] * 12) for name, shape in shapes.items()}
        tensors["v"] = ("F32", (6, 1, 2), [1e6] * 12)
        save_safetensors(self.path("in.safetensors"), tensors)
        arguments = ("run", "--input", self.path("in.safetensors"), "--out", self.path("out.npy"))
        self.refuse(*arguments, "--out-dtype", "f16", "--unit", 2, "--ranks", 3, saying=("out.npy", "token 0 has 1e+06, which is beyond f16", "choose --out-dtype f32"))
        self.succeed(*arguments)

    def test_results_that_are_not_finite_end_with_status_one_name_their_place_and_leave_nothing(self):
        shape = (6, 2, 2)
        for name, value in (("zero", 0.0), ("much", 3e38), ("far", 1e20), ("away", -1e20)):
            save(self.path(name + ".npy"), shape, [value] * 24)
        before = sorted(os.listdir(self.folder))
        for query, key, value, saying in (
            ("zero", "zero", "much", "token 0, head 0, channel 0 of the output is "),
            ("far", "far", "zero", "token 0, head 0, channel 0 of the output is nan; scores"),
            ("far", "away", "zero", "token 0, head 0: a row that sees keys has a log-sum-exp of -inf"),
        ):
            for more in (("--ranks", 3, "--unit", 2), ("--out-dtype", "f16"), ("--check", 3), ("--trace", self.path("t.json")), "mpi"):
                mpi, more = (3, ()) if more == "mpi" else (0, more)
                files = [text for option, name in zip("qkv", (query, key, value)) for text in ("--" + option, self.path(name + ".npy"))]
                outputs = ("--out", self.path("o.npy"), "--lse", self.path("l.npy"), "--report", self.path("r.json"))
                done = self.gyre("run", *files, *outputs, *more, mpi=mpi)
                ours = [line for line in done.stderr.splitlines() if line.startswith("gyre: error: ")]
                self.assertEqual((done.returncode, len(ours), done.stdout), (1, 1, ""), done.stderr)
                self.assertIn(saying, ours[0])
                self.assertIn("scores must stay below 1e30 in magnitude", ours[0])
                self.assertEqual(sorted(os.listdir(self.folder)), before)

    def test_documents_of_a_file_are_those_that_were_written_out(self):
        case = Case(self.folder, 13, 13, 2, 1, 4, 3)
        for descr, mpi in (("<i8", 0), ("<u2", 0), ("|u1", 3)):
            save(self.path("lengths.npy"), (3,), [5, 1, 7], descr)
            document = [0] * 5 + [1] + [2] * 7
            mask = f"causal & documents({self.path('lengths.npy')})"
            ranks = () if mpi else ("--ranks", 3)
            self.compare(case, mask, lambda i, j: j <= i and document[i] == document[j], "--unit", 2, *ranks, mpi=mpi)

    def test_blocks_of_a_file_show_what_its_table_says_on_any_number_of_ranks(self):
        case, draw = Case(self.folder, 13, 17, 2, 1, 4, 3), random.Random(3)
        for descr, ranks, block in (("|u1", 1, 4), ("|b1", 3, 5), ("|u1", 4, 1)):
            rows, columns = -(-13 // block), -(-17 // block)
            table = [draw.randrange(3) % 2 if descr == "|b1" else draw.choice((0, 0, 1, 255)) for _ in range(rows * columns)]
            save(self.path("blocks.npy"), (rows, columns), table, descr)
            mask = f"blocks({self.path('blocks.npy')},{block}) & causal"
            visible = lambda i, j: j <= i and table[(i - 4) // block * columns + j // block] != 0
            self.compare(case, mask, visible, "--ranks", ranks, "--unit", 3)

    def test_a_table_that_does_not_fit_the_tokens_or_the_heads_is_refused_with_what_would(self):
        path = self.path("blocks.npy")
        for shape, saying in (((2, 4), "it must be [4, 4]"), ((4, 5), "it must be [4, 4]"), ((3, 4, 4), "blocks of 3 heads")):
            save(path, shape, [1] * math.prod(shape), "|u1")
            self.refuse("run", "--synthetic", 13, "--heads", 2, "--mask", f"blocks({path},4)", "--ranks", 2, saying=saying)

    def test_blocks_of_a_file_tell_query_heads_apart(self):
        case, draw = Case(self.folder, 9, 14, 4, 2, 5, 3), random.Random(3)
        each = [draw.randrange(3) for _ in range(4 * 3 * 4)]
        save(self.path("each.npy"), (4, 3, 4), each, "|u1")
        mask = f"causal & blocks({self.path('each.npy')},4) | sinks(1)"
        visible = lambda i, j, head: j <= i and (j < 1 or each[head * 12 + (i - 5) // 4 * 4 + j // 4] != 0)
        for mpi, partition in ((0, "balanced"), (0, "striped"), (3, "auto")):
            more = ("--unit", 2, "--partition", partition, *(() if mpi else ("--ranks", 3)))
            self.compare(case, mask, visible, *more, mpi=mpi)

    def test_a_layout_of_a_file_is_a_placement_like_any_other_if_it_covers_every_token_once(self):
        case = Case(self.folder, 13, 13, 2, 1, 4, 3)
        path, keys = self.path("layout.npy"), self.path("keys.npy")
        save(path, (3, 3), [7, 13, 0, 0, 2, 0, 2, 7, 2], "<i8")
        save(keys, (2, 3), [0, 12, 2, 12, 13, 1], "|u1")
        for mpi in (0, 3):
            for files in (path, path + "," + keys):
                more = ("--partition", f"layout({files})", *(() if mpi else ("--ranks", 3)))
                self.compare(case, "causal", lambda i, j: j <= i, *more, mpi=mpi)
        for values, saying in (
            ([7, 13, 0, 0, 2, 0, 2, 6, 2], "token 6 lies in no chunk"),
            ([6, 13, 0, 0, 2, 0, 2, 7, 2], "token 6 lies in two chunks"),
            ([7, 14, 0, 0, 2, 0, 2, 7, 2], "[7, 14) are no part of 13"),
            ([7, 13, 0, 0, 2, 3, 2, 7, 2], "rank 3, but there are 3 ranks: give one from 0 to 2"),
        ):
            save(path, (3, 3), values, "<i8")
            self.refuse("run", *case.arguments, "--partition", f"layout({path})", "--ranks", 3,
                        saying=(f"--partition layout({path}): the layout of queries", saying))  # fmt: skip
        save(path, (1, 3), [0, 13, 1], "<i8")
        self.refuse("run", *case.arguments, "--partition", f"layout({path})", saying="rank 1, but there is 1 rank: give rank 0")
        save(path, (1, 3), [0, 13, 2**40], "<i8")
        self.refuse("run", *case.arguments, "--partition", f"layout({path})", mpi=3,
                    saying=(f"--partition {path}: chunk 0 goes to rank 1099511627776;", "from 0 to 2147483647"))  # fmt: skip
        save(path, (1, 3), [0, 13, 0], "<i8")
        self.refuse("run", *case.arguments, "--partition", f"layout({path})", "--out", path, saying="a file of --partition")
        self.refuse("run", *case.arguments, "--partition", "layout(no.npy)", mpi=3, saying=("--partition no.npy: ", "No such file"))

    def test_files_of_masks_that_are_wrong_are_refused_on_every_rank(self):
        path = self.path("m.npy")
        for shape, values, descr, saying in (
            ((2,), [5, 5], "<i8", ("add up to 10", "13")),
            ((2,), [13, 0], "<i8", ("m.npy: element 1 is 0", "at least 1")),
            ((1, 1), [13], "<i8", "m.npy: has shape [1, 1]"),
            ((1,), [13.0], "<f4", "m.npy: has elements of type '<f4'"),
        ):
            save(path, shape, values, descr)
            self.refuse("run", "--synthetic", 13, "--mask", f"causal & documents({path})", "--ranks", 3, saying=saying)
        self.refuse("run", "--synthetic", 13, "--mask", "documents(no.npy)", saying=("column 11", "no.npy", "No such file"))
        self.refuse("run", "--synthetic", 13, "--mask", "blocks(no.npy,4)", mpi=3, saying=("column 8", "no.npy", "No such file"))
        save(path, (1,), [13], "<i8")
        self.refuse("run", "--synthetic", 13, "--mask", f"documents({path})", "--out", path, saying="--out and a file of --mask")

    def test_a_safetensors_file_that_lies_is_refused_on_every_rank(self):
        path = self.path("in.safetensors")
        good = {name: ("F32", (6, 1, 2), [0.5] * 12) for name in "qkv"}
        for tensors, cut, saying in (
            ({"q": good["q"], "k": good["k"]}, None, ("--input", "has no tensor 'v', only 'q', 'k'")),
            (good | {"k": ("U8", (6, 1, 2), [1] * 12)}, None, "tensor k: has elements of type 'U8'"),
            (good | {"v": ("F32", (5, 1, 2), [0.5] * 10)}, None, "tensor v has 5"),
            (good | {"v": ("F32", (6, 1, 2), [0.5] * 11 + [math.nan])}, None, "tensor v: token 5, head 0, channel 1 is nan"),
            (good, -1, "truncated"),
            (good, 20, "truncated"),
        ):
            save_safetensors(path, tensors)
            if cut is not None:
                with open(path, "rb") as file:
                    content = file.read()[:cut]
                with open(path, "wb") as file:
                    file.write(content)
            for ranks in (1, 3):
                self.refuse("run", "--input", path, "--ranks", ranks, "--unit", 2, saying=saying)
        save_safetensors(path, good)
        self.refuse("run", "--input", path, "--out", path, saying="--out and --input are the same file")
        self.refuse("run", "--input", path, "--q", path, saying="exclude each other")


class Reports(CommandTest):
    def test_report_has_the_keys_of_the_contract(self):
        arguments = ("--ranks", 3, "--mask", "causal", "--heads", 4, "--kv-heads", 2, "--head-dim", 16, "--value-dim", 8)
        page = self.succeed("run", "--synthetic", 300, *arguments, "--repeat", 4, "--check", 7, "--report", self.path("r.json"))
        with open(self.path("r.json"), encoding="utf-8") as file:
            report = json.load(file)
        self.assertEqual(report["flops"], 2 * (300 * 301 // 2) * 4 * (16 + 8))
        self.assertEqual((report["ranks"], report["repeat"], report["strategy"]), (3, 4, "ring"))
        self.assertIn(report["partition"], ("contiguous", "zigzag", "striped", "balanced"))
        self.assertIsNone(report["exposed_communication_seconds"])
        self.assertEqual(report["bytes_sent"], 0)  # one node: cells are read where they lie
        for key in ("seconds", "gflops_per_rank", "peak_fraction", "bytes_borrowed", "arena_bytes", "peak_memory_bytes"):
            self.assertGreater(report[key], 0, key)
        self.assertLess(report["peak_fraction"], 1.05)
        self.assertGreaterEqual(report["waiting_seconds"], 0)
        self.assertAlmostEqual(report["gflops_per_rank"], report["flops"] / report["seconds"] / 3e9, delta=1e-6 * report["gflops_per_rank"])
        self.assertEqual((report["check"]["rows"], report["check"]["passed"]), (7, True))
        self.assertLess(report["check"]["share_of_bound"], 1)
        self.assertIn("GFLOP/s", page)
        self.assertIn("median of 4", page)
        self.assertIn("imbalance", page)
        self.assertLessEqual(report["fastest_seconds"], report["seconds"])
        self.assertLessEqual(report["seconds"], report["slowest_seconds"])
        ranks = report["per_rank"]
        for key in ("total_seconds", "computing_seconds", "packing_seconds", "communicating_seconds", "waiting_seconds", "bytes_sent",
                    "bytes_borrowed"):  # fmt: skip
            self.assertEqual(len(ranks[key]), 3, key)
        self.assertEqual(max(ranks["total_seconds"]), report["seconds"])
        self.assertEqual(sum(ranks["bytes_sent"]), report["bytes_sent"])
        for parts in zip(ranks["total_seconds"], ranks["computing_seconds"], ranks["packing_seconds"], ranks["waiting_seconds"]):
            self.assertLessEqual(sum(parts[1:]), 1.001 * parts[0])

    def test_a_page_that_cannot_be_printed_is_no_success_and_the_results_are_there(self):
        for arguments in (["run", "--synthetic", 20, "--out", self.path("o.npy"), "--report", self.path("r.json")], ["--help"]):
            with open("/dev/full", "w", encoding="utf-8") as full:
                done = subprocess.run([GYRE, *map(str, arguments)], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
            self.assertEqual(done.returncode, 2)
            self.assertRegex(done.stderr, r"^gyre: error: standard output could not be written: .*\n$")
        self.assertEqual(sorted(os.listdir(self.folder)), ["o.npy", "r.json"])

    def test_one_rank_sends_nothing_and_without_check_the_report_says_so(self):
        self.succeed("run", "--synthetic", 50, "--report", self.path("r.json"))
        with open(self.path("r.json"), encoding="utf-8") as file:
            report = json.load(file)
        self.assertEqual((report["bytes_sent"], report["check"], report["repeat"]), (0, None, 1))

    def test_a_report_to_standard_output_is_the_only_thing_there_and_no_file(self):
        text = self.succeed("run", "--synthetic", 50, "--ranks", 2, "--report", "-", "--out", self.path("o.npy"))
        self.assertEqual((json.loads(text)["query_tokens"], json.loads(text)["ranks"]), (50, 2))
        self.assertEqual(os.listdir(self.folder), ["o.npy"])
        self.assertIn("nodes", json.loads(self.succeed("topo", "--json", "-")))
        self.assertFalse(os.path.exists("-"))
        self.refuse("run", "--synthetic", 50, "--trace", "-", saying="--trace - is no file; give a name")

    def test_help_and_version_answer_with_status_zero(self):
        self.assertIn("--query-offset", self.succeed("run", "--help"))
        self.assertIn("gyre run", self.succeed("--help"))
        for words in (["-h"], ["help"], ["run", "-h"]):
            self.assertEqual(self.succeed(*words), self.succeed("--help"))
        self.assertEqual(self.succeed("version"), self.succeed("--version"))
        self.assertRegex(self.succeed("--version"), r"^gyre \d+\.\d+\.\d+\n$")


    def test_exposed_communication_is_total_minus_the_same_work_in_silence_and_the_results_stand(self):
        report = self.path("r.json")
        case = Case(self.folder, 29, 29, 4, 2, 6, 5)
        self.compare(case, "full", lambda i, j: True, "--ranks", 5, "--unit", 3, "--measure-overlap", "--repeat", 3, "--report", report)
        with open(report, encoding="utf-8") as file:
            report = json.load(file)
        exposed = max(0, report["seconds"] - report["silent_seconds"])
        self.assertAlmostEqual(report["exposed_communication_seconds"], exposed, delta=1e-9)
        self.assertGreater(report["silent_seconds"], 0)
        self.assertGreater(report["silent_cpu_seconds"], 0)
        self.succeed("run", "--synthetic", 300, "--measure-overlap", "--ranks", 2, "--check", 9, "--report", self.path("r.json"))
        with open(self.path("r.json"), encoding="utf-8") as file:
            again = json.load(file)
        self.assertEqual((again["repeat"], again["check"]["passed"]), (1, True))


class Traces(CommandTest):
    def trace(self, *arguments, **options):
        """Runs with --trace, checks the file by the rules of the format, and returns the stretches by rank and row."""
        path, report = self.path("trace.json"), self.path("report.json")
        self.succeed("run", *arguments, "--trace", path, "--report", report, **options)
        with open(path, encoding="utf-8") as file:
            trace = json.load(file)
        with open(report, encoding="utf-8") as file:
            self.report = json.load(file)
        self.assertGreaterEqual(trace["otherData"]["clock_residual_seconds"], 0)
        names, arrows, rows = {}, {}, {}
        for event in trace["traceEvents"]:
            self.assertIsInstance(event["pid"], int)
            self.assertIsInstance(event["tid"], int)
            if event["ph"] == "M":
                names[event["tid"], event["name"]] = event["args"]
            elif event["ph"] == "X":
                self.assertGreaterEqual(event["ts"], 0)
                self.assertGreaterEqual(event["dur"], 0)
                rows.setdefault((event["pid"] - 1, event["tid"]), []).append(event)
            else:
                arrows.setdefault(event["id"], {})[event["ph"]] = event
        for ends in arrows.values():
            self.assertEqual(sorted(ends), ["f", "s"])
            self.assertLessEqual(ends["s"]["ts"], ends["f"]["ts"])
            self.assertNotEqual(ends["s"]["pid"], ends["f"]["pid"])
        for events in rows.values():
            for one, next_one in zip(events, events[1:]):
                self.assertLessEqual(one["ts"] + one["dur"], next_one["ts"] + 0.0005, "stretches of a row overlap")
        named = {}
        for (rank, tid), events in rows.items():
            named[rank, names[tid, "thread_name"]["name"]] = events
        return named

    def check_ring(self, ranks, rows):
        for rank in range(ranks):
            compute = rows[rank, "compute"]
            names = " ".join(event["name"] for event in compute)
            for part in ("pack query units", "pack key value units", "attend units", "finish units"):
                self.assertIn(part, names)
            self.assertIn((rank, "wait"), rows)
            seconds = 1e-6 * sum(event["dur"] for event in compute)
            self.assertLessEqual(seconds, self.report["slowest_seconds"])
        sent = sum(event["args"]["bytes"] for (_, row), events in rows.items() if row.startswith("send") for event in events)
        self.assertEqual(sent, self.report["bytes_sent"] + self.report["bytes_borrowed"])

    def test_a_trace_has_what_every_rank_did_and_with_whom(self):
        rows = self.trace("--synthetic", 2000, "--mask", "causal", "--ranks", 3, "--threads", 1, "--repeat", 2)
        self.check_ring(3, rows)
        self.assertRegex(rows[0, "receive"][0]["name"], r"^(receive|borrow) [0-9.]+ [kM]?B from 2, stage 1$")
        last = max(event["ts"] + event["dur"] for events in rows.values() for event in events)
        self.assertLessEqual(1e-6 * last, 1.5 * self.report["slowest_seconds"] + 0.1, "one repetition is traced, not all")

    def test_one_rank_and_nothing_to_do_can_be_traced(self):
        self.check_ring(1, self.trace("--synthetic", 200))
        self.trace("--synthetic", 0, "--ranks", 3)

    def test_a_traced_run_gives_the_same_bits(self):
        for name, more in (("a.npy", ("--trace", self.path("t.json"), "--measure-overlap", "--live", "always")), ("b.npy", ())):
            done = self.gyre("run", "--synthetic", 200, "--mask", "causal", "--ranks", 3, "--out", self.path(name), *more)
            self.assertEqual(done.returncode, 0, done.stderr)
        with open(self.path("a.npy"), "rb") as a, open(self.path("b.npy"), "rb") as b:
            self.assertEqual(a.read(), b.read())


class LiveLine(CommandTest):
    def on_terminal(self, *arguments, columns=200):
        """Runs with standard error on a terminal. Returns what it said there, and what stands there at the end."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen([GYRE, *map(str, arguments)], stdout=subprocess.PIPE, stderr=slave)
        os.close(slave)
        written = b""
        while True:
            try:
                piece = os.read(master, 4096)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            written += piece
        os.close(master)
        process.communicate(timeout=60)
        self.status = process.returncode
        screen = []
        for line in written.decode().split("\n"):
            stands = ""
            for part in line.split("\r"):
                self.assertLess(len(part), columns, "a line that wraps cannot be overwritten")
                stands = part + stands[len(part) :]
            screen.append(stands.rstrip())
        return written.decode(), "\n".join(screen).rstrip()

    def test_a_terminal_shows_where_the_run_stands_and_nothing_stays(self):
        said, stands = self.on_terminal("run", "--synthetic", 1024, "--mask", "causal", "--ranks", 2, "--repeat", 2, "--measure-overlap")
        self.assertEqual((self.status, stands), (0, ""))
        self.assertRegex(said, r"gyre: (warm-up|repetition \d of 2[a-z ]*), stage \d: \d+% done")

    def test_a_narrow_terminal_is_not_wrapped(self):
        said, stands = self.on_terminal("run", "--synthetic", 1024, "--mask", "causal", columns=30)
        self.assertEqual((self.status, stands), (0, ""))
        self.assertIn("gyre: attending", said)

    def test_lines_come_at_most_five_times_a_second(self):
        start = time.monotonic()
        said, _ = self.on_terminal("run", "--synthetic", 1024, "--mask", "causal", "--repeat", 3)
        self.assertLessEqual(said.count("% done"), 5 * (time.monotonic() - start) + 1)

    def test_an_error_stands_alone_on_the_terminal(self):
        save(self.path("nan.npy"), (2, 1, 1), [0.5, math.nan])
        _, stands = self.on_terminal("run", "--q", self.path("nan.npy"), "--k", self.path("nan.npy"), "--v", self.path("nan.npy"))
        self.assertEqual(self.status, 2)
        self.assertRegex(stands, r"^gyre: error: [^\n]*nan\.npy[^\n]*$")

    def test_a_pipe_and_a_run_that_is_told_so_show_nothing(self):
        self.succeed("run", "--synthetic", 1024, "--mask", "causal")  # nothing on standard error
        self.assertEqual(self.on_terminal("run", "--synthetic", 1024, "--mask", "causal", "--live", "never")[0], "")

    def test_always_means_also_into_a_pipe(self):
        done = self.gyre("run", "--synthetic", 1024, "--mask", "causal", "--live", "always")
        self.assertEqual(done.returncode, 0)
        self.assertIn("% done", done.stderr)
        self.assertEqual(done.stderr.splitlines()[-1].strip(), "")


class WrongInput(CommandTest):
    def refuse_everywhere(self, *arguments, saying=()):
        self.refuse("run", *arguments, saying=saying)
        self.refuse("run", *arguments, "--ranks", 3, saying=saying)

    def files(self, **replaced):
        """Arguments with good files, some of them replaced."""
        names = {}
        for name, heads in (("q", 4), ("k", 2), ("v", 2)):
            names[name] = replaced.get(name) or self.path(name + ".npy")
            if name not in replaced:
                save(names[name], (6, heads, 3), [0.5] * (6 * heads * 3))
        return [text for name, path in names.items() for text in ("--" + name, path)]

    def test_no_subcommand_and_unknown_names(self):
        self.refuse(saying="gyre run")
        self.refuse("plan", "--ranks", "4", saying="gyre plan is not built yet")
        self.refuse_everywhere("--synthetic", 9, "--rope", "10000", saying="--rope is not built yet; remove it")
        self.refuse_everywhere("--synthetic", 9, "--querry-offset", "3", saying=("--querry-offset", "--query-offset?"))

    def test_masks_and_choices_that_do_not_parse(self):
        for option, value in (("--mask", "causal &"), ("--mask", "blocks(b.npy,4)"), ("--mask", "window(-1)"), ("--mask", "documents(4,4)"),
                              ("--partition", "diagonal"), ("--strategy", "tree"), ("--isa", "sse9"), ("--unit", "100000"),
                              ("--device", "cuda"), ("--dtype", "fp8"), ("--softcap", "0"), ("--softcap", "-2"), ("--query-offset", "99999999999999999")):  # fmt: skip
            self.refuse_everywhere("--synthetic", 9, option, value)

    def test_files_that_are_missing_or_not_tensors(self):
        self.refuse_everywhere(*self.files(k=self.path("missing.npy")), saying=("missing.npy", "No such file"))
        self.refuse_everywhere(*self.files(v=self.folder), saying=(self.folder, "not a regular file"))
        with open(self.path("text.npy"), "w", encoding="utf-8") as file:
            file.write("not a tensor")
        self.refuse_everywhere(*self.files(q=self.path("text.npy")), saying=("text.npy", "not a .npy file"))
        save(self.path("ints.npy"), (6, 2, 3), [0.0] * 36, "<i4")
        self.refuse_everywhere(*self.files(k=self.path("ints.npy")), saying=("ints.npy", "<i4"))
        save(self.path("short.npy"), (6, 2, 3), [0.0] * 30)
        self.refuse_everywhere(*self.files(k=self.path("short.npy")), saying=("short.npy", "truncated"))
        save(self.path("flat.npy"), (6, 2), [0.0] * 12)
        self.refuse_everywhere(*self.files(k=self.path("flat.npy")), saying=("flat.npy", "[tokens, heads, dim]"))

    @unittest.skipIf(os.geteuid() == 0, "root may read everything")
    def test_a_file_that_may_not_be_read(self):
        arguments = self.files()
        os.chmod(self.path("k.npy"), 0)
        self.refuse_everywhere(*arguments, saying=("k.npy", "Permission denied"))

    def test_a_pipe_that_nobody_writes_to_does_not_hang(self):
        os.mkfifo(self.path("pipe.npy"))
        self.refuse_everywhere(*self.files(q=self.path("pipe.npy")), saying="not a regular file")

    def test_shapes_that_contradict_each_other(self):
        save(self.path("other.npy"), (5, 2, 3), [0.0] * 30)
        self.refuse_everywhere(*self.files(v=self.path("other.npy")), saying=("--k ", "k.npy has 6 tokens, --v ", "other.npy has 5; they must be equal"))
        save(self.path("other.npy"), (6, 1, 3), [0.0] * 18)
        self.refuse_everywhere(*self.files(v=self.path("other.npy")), saying=("k.npy has 2 heads, --v ", "other.npy has 1"))
        save(self.path("other.npy"), (6, 2, 4), [0.0] * 48)
        self.refuse_everywhere(*self.files(k=self.path("other.npy")), saying=("--q ", "q.npy has 3 channels, --k ", "other.npy has 4"))
        save(self.path("other.npy"), (6, 3, 3), [0.0] * 54)
        self.refuse_everywhere(*self.files(q=self.path("other.npy")), saying=("--q ", "other.npy has 3 heads, --k ", "k.npy has 2; the heads of keys must be a divisor"))
        save(self.path("wide.npy"), (6, 2, 577), [0.0] * (6 * 2 * 577))
        self.refuse_everywhere(*self.files(v=self.path("wide.npy")), saying=("--v ", "wide.npy has 577 channels; at most 576 are supported"))

    def test_values_that_are_not_finite_are_named_by_their_place_on_one_rank_or_three(self):
        values = [0.5] * 36
        values[4 * 6 + 1 * 3 + 2] = math.nan
        save(self.path("nan.npy"), (6, 2, 3), values)
        self.refuse_everywhere(*self.files(k=self.path("nan.npy")), "--unit", 2, saying="nan.npy: token 4, head 1, channel 2 is nan")
        values[4 * 6 + 1 * 3 + 2] = 1e300
        save(self.path("large.npy"), (6, 2, 3), values, "<f8")
        self.refuse_everywhere(*self.files(k=self.path("large.npy")), "--unit", 2, saying="channel 2 is inf as float32")
        values[4 * 6 + 1 * 3 + 2] = -65520.0
        save(self.path("large.npy"), (6, 2, 3), values)
        self.succeed("run", *self.files(k=self.path("large.npy")), "--dtype", "bf16")
        self.refuse_everywhere(*self.files(k=self.path("large.npy")), "--unit", 2, "--dtype", "f16",
                               saying="large.npy: token 4, head 1, channel 2 is -inf as f16; give values in its range, or --dtype f32")  # fmt: skip

    def test_outputs_that_cannot_be_written_or_would_overwrite_an_input(self):
        nowhere = self.path("no/such/folder/out.npy")
        for option in ("--out", "--lse", "--report", "--trace"):
            self.refuse_everywhere("--synthetic", 9, option, nowhere, saying=(nowhere, "No such file"))
        self.refuse_everywhere("--synthetic", 9, "--out", self.path("good.npy"), "--report", self.folder, saying="not a regular file")
        arguments = self.files()
        self.refuse_everywhere(*arguments, "--out", self.path("q.npy"), saying=("--out and --q", "q.npy"))
        os.symlink(self.path("k.npy"), self.path("link.npy"))
        self.refuse_everywhere(*arguments, "--lse", self.path("link.npy"), saying="--lse and --k")
        detour = os.path.join(self.folder, ".", "out.npy")
        self.refuse_everywhere(*arguments, "--out", detour, "--lse", self.path("out.npy"), saying="--lse and --out")
        self.refuse_everywhere("--synthetic", 9, "--report", self.path("r.json"), "--trace", detour.replace("out.npy", "r.json"),
                               saying="--trace and --report")  # fmt: skip
        self.refuse_everywhere(*arguments, "--trace", self.path("v.npy"), saying=("--trace and --v", "v.npy"))
        self.refuse_everywhere("--synthetic", 9, "--out", self.path("out.txt"), saying="does not end in .npy or .safetensors")

    def test_what_a_killed_run_left_does_not_stop_the_next_one(self):
        self.kill_and_run_again([])

    def test_an_input_that_has_the_name_of_a_partial_output_is_not_removed(self):
        arguments = self.files(q=self.path("out.npy.gyre-partial"))
        save(self.path("out.npy.gyre-partial"), (6, 4, 3), [0.5] * 72)
        self.refuse_everywhere(*arguments, "--out", self.path("out.npy"), saying=("--out and --q", "give the output a name of its own"))
        self.assertTrue(os.path.exists(self.path("out.npy.gyre-partial")))

    def test_standard_output_that_is_full_or_closed_ends_in_an_error(self):
        for arguments in (["run", "--synthetic", "9"], ["--help"], ["run", "--synthetic", "9", "--out", self.path("out.npy")]):
            with open("/dev/full", "w", encoding="utf-8") as full:
                done = subprocess.run([GYRE, *arguments], stdout=full, stderr=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn("gyre: error: standard output could not be written: No space left", done.stderr)
            done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", GYRE, *arguments], stderr=subprocess.PIPE, text=True)
            self.assertEqual((done.returncode, done.stderr.count("gyre: error: ")), (2, 1), done.stderr)
        self.assertEqual(load(self.path("out.npy"))[0], (9, 8, 64))

    def test_a_file_beyond_the_size_limit_of_a_process_is_refused(self):
        limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (10_000, 10_000))
        done = subprocess.run([GYRE, "run", "--synthetic", "300", "--out", self.path("out.npy")], preexec_fn=limit, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout, os.listdir(self.folder)), (2, "", []), done.stderr)
        self.assertIn("out.npy: cannot be written: File too large", done.stderr)

    def test_too_few_descriptors_are_told_from_a_folder_that_is_missing(self):
        limit = functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE, (8, 8))
        arguments = ["run", "--synthetic", "300", "--ranks", "8", "--out", self.path("out.npy")]
        done = subprocess.run([GYRE, *arguments], preexec_fn=limit, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout, os.listdir(self.folder)), (2, "", []), done.stderr)
        self.assertIn("Too many open files; raise the limit of open files (ulimit -n)", done.stderr)

    def test_outputs_behind_links_are_told_apart_by_what_they_point_to(self):
        os.symlink("made.npy", self.path("a.npy"))
        os.symlink(self.path("made.npy"), self.path("b.npy"))
        os.symlink("loop.npy", self.path("loop.npy"))
        self.refuse_everywhere("--synthetic", 9, "--out", self.path("a.npy"), "--lse", self.path("b.npy"), saying="--lse and --out")
        self.refuse_everywhere("--synthetic", 9, "--out", self.path("loop.npy"), saying=("loop.npy", "Too many levels of symbolic links"))
        self.refuse("run", "--synthetic", 9, "--out", self.path("loop.npy"), mpi=3, saying=("loop.npy", "choose another name"))
        self.succeed("run", "--synthetic", 9, "--ranks", 2, "--out", self.path("a.npy"))
        self.assertTrue(os.path.islink(self.path("a.npy")))
        self.assertEqual(load(self.path("made.npy"))[0], (9, 8, 64))

    def test_missing_files_are_named_with_their_option_and_a_remedy(self):
        for option in ("q", "k", "v"):
            remedy = (f"--{option} ", "missing.npy: cannot be read: No such file or directory; give a file that is there on every rank")
            self.refuse_everywhere(*self.files(**{option: self.path("missing.npy")}), saying=remedy)
        self.refuse_everywhere("--input", self.path("missing.safetensors"), saying=("--input ", "No such file", "give a file"))
        self.refuse("run", "--q", saying="--q needs a value; give one: --q FILE")

    def test_a_failed_run_leaves_an_older_result_as_it_was(self):
        save(self.path("out.npy"), (1, 1, 1), [7.0])
        self.refuse_everywhere(*self.files(), "--out", self.path("out.npy"), "--report", self.path("no/r.json"))
        self.assertEqual(load(self.path("out.npy"))[1][0], 7.0)


class UnderMpirun(CommandTest):
    def test_results_equal_the_definition_for_every_number_of_ranks(self):
        case = Case(self.folder, 29, 29, 4, 2, 6, 5)
        for ranks in RANKS:
            self.compare(case, "causal", lambda i, j: j <= i, "--unit", 3, mpi=ranks)

    def test_ranks_of_mpirun_and_ranks_of_one_process_give_the_same_bits(self):
        for options, name in (({"mpi": 3}, "a.npy"), ({}, "b.npy")):
            ranks = () if options else ("--ranks", 3)
            self.succeed("run", "--synthetic", 200, "--mask", "causal", "--out", self.path(name), *ranks, **options)
        with open(self.path("a.npy"), "rb") as a, open(self.path("b.npy"), "rb") as b:
            self.assertEqual(a.read(), b.read())

    def test_wrong_input_ends_every_rank_with_one_line(self):
        self.refuse("run", "--synthetic", 9, "--rope", "10000", mpi=3, saying="--rope is not built yet")
        self.refuse("run", "--synthetic", 9, "--ranks", "2", mpi=3, saying="--ranks")
        self.refuse("run", "--synthetic", 9, "--out", self.path("no/out.npy"), mpi=3, saying="no/out.npy")
        self.refuse("run", "--q", self.path("q.npy"), "--k", "k", "--v", "v", mpi=3, saying=("--q", "q.npy: cannot be read"))
        self.refuse("run", "--synthetic", 9, "--mask", "documents(4,4)", mpi=3, saying="8")
        save(self.path("nan.npy"), (6, 1, 2), [math.nan] * 12)  # no warning of where ranks run stands before that
        files = [word for name in "qkv" for word in ("--" + name, self.path("nan.npy"))]
        self.refuse("run", *files, "--threads", 9, mpi=3, saying="--q " + self.path("nan.npy") + ": token 0, head 0, channel 0 is nan")

    def test_ranks_that_were_asked_for_different_things_say_so_once(self):
        self.refuse("run", "--synthetic", 9, "--mask", "full", ":", "-n", "1", GYRE, "run", "--synthetic", 9, "--mask", "causal", mpi=1,
                    saying=("--mask", "causal", "full"))  # fmt: skip
        self.refuse("run", "--synthetic", 9, ":", "-n", "1", GYRE, "run", "--synthetic", 9, "--check", "5", mpi=1,
                    saying="ranks disagree on --check: not given on rank 0, 5 on rank 1")  # fmt: skip
        self.refuse("run", "--synthetic", 9, ":", "-n", "1", GYRE, "run", "--synthetic", 9, "--integrity", mpi=1,
                    saying="ranks disagree on --integrity: not given on rank 0, given on rank 1")  # fmt: skip

    def test_ranks_of_mpirun_are_traced_into_one_file_and_stay_silent_on_standard_error(self):
        Traces.check_ring(self, 3, Traces.trace(self, "--synthetic", 600, "--mask", "causal", mpi=3))

    def test_what_a_killed_job_left_does_not_stop_the_next_one(self):
        self.kill_and_run_again([MPIEXEC, "--oversubscribe", "--bind-to", "none", "-n", "2"])

    def test_help_and_reports_are_printed_once(self):
        self.assertEqual(json.loads(self.succeed("run", "--synthetic", 50, "--report", "-", mpi=3))["ranks"], 3)
        self.assertEqual(self.succeed("--help", mpi=3).count("--query-offset"), 1)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
