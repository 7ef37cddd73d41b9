"""The command on several hosts: network namespaces with a cable each (support/rig).

    test_hosts.py GYRE [CLASS]
"""

import json
import os
import pathlib
import signal
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path += [str(HERE.parent / "support" / "rig"), str(HERE / "command")]

from hosts import Hosts, Unavailable  # noqa: E402
from tensor_files import load  # noqa: E402

GYRE = os.path.abspath(sys.argv[1])
STRATEGIES = ("ring", "bidirectional_ring", "double_ring", "all_gather", "ulysses", "hybrid(2)", "pass_query", "tree")


class OnHosts(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="gyre-on-hosts-")
        self.addCleanup(scratch.cleanup)
        self.folder = scratch.name

    def raise_hosts(self, count, gbit_per_second=None):
        hosts = Hosts(count, gbit_per_second)
        self.addCleanup(hosts.close)
        return hosts

    def path(self, name):
        return os.path.join(self.folder, name)

    def gyre(self, hosts, ranks, *arguments):
        """Its report."""
        done = hosts.run([*hosts.mpirun(ranks), GYRE, "run", "--report", self.path("report.json"), *arguments])
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(self.path("report.json")) as file:
            return json.load(file)


class TwoHosts(OnHosts):
    def test_topology_tells_hosts_apart(self):
        hosts = self.raise_hosts(2)
        done = hosts.run([*hosts.mpirun(4), GYRE, "topo", "--json", "-"])
        self.assertEqual(done.returncode, 0, done.stderr)
        told = json.loads(done.stdout)
        self.assertEqual([node["host"] for node in told["nodes"]], ["node0", "node1"])
        self.assertEqual([rank["host"] for rank in told["ranks"]], ["node0", "node0", "node1", "node1"])

    def test_what_the_report_says_was_sent_passes_the_interfaces_and_little_else_does(self):
        """Two runs that differ in calls alone: what is left is of calls. Between the bytes of cells and 4% more: headers are 66 bytes of
        at least 1,448 (less where segments pass a virtual cable whole), acknowledgements as many, of every other segment."""
        hosts = self.raise_hosts(2)
        job = ("--synthetic", "2048", "--heads", "8", "--head-dim", "64", "--mask", "full", "--threads", "1")

        def run(calls):
            before = hosts.counters()
            report = self.gyre(hosts, 2, *job, "--repeat", calls)
            after = hosts.counters()
            return report, [{way: new[way] - old[way] for way in new} for new, old in zip(after, before)]

        report, few = run("1")
        _, many = run("5")
        cells = report["per_rank"]["bytes_sent"]
        self.assertEqual(sum(cells), report["bytes_sent"])
        for host in (0, 1):
            for way, mine in (("sent", host), ("received", 1 - host)):
                of_a_call = (many[host][way] - few[host][way]) / 4
                self.assertGreaterEqual(of_a_call, cells[mine], (host, way))
                self.assertLessEqual(of_a_call, 1.04 * cells[mine] + 0.04 * cells[1 - mine], (host, way))


class Calibration(OnHosts):
    def test_calibration_finds_no_more_on_a_cable_than_it_carries_and_more_within_a_host(self):
        hosts = self.raise_hosts(2, gbit_per_second=1)
        done = hosts.run([*hosts.mpirun(4), GYRE, "calibrate", "--repeat", "3", "--out", self.path("machine.json")])
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(self.path("machine.json")) as file:
            machine = json.load(file)
        for field in ("bytes_per_second", "link_bytes_per_second"):
            self.assertLess(machine["network"][field]["value"], 1.05 * 1e9 / 8)
            self.assertLess(machine["network"][field]["value"], machine["node"]["bytes_per_second"]["value"])
        self.assertIn("2 ranks of each node at once", machine["network"]["link_bytes_per_second"]["source"])
        self.assertNotIn("assumed", json.dumps(machine))


class Strategies(OnHosts):
    def test_double_ring_goes_round_inside_hosts(self):
        hosts = self.raise_hosts(2)
        for ranks, inner in ((4, 2), (2, 1)):
            report = self.gyre(hosts, ranks, "--synthetic", "600", "--strategy", "double_ring", "--mask", "causal", "--check", "5")
            self.assertEqual((report["nodes"], report["strategy"]), (2, f"double_ring({inner})"))

    def test_every_strategy_is_right_on_2_hosts(self):
        self.every_strategy(2)

    def test_every_strategy_is_right_on_4_hosts(self):
        self.every_strategy(4)

    def every_strategy(self, count):
        hosts = self.raise_hosts(count)
        job = ("--synthetic", "301", "--heads", "4", "--kv-heads", "2", "--head-dim", "16", "--mask", "causal", "--unit", "16", "--threads", "1")

        def run(ranks, *more):
            report = self.gyre(hosts, ranks, *job, "--out", self.path("out.npy"), "--lse", self.path("lse.npy"), "--check", "20", *more)
            return report, load(self.path("out.npy"))[1], load(self.path("lse.npy"))[1]

        _, out, lse = run(1)
        largest = max(map(abs, out))
        for strategy in STRATEGIES:
            with self.subTest(strategy=strategy):
                report, mine, my_lse = run(count, "--strategy", strategy)
                self.assertEqual(report["nodes"], count)
                self.assertGreater(report["bytes_sent"], 0)
                self.assertEqual(report["bytes_borrowed"], 0)
                self.assertLessEqual(max(abs(a - b) for a, b in zip(mine, out)), 2e-6 * largest)
                self.assertLessEqual(max(abs(a - b) for a, b in zip(my_lse, lse)), 1e-5)


WHERE = r"rank \d on node\d (waits for rank \d on node\d, stage .+, for [0-9.]+ seconds|computes, stage .+)"


class Losing(OnHosts):
    """A job that would go on for long, and what it says when it loses something."""

    def settings(self, hosts):
        """What gyre topo adds to mpirun's line on such hosts."""
        done = hosts.run([*hosts.mpirun(hosts.count), GYRE, "topo", "--json", "-"])
        self.assertEqual(done.returncode, 0, done.stderr)
        words = json.loads(done.stdout)["launch"][0]["mpirun"]
        return [word for at in range(len(words) - 2) if words[at] == "--mca" for word in words[at : at + 3]]

    def begin(self, hosts, ranks, settings, *options):
        job = hosts.start([*hosts.mpirun(ranks, *settings), GYRE, "run", "--synthetic", "8192", "--heads", "2", "--threads", "1",
                           "--repeat", "10000", *options])  # fmt: skip
        end = time.monotonic() + 30
        while sum(len(hosts.processes(host, "gyre")) for host in range(hosts.count)) < ranks:
            self.assertLess(time.monotonic(), end, "the ranks do not begin")
            time.sleep(0.05)
        time.sleep(2)
        self.assertIsNone(job.poll(), "it ended before anything was done to it")
        return job

    def one_line(self, job, pattern):
        """That the job says before it ends, in time and with a status that is not 0."""
        _, error = job.communicate(timeout=10)
        lines = [line for line in error.splitlines() if line.startswith("gyre: error: ")]
        self.assertEqual(len(lines), 1, error)
        self.assertRegex(lines[0], f"^gyre: error: {pattern}$")
        self.assertNotEqual(job.returncode, 0)

    def lose(self, count, victim, fault, pattern):
        hosts = self.raise_hosts(count)
        job = self.begin(hosts, count, self.settings(hosts))
        fault(hosts, victim)
        self.one_line(job, pattern)


class Faults(Losing):
    """All within 10 seconds."""

    def test_a_killed_rank_is_named_by_one_of_another_host(self):
        for count, victim in ((2, 0), (4, 2)):
            with self.subTest(hosts=count):
                self.lose(count, victim, lambda hosts, host: os.kill(hosts.processes(host, "gyre")[0], signal.SIGKILL),
                          rf"rank {victim} on node{victim} is gone: its process has ended; {WHERE}")  # fmt: skip

    def test_a_killed_rank_with_neighbours_on_its_host_is_named_once(self):
        hosts = self.raise_hosts(2)
        job = self.begin(hosts, 4, self.settings(hosts))
        os.kill(hosts.processes(1, "gyre")[0], signal.SIGKILL)
        self.one_line(job, rf"rank [23] on node1 is gone: its process has ended; {WHERE}")

    def test_a_host_that_vanishes_is_named(self):
        for count, victim in ((2, 1), (4, 3)):
            with self.subTest(hosts=count):
                self.lose(count, victim, Hosts.vanish, rf"rank {victim} on node{victim} is lost: its host does not answer; {WHERE}")

    def test_a_host_whose_cable_is_cut_is_named(self):
        for count, victim in ((2, 1), (4, 1)):
            with self.subTest(hosts=count):
                self.lose(count, victim, Hosts.cut, rf"rank {victim} on node{victim} is lost: its host does not answer; {WHERE}")


class Unwatched(Losing):
    """In half of all runs mpirun hands the line on at once, in the others one or two minutes later."""

    def test_a_run_that_mpirun_does_not_watch_says_so_once_and_names_a_lost_host_at_the_deadline(self):
        hosts = self.raise_hosts(2)
        job = self.begin(hosts, 2, (), "--deadline", "4")
        hosts.cut(1)
        lines = []
        while not lines or not lines[-1].startswith("gyre: error: "):  # mpirun itself ends much later
            lines.append(job.stderr.readline())
            self.assertNotEqual(lines[-1], "", lines)
        self.assertRegex(lines[-1], r"rank 0 on node0 waits for rank 1 on node1, stage .+, for [0-9.]+ seconds; "
                                    r"rank 1 on node1 does not answer \(deadline 4 seconds\)\n$")  # fmt: skip
        (warning,) = [line for line in lines if line.startswith("gyre: warning: 2 nodes")]
        self.assertRegex(warning, r"2 nodes, and mpirun does not watch its links: .* after 4 seconds .*--mca oob_tcp_keepalive_time 3 ")


def main():
    try:
        Hosts(1).close()
    except Unavailable as reason:
        print(f"skipped: {reason}")
        return
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])


if __name__ == "__main__":
    main()
