"""What a run says of itself: the page, the report, the line on a terminal."""

import fcntl
import json
import math
import os
import pty
import struct
import subprocess
import termios
import time

from command import Case, CommandTest, GYRE, main
from tensor_files import save


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

    def test_a_replay_sleeps_for_as_long_as_the_machine_would_compute_and_has_no_results(self):
        with open(self.path("slow.json"), "w", encoding="utf-8") as file:
            json.dump({"name": "a slow one", "kernels": {"attend_seconds": 0.02}}, file)
        arguments = ("run", "--synthetic", 400, "--ranks", 4, "--heads", 4, "--mask", "causal", "--replay", self.path("slow.json"))
        for strategy, attends in (("ring", 4), ("ulysses", 4), ("pass_query", 4)):
            page = self.succeed(*arguments, "--strategy", strategy, "--report", self.path("r.json"))
            self.assertIn("nothing was computed, only slept as on a slow one", page)
            with open(self.path("r.json"), encoding="utf-8") as file:
                report = json.load(file)
            self.assertEqual(report["replay"], "a slow one")
            self.assertGreaterEqual(report["seconds"], 0.02 * attends)  # of the rank that attends most
            self.assertGreaterEqual(report["predicted_seconds"], 0.02 * attends)
        for option in ("--out", "--lse"):
            self.refuse(*arguments, option, self.path("o.npy"), saying=("--replay", option))
        self.refuse("run", "--synthetic", 40, "--replay", self.path("none.json"), saying=("none.json", "cannot be read"))
        self.refuse("run", "--synthetic", 40, "--replay", self.path("r.json"), saying="r.json")

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


if __name__ == "__main__":
    main()
