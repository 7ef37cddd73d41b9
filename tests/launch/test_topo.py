"""gyre topo as a user meets it, and its mpirun lines: run here, and mapped by mpirun itself onto machines that are not here.

    test_topo.py GYRE MPIEXEC SYNTHETIC_MACHINE
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

GYRE, MPIEXEC, SYNTHETIC_MACHINE = sys.argv[1:4]


def run(*command):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60)


class Topo(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory(prefix="gyre-topo-")
        self.addCleanup(self.scratch.cleanup)
        self.json = os.path.join(self.scratch.name, "topo.json")

    def topo(self, *arguments, launch=()):
        done = run(*launch, GYRE, "topo", "--json", self.json, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(self.json) as file:
            return json.load(file), done.stdout

    def test_suggested_lines_bind_every_rank_to_as_many_cores_as_they_say_and_to_its_own(self):
        alone, _ = self.topo()
        cores = alone["nodes"][0]["cores"]
        for ranks in sorted({1, 2, 3, cores, cores + 1}):
            (line,) = self.topo("--ranks", ranks)[0]["launch"]
            with self.subTest(line=line["mpirun"]):
                told, text = self.topo(launch=[MPIEXEC, *line["mpirun"][1:]])
                self.assertEqual(len(told["ranks"]), ranks)
                self.assertEqual(len(re.findall(r"^rank \d+ ", text, re.MULTILINE)), ranks)
                for rank in told["ranks"]:
                    self.assertEqual(rank["threads"], line["threads"])
                    if ranks <= cores:
                        self.assertEqual(rank["shared_with"], [])
                        self.assertEqual(rank["cores"], line["threads"])
                self.assertEqual(told["warnings"] == [], ranks <= cores, told["warnings"])

    def test_run_warns_of_ranks_that_share_cores_in_one_line_and_not_of_those_that_do_not(self):
        job = [GYRE, "run", "--synthetic", "64"]
        shared = run(MPIEXEC, "--oversubscribe", "--bind-to", "none", "-n", 2, *job)
        self.assertEqual(shared.returncode, 0)
        self.assertRegex(shared.stderr, r"\Agyre: warning: ranks 0-1 share .*\n\Z")
        if self.topo()[0]["nodes"][0]["cores"] >= 2:
            line = self.topo("--ranks", 2)[0]["launch"][0]["mpirun"]
            self.assertEqual(run(MPIEXEC, *line[1:], *job).stderr, "")
        self.assertEqual(run(*job, "--ranks", 3).stderr, "", "ranks of one process were asked to share")

    def test_wrong_input_is_one_line_and_status_2(self):
        for arguments, saying in (
            (["--ranks", "0"], "--ranks is '0'"),
            (["--rank", "3"], "did you mean --ranks?"),
            (["--softcap", "3"], "unknown option --softcap; gyre topo --help lists"),
            (["--json", "/dev/null/x"], "/dev/null/x: cannot be written: Not a directory"),
        ):
            for launch in ([], [MPIEXEC, "--oversubscribe", "--bind-to", "none", "-n", "3"]):
                done = run(*launch, GYRE, "topo", *arguments)
                ours = [line for line in done.stderr.splitlines() if "gyre:" in line]
                self.assertEqual((done.returncode, len(ours), done.stdout), (2, 1, ""), (arguments, done.stderr))
                self.assertTrue(ours[0].startswith("gyre: error: "))
                self.assertIn(saying, ours[0])

    def test_ranks_times_threads_far_beyond_the_machine_are_refused_before_anything_starts(self):
        out = os.path.join(self.scratch.name, "out.npy")
        job = [GYRE, "run", "--synthetic", "64", "--threads", "1000", "--out", out]
        for command in ([*job, "--ranks", 8], [MPIEXEC, "--oversubscribe", "--bind-to", "none", "-n", 8, *job]):
            done = run(*command)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            ours = [line for line in done.stderr.splitlines() if "gyre:" in line]
            self.assertEqual(len(ours), 1, done.stderr)
            self.assertRegex(ours[0], r"^gyre: error: 8 ranks of up to 1000 threads are 8000 threads on .* \(limit \d+\); lower")
            self.assertEqual(os.listdir(self.scratch.name), [])

    def test_mpirun_would_bind_as_promised_on_machines_that_are_not_here(self):
        """Open MPI's simulator maps and binds without starting anything; [BB/../..] is one package, a slot for each core."""
        xml = os.path.join(self.scratch.name, "machine.xml")
        machines = {
            "package:2 numa:2 l3:1 l2:16 l1:1 core:1 pu:2": ((1, 1), (3, 1), (4, 1), (12, 1), (20, 1), (64, 1), (4, 2), (14, 2)),
            "package:1 numa:1 l3:8 core:8 pu:1": ((3, 1), (8, 1)),
            "package:2 numa:1 l3:1 core:6 pu:1": ((2, 1), (5, 1), (12, 1)),
        }
        for machine, jobs in machines.items():
            for ranks, nodes in jobs:
                told = run(SYNTHETIC_MACHINE, machine, xml, ranks, nodes).stdout.splitlines()
                cores, numa_nodes, threads = map(int, told[0].split())
                output = self.simulate(told[1].split()[1:], xml, nodes)
                with self.subTest(line=told[1], machine=machine):
                    self.judge(output, ranks, cores, numa_nodes, threads)

    def simulate(self, arguments, xml, nodes):
        flags = ["--mca", "ras_simulator_num_nodes", nodes, "--mca", "ras_simulator_topo_files", xml]
        for _ in range(12):  # the simulator of Open MPI 4.1.4 crashes in about one start of three
            done = run(MPIEXEC, *arguments, *flags, "--display-devel-map", "--do-not-launch", "true")
            if "Binding: [" in done.stdout or "Binding: \n" in done.stdout:
                return done.stdout
        self.skipTest("this mpirun has no simulator: " + (done.stdout + done.stderr)[:300])

    def judge(self, output, ranks, cores, numa_nodes, threads):
        taken = {}
        bindings = 0
        for node, text in enumerate(output.split("Data for node:")[1:]):
            for binding in re.findall(r"Binding: *(\S*)$", text, re.MULTILINE):
                bindings += 1
                marks = binding.replace("][", "/").strip("[]").split("/") if binding else ["B"] * cores  # all of them: not bound
                mine = [core for core, mark in enumerate(marks) if "B" in mark]
                self.assertEqual(len(mine), threads, binding)
                if threads * numa_nodes <= cores:
                    self.assertEqual(len({core * numa_nodes // cores for core in mine}), 1, binding)
                for core in mine:
                    self.assertNotIn((node, core), taken, "a core has two ranks")
                    taken[node, core] = binding
        self.assertEqual(bindings, ranks)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
