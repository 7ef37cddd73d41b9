"""The command under mpirun."""

import json
import math

from command import Case, GYRE, MPIEXEC, main
from tensor_files import save
from traced import TraceTest


class UnderMpirun(TraceTest):
    def test_results_equal_the_definition_for_every_number_of_ranks(self):
        case = Case(self.folder, 29, 29, 4, 2, 6, 5)
        for ranks in (1, 2, 3, 4, 5, 8):
            self.compare(case, "causal", lambda i, j: j <= i, "--unit", 3, mpi=ranks)

    def test_ranks_of_mpirun_and_ranks_of_one_process_give_the_same_bits(self):
        for options, name in (({"mpi": 3}, "a.npy"), ({}, "b.npy")):
            ranks = () if options else ("--ranks", 3)
            self.succeed("run", "--synthetic", 200, "--mask", "causal", "--out", self.path(name), *ranks, **options)
        with open(self.path("a.npy"), "rb") as a, open(self.path("b.npy"), "rb") as b:
            self.assertEqual(a.read(), b.read())

    def test_wrong_input_ends_every_rank_with_one_line(self):
        self.refuse("run", "--synthetic", 9, "--reproducible", mpi=3, saying="--reproducible is not built yet")
        self.refuse("run", "--synthetic", 9, "--ranks", "2", mpi=3, saying="--ranks")
        self.refuse("run", "--synthetic", 9, "--out", self.path("no/out.npy"), mpi=3, saying="no/out.npy")
        self.refuse("run", "--q", self.path("q.npy"), "--k", "k", "--v", "v", mpi=3, saying=("--q", "q.npy: cannot be read"))
        self.refuse("run", "--synthetic", 9, "--mask", "documents(4,4)", mpi=3, saying="8")
        save(self.path("nan.npy"), (6, 1, 2), [math.nan] * 12)  # no warning of where ranks run stands before that
        files = [word for name in "qkv" for word in ("--" + name, self.path("nan.npy"))]
        self.refuse("run", *files, "--threads", 9, mpi=3, saying="--q " + self.path("nan.npy") + ": token 0, head 0, channel 0 is nan")

    def test_ranks_that_were_asked_for_different_things_say_so_once(self):
        self.refuse("run", "--synthetic", 9, "--mask", "full", ":", "-n", "1", GYRE, "run", "--synthetic", 9, "--mask", "causal", mpi=1,
                    saying=("--mask", "causal", "full"))  # fmt: skip
        self.refuse("run", "--synthetic", 9, ":", "-n", "1", GYRE, "run", "--synthetic", 9, "--check", "5", mpi=1,
                    saying="ranks disagree on --check: not given on rank 0, 5 on rank 1")  # fmt: skip
        self.refuse("run", "--synthetic", 9, ":", "-n", "1", GYRE, "run", "--synthetic", 9, "--integrity", mpi=1,
                    saying="ranks disagree on --integrity: not given on rank 0, given on rank 1")  # fmt: skip

    def test_ranks_of_mpirun_are_traced_into_one_file_and_stay_silent_on_standard_error(self):
        self.check_ring(3, self.trace("--synthetic", 600, "--mask", "causal", mpi=3))

    def test_what_a_killed_job_left_does_not_stop_the_next_one(self):
        self.kill_and_run_again([MPIEXEC, "--oversubscribe", "--bind-to", "none", "-n", "2"])

    def test_help_and_reports_are_printed_once(self):
        self.assertEqual(json.loads(self.succeed("run", "--synthetic", 50, "--report", "-", mpi=3))["ranks"], 3)
        self.assertEqual(self.succeed("--help", mpi=3).count("--query-offset"), 1)


if __name__ == "__main__":
    main()
