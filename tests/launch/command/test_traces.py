"""What a trace has."""

from command import main
from traced import TraceTest


class Traces(TraceTest):
    def test_a_trace_has_what_every_rank_did_and_with_whom(self):
        rows = self.trace("--synthetic", 2000, "--mask", "causal", "--ranks", 3, "--threads", 1, "--repeat", 2)
        self.check_ring(3, rows)
        self.assertRegex(rows[0, "receive"][0]["name"], r"^(receive|borrow) [0-9.]+ [kM]?B from 2, stage 1$")
        last = max(event["ts"] + event["dur"] for events in rows.values() for event in events)
        self.assertLessEqual(1e-6 * last, 1.5 * self.report["slowest_seconds"] + 0.1, "one repetition is traced, not all")

    def test_one_rank_and_nothing_to_do_can_be_traced(self):
        self.check_ring(1, self.trace("--synthetic", 200))
        self.trace("--synthetic", 0, "--ranks", 3)

    def test_a_traced_run_gives_the_same_bits(self):
        for name, more in (("a.npy", ("--trace", self.path("t.json"), "--measure-overlap", "--live", "always")), ("b.npy", ())):
            done = self.gyre("run", "--synthetic", 200, "--mask", "causal", "--ranks", 3, "--out", self.path(name), *more)
            self.assertEqual(done.returncode, 0, done.stderr)
        with open(self.path("a.npy"), "rb") as a, open(self.path("b.npy"), "rb") as b:
            self.assertEqual(a.read(), b.read())


if __name__ == "__main__":
    main()
