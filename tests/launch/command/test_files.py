"""Tensors, masks and layouts of files: what they say is what is computed, and what they cannot say is refused."""

import math
import os
import random
import struct

from command import Case, CommandTest, main
from tensor_files import CODES, load, load_safetensors, pack, save, save_safetensors, unpack


class TensorFiles(CommandTest):
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
        alone = [("--ranks", 3, "--unit", 2), ("--out-dtype", "f16"), ("--check", 3), ("--trace", self.path("t.json"))]
        for query, key, value, saying, ways in (
            ("zero", "zero", "much", "token 0, head 0, channel 0 of the output is ", alone + ["mpi"]),  # mpirun takes a second to fail
            ("far", "far", "zero", "token 0, head 0, channel 0 of the output is nan; scores", alone),
            ("far", "away", "zero", "token 0, head 0: a row that sees keys has a log-sum-exp of -inf", alone),
        ):
            for more in ways:
                mpi, more = (3, ()) if more == "mpi" else (0, more)
                files = [text for option, name in zip("qkv", (query, key, value)) for text in ("--" + option, self.path(name + ".npy"))]
                outputs = ("--out", self.path("o.npy"), "--lse", self.path("l.npy"), "--report", self.path("r.json"))
                done = self.gyre("run", *files, *outputs, *more, mpi=mpi)
                ours = [line for line in done.stderr.splitlines() if line.startswith("gyre: error: ")]
                self.assertEqual((done.returncode, len(ours), done.stdout), (1, 1, ""), done.stderr)
                self.assertIn(saying, ours[0])
                self.assertIn("scores must stay below 1e30 in magnitude", ours[0])
                self.assertEqual(sorted(os.listdir(self.folder)), before)

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


class PlanFiles(CommandTest):
    """Masks and layouts of files."""

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

    def test_blocks_need_not_be_square(self):
        case, draw = Case(self.folder, 13, 17, 2, 1, 4, 3), random.Random(4)
        for rows_of, keys_of, ranks in ((1, 4, 3), (5, 1, 1)):
            rows, columns = -(-13 // rows_of), -(-17 // keys_of)
            table = [draw.randrange(2) for _ in range(rows * columns)]
            save(self.path("blocks.npy"), (rows, columns), table, "|u1")
            visible = lambda i, j: table[(i - 4) // rows_of * columns + j // keys_of] != 0
            self.compare(case, f"blocks({self.path('blocks.npy')},{rows_of},{keys_of})", visible, "--ranks", ranks, "--unit", 3)

    def test_columns_and_diagonals_of_files_tell_query_heads_apart(self):
        case, draw = Case(self.folder, 21, 21, 4, 2, 5, 3), random.Random(5)
        columns, diagonals = [draw.randrange(4) == 0 for _ in range(4 * 21)], [draw.randrange(3) == 0 for _ in range(4 * 6)]
        save(self.path("columns.npy"), (4, 21), columns, "|b1")
        save(self.path("diagonals.npy"), (4, 6), diagonals, "|u1")
        mask = f"(columns({self.path('columns.npy')}) | diagonals({self.path('diagonals.npy')},4)) & causal | sinks(1)"
        visible = lambda i, j, head: j <= i and (j < 1 or columns[head * 21 + j] or diagonals[head * 6 + (i - j) // 4])
        for mpi, partition in ((0, "balanced"), (3, "auto")):
            more = ("--unit", 4, "--partition", partition, *(() if mpi else ("--ranks", 3)))
            self.compare(case, mask, visible, *more, mpi=mpi)
        self.refuse("run", "--synthetic", 22, "--heads", 4, "--mask", mask, saying=("columns.npy has 21 columns", "it must have 22"))

    def test_slices_of_a_file_count_rows_and_may_overlap(self):
        case = Case(self.folder, 13, 17, 2, 1, 4, 3)
        slices = [(0, 9, 0, 6, 0), (4, 13, 3, 15, 1), (2, 8, 5, 17, 2), (6, 12, 9, 17, 3)]
        save(self.path("slices.npy"), (4, 5), [number for slice in slices for number in slice], "<i8")

        def shown(row, key, first, end, begin, stop, kind):
            a, b = row - first, key - begin
            causal, inverse = b <= a + (stop - begin) - (end - first), b >= a
            return first <= row < end and begin <= key < stop and (kind % 2 == 0 or causal) and (kind < 2 or inverse)

        visible = lambda i, j: any(shown(i - 4, j, *slice) for slice in slices)
        self.compare(case, f"slices({self.path('slices.npy')})", visible, "--ranks", 3, "--unit", 3)
        self.refuse("run", "--synthetic", 12, "--mask", f"slices({self.path('slices.npy')})", saying=("up to query row 13 and key 17",))

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



if __name__ == "__main__":
    main()
