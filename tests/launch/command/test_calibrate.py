"""gyre calibrate: figures of this machine in a file that the other commands read."""

import json
import os
import unittest

import command
from command import CommandTest


class Calibrates(CommandTest):
    def calibrate(self, *arguments, **options):
        """What the file says, and the page."""
        page = self.succeed("calibrate", "--quick", "--out", self.path("machine.json"), *arguments, **options)
        with open(self.path("machine.json")) as file:
            return json.load(file), page

    def test_the_file_has_a_rate_of_every_type_and_instruction_set_and_a_page_shows_them(self):
        machine, page = self.calibrate("--name", "mine")
        self.assertEqual(machine["name"], "mine")
        rates = {(rate["isa"], rate["dtype"], rate["head_dim"]) for rate in machine["kernels"]["rates"]}
        sets = {isa for isa, _, _ in rates}
        self.assertIn("portable", sets)
        self.assertEqual(rates, {(isa, dtype, dim) for isa in sets for dtype in ("f32", "bf16", "f16") for dim in (32, 64, 128, 256)})
        for isa in sets:
            self.assertIn(f"{isa} bf16", page)
        for rate in machine["kernels"]["rates"]:
            self.assertGreater(rate["flops_per_second"], 0)
            self.assertIn("gyre calibrate on ", rate["source"])

    def test_two_ranks_measure_messages_and_shared_memory_and_one_rank_assumes_them(self):
        two, _ = self.calibrate("--ranks", 2)
        self.assertIn("gyre calibrate on ", two["node"]["bytes_per_second"]["source"])
        self.assertIn("memory of a neighbour was read at", two["shared_memory"]["is_shared"]["source"])
        self.assertIn("in one process", two["note"])
        one, page = self.calibrate("--ranks", 1)
        self.assertEqual(one["node"]["bytes_per_second"]["source"], "assumed, not measured: no node had two ranks")
        self.assertIn("not measured, and assumed: messages and shared memory inside a node", page)

    def test_ranks_of_mpirun_measure_it_together_and_write_one_file(self):
        machine, page = self.calibrate("--repeat", 1, mpi=3)
        self.assertIn("3 ranks on 1 node", page)
        self.assertIn("3 ranks on 1 node, one thread each.", machine["note"])
        self.assertIn("gyre calibrate on ", machine["node"]["latency_seconds"]["source"])
        self.assertEqual(os.listdir(self.folder), ["machine.json"])

    def test_plan_run_and_replay_read_the_file(self):
        machine, _ = self.calibrate("--name", "calibrated here")
        path = self.path("machine.json")
        self.assertIn("of calibrated here", self.succeed("plan", "--ranks", 4, "--tokens", 4096, "--machine", path))
        run = ("run", "--ranks", 2, "--synthetic", 300, "--report", "-")
        self.assertIsNotNone(json.loads(self.succeed(*run, "--machine", path))["strategy_why"])
        self.assertGreater(json.loads(self.succeed(*run, "--replay", path))["predicted_seconds"], 0)

    def test_an_instruction_set_is_predicted_by_its_own_rate(self):
        path = self.path("machine.json")
        rates = [{"isa": isa, "dtype": "f32", "head_dim": 64, "flops_per_second": rate} for isa, rate in (("avx9", 1e12), ("portable", 1e8))]
        with open(path, "w") as file:
            json.dump({"kernels": {"rates": rates}}, file)
        run = ("run", "--ranks", 2, "--synthetic", 400, "--heads", 1, "--report", "-", "--replay", path)
        fast, slow = (json.loads(self.succeed(*run, *more))["predicted_seconds"] for more in ((), ("--isa", "portable")))
        self.assertGreater(slow, 20 * fast)
        chosen = ("run", "--ranks", 2, "--synthetic", 400, "--heads", 1, "--report", "-", "--machine", path)
        fast, slow = (json.loads(self.succeed(*chosen, *more))["strategy_why"] for more in ((), ("--isa", "portable")))
        self.assertNotEqual(slow.split(";")[0], fast.split(";")[0])
        plan = ("plan", "--ranks", 2, "--tokens", 4000, "--machine", path, "--json", "-")
        fast, slow = (json.loads(self.succeed(*plan, *more))[0]["seconds"] for more in ((), ("--isa", "portable")))
        self.assertGreater(slow, 20 * fast)
        self.refuse(*plan, "--isa", "avx7", saying=("--isa is 'avx7'", "avx9, portable"))

    def test_the_file_goes_to_standard_output_where_that_is_its_name(self):
        self.assertIn("kernels", json.loads(self.succeed("calibrate", "--quick", "--repeat", 1, "--out", "-")))

    def test_wrong_input_is_refused_before_anything_is_measured(self):
        out = ("--out", self.path("machine.json"))
        self.refuse("calibrate", saying="--out is missing")
        self.refuse("calibrate", "--out", os.path.join(self.folder, "no", "machine.json"), saying="machine.json")
        self.refuse("calibrate", *out, "--ranks", 0, saying=("--ranks is '0'", "1 to 64"))
        self.refuse("calibrate", *out, "--repeat", "many", saying="--repeat is 'many'")
        self.refuse("calibrate", *out, "--name", "x" * 101, saying="at most 100")
        self.refuse("calibrate", *out, "--quik", saying="did you mean --quick?")
        self.refuse("calibrate", *out, "--ranks", 2, mpi=2, saying="--ranks is for runs without mpirun")
        self.refuse("calibrate", "--out", os.path.join(self.folder, "no", "machine.json"), mpi=2, saying="machine.json")


if __name__ == "__main__":
    command.main()
