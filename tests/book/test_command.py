"""gyre_bench_longbook under mpirun, on a small model of random weights. usage: test_command.py LONGBOOK MPIEXEC"""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

from small_model import gguf

LONGBOOK, MPIEXEC = sys.argv[1:3]


def run(ranks, *arguments):
    command = [MPIEXEC, "--oversubscribe", "--bind-to", "none", "-n", str(ranks), LONGBOOK, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


class Reading(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        self.model, self.text = self.folder / "model.gguf", self.folder / "text"
        self.model.write_bytes(gguf())
        self.text.write_text("and the earth was without form, and void; " * 12)

    def read(self, ranks, *arguments):
        done = run(ranks, "--model", self.model, "--text", self.text, "--tokens", 300, "--json", self.folder / "json", *arguments)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return json.loads((self.folder / "json").read_text())

    def refused(self, *arguments):
        """The one line of ours that it ends with."""
        done = run(2, *arguments)
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        lines = [line for line in done.stderr.splitlines() if "gyre_bench_longbook" in line and "error:" in line]
        self.assertEqual(len(lines), 1, done.stderr)
        return lines[0]

    def test_two_and_four_ranks_have_the_perplexity_of_one(self):
        (one,) = self.read(1)["readings"]
        self.assertGreater(one["perplexity"], 1)
        for ranks in (2, 4):
            readings = self.read(ranks, "--strategy", "ring", "ulysses", "--partition", "zigzag", "striped")["readings"]
            self.assertEqual([(r["strategy"], r["partition"]) for r in readings],
                             [("ring", "zigzag"), ("ring", "striped"), ("ulysses", "zigzag"), ("ulysses", "striped")])  # fmt: skip
            for reading in readings:
                self.assertAlmostEqual(reading["perplexity"] / one["perplexity"], 1, delta=1e-5)
                self.assertEqual(len(reading["seconds"]["ranks"]), ranks)

    def test_parts_of_a_rank_are_its_time_and_bins_cover_the_text(self):
        (reading,) = self.read(2, "--bin", 100, "--repeat", 3)["readings"]
        for rank in reading["seconds"]["ranks"]:
            total = rank.pop("total")
            self.assertLess(sum(rank.values()), 1.001 * total)
            self.assertGreater(sum(rank.values()), 0.5 * total)
        self.assertEqual([(bin["begin"], bin["end"]) for bin in reading["positions"]], [(0, 100), (100, 200), (200, 299)])

    def test_chunks_longer_than_the_text_change_nothing_and_shorter_ones_and_yarn_do(self):
        perplexity = {}
        for options in ("", "--dual-chunk 400,50", "--dual-chunk 40,8", "--yarn 4,64", "--mask window(16)"):
            (reading,) = self.read(2, *options.split())["readings"]
            perplexity[options] = reading["perplexity"]
        plain = perplexity.pop("")
        self.assertEqual(perplexity.pop("--dual-chunk 400,50"), plain)
        for options, changed in perplexity.items():
            self.assertGreater(abs(changed / plain - 1), 1e-4, options)

    def test_layers_choose_pairs_in_chunks_and_the_report_says_how_many(self):
        chunks = ("--dual-chunk", "140,8")
        (whole,) = self.read(2, *chunks)["readings"]
        run = self.read(2, *chunks, "--sparse", "vertical_slash(30,100)")
        (chosen,) = run["readings"]
        self.assertEqual((run["sparse"], whole["kept_share"]), ("vertical_slash(30,100)", 1))
        self.assertLess(chosen["kept_share"], 1)
        self.assertNotEqual(chosen["perplexity"], whole["perplexity"])
        self.assertGreater(chosen["seconds"]["ranks"][0]["estimating"], 0)
        self.assertGreater(chosen["seconds"]["ranks"][0]["planning"], 0)

    def test_readings_that_are_further_apart_than_the_tolerance_end_with_status_1(self):
        done = run(2, "--model", self.model, "--text", self.text, "--tokens", 300, "--strategy", "ring", "tree", "--tolerance", "-1")
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn("apart, more than", done.stderr)

    def test_the_tokens_of_a_text_are_written_as_they_are_read(self):
        self.text.write_text("abc")
        done = run(1, "--model", self.model, "--text", self.text, "--encode", self.folder / "tokens")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual((self.folder / "tokens").read_bytes(), b"".join((ord(letter) - 33).to_bytes(4, "little") for letter in "abc"))

    def test_wrong_files_end_all_ranks_with_status_2_and_one_line_with_their_name(self):
        given = ["--model", self.model, "--text", self.text]
        self.assertIn(f"{self.text} has 504 tokens; give a longer text", self.refused(*given, "--tokens", 5000))
        self.assertIn("there is no text", self.refused("--model", self.model))
        self.assertIn("--yarn '4' is not understood", self.refused(*given, "--yarn", 4))
        self.text.write_bytes(b"and \xff")
        self.assertIn(f"{self.text} is not UTF-8 at byte 4", self.refused(*given))
        whole = self.model.read_bytes()
        self.model.write_bytes(whole[:-100])
        self.assertIn(f"{self.model} ends at byte {len(whole) - 100}", self.refused(*given))
        self.model.write_bytes(b"{}")
        self.assertIn(f"{self.model} is not a GGUF file", self.refused(*given))
        self.model.unlink()
        self.assertIn(str(self.model), self.refused(*given))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
