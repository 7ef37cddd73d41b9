"""bench/train_torch on a tiny model. usage: test_torch.py GYRE TRAINER"""

import json
import os
import pathlib
import subprocess
import sys
import unittest

from book import MODEL, folder_with_book

try:
    import torch  # noqa: F401
except ImportError:
    print("skipped: no PyTorch for this interpreter")
    sys.exit(0)

GYRE, TRAINER = sys.argv[1:3]
COMMAND = pathlib.Path(__file__).resolve().parents[2] / "bench" / "train_torch"


class TrainTorch(unittest.TestCase):
    def setUp(self):
        self.folder = folder_with_book(self)
        trained = [TRAINER, *MODEL, "--text", self.folder / "text", "--steps", "2", "--checkpoints", self.folder, "--checkpoint-steps", "2"]
        subprocess.run(trained, check=True, stdout=subprocess.DEVNULL, timeout=100)
        self.checkpoint = self.folder / "step2.safetensors"

    def run_on(self, cases):
        command = [sys.executable, COMMAND, "--head-dim", "8", "--steps", "2", "--json", self.folder / "json", self.checkpoint, "--cases", *cases]
        done = subprocess.run(command, env={**os.environ, "GYRE": GYRE}, capture_output=True, text=True, timeout=250)
        return done, {result["name"]: result for result in json.loads((self.folder / "json").read_text())}

    def test_gyre_on_two_ranks_and_the_cpp_model_have_the_gradients_and_losses_of_pytorch(self):
        done, found = self.run_on(["2 ring"])
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(list(found), ["PyTorch", "C++ model", "Gyre, 2 ring"])
        self.assertEqual(len(found["Gyre, 2 ring"]["losses"]), 2)
        self.assertEqual(len(found["Gyre, 2 ring"]["judge"]["tensors"]), 2 * 9 + 3)

        content = bytearray(self.checkpoint.read_bytes())
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        at = 8 + int.from_bytes(content[:8], "little") + header["gradient.layers.1.key"]["data_offsets"][0]
        content[at + 3] ^= 0x80  # the sign of its first element
        self.checkpoint.write_bytes(content)
        done, found = self.run_on([])
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertEqual(found["C++ model"]["judge"]["tensor"], "layers.1.key")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
