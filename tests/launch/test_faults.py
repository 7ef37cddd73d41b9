"""Killed, stopped and confused ranks: one line that names rank, stage and time, one status, nothing left behind.

    test_faults.py GYRE MPIEXEC [CLASS]
"""

import os
import re
import signal
import subprocess
import sys
import time
import unittest

GYRE, MPIEXEC = sys.argv[1:3]
WHERE = r"rank \d+ (waits for rank \d+, stage .+, for [0-9.]+ seconds|computes, stage .+)"


def lines_of(text):
    return [line.removeprefix("gyre: error: ") for line in text.splitlines() if line.startswith("gyre: error: ")]


def has_taken_over_sigterm(pid):
    """The sign that a rank has begun: before, nobody could say anything."""
    with open(f"/proc/{pid}/status") as file:
        (caught,) = re.findall(r"SigCgt:\s*(\w+)", file.read())
    return int(caught, 16) >> (signal.SIGTERM - 1) & 1


class Job:
    """A run of a second or so a call, for as long as it is not ended."""

    def __init__(self, ranks, *options):
        command = [MPIEXEC, "--oversubscribe", "--bind-to", "none", "-n", ranks, GYRE, "run", "--synthetic", 8192, "--heads", 2]
        command += ["--threads", 1, "--repeat", 10000, *options]
        self.process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.ranks = self.wait_for_ranks(ranks)
        time.sleep(1)

    def wait_for_ranks(self, ranks):
        for _ in range(600):
            time.sleep(0.05)
            try:
                with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
                    children = sorted(map(int, file.read().split()))
                if len(children) == ranks and all(map(has_taken_over_sigterm, children)):
                    return children
            except FileNotFoundError:
                pass
        raise TimeoutError("the ranks do not begin")

    def end(self, timeout=40):
        out, error = self.process.communicate(timeout=timeout)
        return self.process.returncode, error


class Faults(unittest.TestCase):
    def end(self, job):
        try:
            status, error = job.end()
        except subprocess.TimeoutExpired:
            for pid in (*job.ranks, job.process.pid):
                os.kill(pid, signal.SIGKILL)
            self.fail("the job does not end")
        return status, lines_of(error)

    def one_line(self, job, pattern, status=None):
        ended_with, lines = self.end(job)
        self.assertEqual(len(lines), 1, lines)
        self.assertRegex(lines[0], "^" + pattern + "$")
        self.assertNotEqual(ended_with, 0)
        if status is not None:
            self.assertEqual(ended_with, status)

    def test_a_killed_rank_is_named_by_one_survivor(self):
        for ranks, victim in ((2, 0), (4, 3)):
            job = Job(ranks)
            os.kill(job.ranks[victim], signal.SIGKILL)
            self.one_line(job, rf"rank {victim} is gone: its process has ended; {WHERE}")

    def test_a_stopped_rank_ends_the_job_at_the_deadline(self):
        for ranks, victim in ((2, 1), (4, 2)):
            job = Job(ranks, "--deadline", 2)
            os.kill(job.ranks[victim], signal.SIGSTOP)
            self.one_line(
                job,
                rf"rank \d waits for rank {victim}, stage .+, for [0-9.]+ seconds; rank {victim} does not answer \(deadline 2 seconds\)",
                status=3,
            )

    def test_a_job_that_is_told_to_end_says_where_it_was(self):
        job = Job(3)
        job.process.terminate()
        self.one_line(job, rf"the job is ended from outside \(SIGTERM\), but no rank of this node is gone; {WHERE}")

    def goes_on(self, job, seconds):
        time.sleep(seconds)
        self.assertIsNone(job.process.poll(), "the job has ended")
        job.process.terminate()
        self.one_line(job, rf"the job is ended from outside \(SIGTERM\), but no rank of this node is gone; {WHERE}")

    def test_a_rank_that_is_stopped_for_less_than_the_deadline_is_waited_for(self):
        job = Job(2, "--deadline", 6)
        os.kill(job.ranks[1], signal.SIGSTOP)
        time.sleep(3)
        os.kill(job.ranks[1], signal.SIGCONT)
        self.goes_on(job, 5)

    def test_a_job_that_was_suspended_as_a_whole_goes_on(self):
        job = Job(3, "--deadline", 1.5)
        for pid in job.ranks:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(3)
        for pid in job.ranks:
            os.kill(pid, signal.SIGCONT)
        self.goes_on(job, 3)

    def test_a_job_that_is_killed_whole_leaves_no_shared_memory_behind(self):
        before = {name for name in os.listdir("/dev/shm") if name.startswith("gyre-")}
        job = Job(3)
        for pid in (job.process.pid, *job.ranks):
            os.kill(pid, signal.SIGKILL)
        job.process.communicate()
        after = {name for name in os.listdir("/dev/shm") if name.startswith("gyre-")} - before
        self.assertTrue(all(os.path.getsize(os.path.join("/dev/shm", name)) == 0 for name in after), after)


class Confusion(unittest.TestCase):
    def refuse(self, command, saying, **environment):
        result = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, timeout=60, env=os.environ | environment
        )
        lines = lines_of(result.stderr)
        self.assertEqual((result.returncode, len(lines)), (2, 1), result.stderr)
        for text in saying:
            self.assertIn(text, lines[0])

    def test_ranks_of_which_one_asks_for_help_say_so(self):
        mpi = [MPIEXEC, "--oversubscribe", "--bind-to", "none", "-n", 1]
        run = [GYRE, "run", "--synthetic", 9]
        self.refuse([*mpi, GYRE, "--help", ":", "-n", 2, *run], ("ranks disagree on the command: ", "--help on rank 0", "run on rank 1"))
        self.refuse([*mpi, *run, ":", "-n", 1, GYRE, "--version"], ("ranks disagree on the command: run on rank 0, --version on rank 1",))

    def test_variables_of_a_job_that_is_over_are_named(self):
        for rank in ("0", "2"):
            self.refuse(
                [GYRE, "run", "--synthetic", 9], ("4 processes", "unset OMPI_"), OMPI_COMM_WORLD_SIZE="4", OMPI_COMM_WORLD_RANK=rank
            )

    def test_deadlines_that_are_none(self):
        for value in ("-1", "soon", "nan", "inf"):
            self.refuse([GYRE, "run", "--synthetic", 9, "--deadline", value], ("--deadline", value))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
