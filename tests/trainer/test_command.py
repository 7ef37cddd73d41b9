"""gyre_bench_trainer under mpirun. usage: test_command.py TRAINER MPIEXEC"""

import json
import subprocess
import sys
import unittest

from book import MODEL, folder_with_book

TRAINER, MPIEXEC = sys.argv[1:3]


def run(ranks, *arguments):
    command = [MPIEXEC, "--oversubscribe", "--bind-to", "none", "-n", str(ranks), TRAINER, *MODEL, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


class Training(unittest.TestCase):
    def setUp(self):
        self.folder = folder_with_book(self)

    def train(self, ranks, *arguments):
        done = run(ranks, "--text", self.folder / "text", "--steps", 2, "--json", self.folder / "json", *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads((self.folder / "json").read_text())["steps"]

    def test_two_ranks_give_the_losses_of_one_and_from_its_checkpoints_its_gradients(self):
        one = self.train(1, "--checkpoints", self.folder, "--checkpoint-steps", 1, 2)
        two = self.train(2, "--strategy", "ulysses")
        for alone, together in zip(one, two, strict=True):
            self.assertAlmostEqual(alone["loss"], together["loss"], delta=1e-5)
        files = [self.folder / "step1.safetensors", self.folder / "step2.safetensors"]
        done = run(2, "--json", self.folder / "json", "--compare", *files)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        compared = json.loads((self.folder / "json").read_text())["steps"]
        self.assertEqual([step["step"] for step in compared], [1, 2])
        self.assertLess(max(step["difference"] for step in compared), 1e-5)
        self.assertGreater(len(compared[0]["differences"]), 20)

        beyond = run(2, "--tolerance", 1e-15, "--compare", *files)
        self.assertEqual(beyond.returncode, 1, beyond.stdout + beyond.stderr)

    def test_a_text_that_is_not_there_ends_all_ranks_with_status_2_and_its_name(self):
        done = run(2, "--text", self.folder / "missing")
        self.assertEqual(done.returncode, 2)
        self.assertIn(f"no text can be read from {self.folder / 'missing'}", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
