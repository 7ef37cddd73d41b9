"""gyre_bench_longbook on SmolLM2-135M-Instruct and the King James Version, where both are there. usage: test_real_model.py LONGBOOK MPIEXEC"""

import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import types
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench" / "longbook"))
import book  # noqa: E402, in that folder

LONGBOOK, MPIEXEC = sys.argv[1:3]
if not book.find_model():
    print("skipped: no model in build/longbook (bench/longbook/fetch_model)")
    sys.exit(0)
if not shutil.which("bible"):
    print("skipped: no text (launch/install_dependencies)")
    sys.exit(0)


class RealModel(unittest.TestCase):
    def test_it_foretells_genesis_as_numpy_does_on_one_rank_and_on_two(self):
        text = book.text(types.SimpleNamespace(text=None))
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "json"
            for ranks, strategy in ((1, "ring"), (2, "ring"), (2, "ulysses")):
                command = [MPIEXEC, "--oversubscribe", "--bind-to", "none", "-n", str(ranks), LONGBOOK, "--model", str(book.find_model()), "--text", str(text),
                           "--tokens", "512", "--strategy", strategy, "--json", str(path)]  # fmt: skip
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=180)
                (reading,) = json.loads(path.read_text())["readings"]
                # tests/data/capture.py --tokens 512 --perplexity: an implementation of its own, on weights that another library expands
                self.assertAlmostEqual(reading["perplexity"], 3.696, delta=0.001)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
