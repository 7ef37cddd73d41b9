"""What a trace has."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

from command import main
from traced import TraceTest

BENCH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "bench")


class Traces(TraceTest):
    def test_a_trace_has_what_every_rank_did_and_with_whom(self):
        rows = self.trace("--synthetic", 2000, "--mask", "causal", "--ranks", 3, "--threads", 1, "--repeat", 2)
        self.check_ring(3, rows)
        self.assertRegex(rows[0, "receive"][0]["name"], r"^(receive|borrow) [0-9.]+ [kM]?B from 2, stage 1$")
        last = max(event["ts"] + event["dur"] for events in rows.values() for event in events)
        self.assertLessEqual(1e-6 * last, 1.5 * self.report["slowest_seconds"] + 0.1, "one repetition is traced, not all")

    def test_what_was_predicted_stands_beside_what_every_rank_did(self):
        machine = self.path("machine.json")
        with open(machine, "w") as file:  # 0.25 s an attend, more than all else
            json.dump({"name": "a slow one", "kernels": {"attend_seconds": 0.25}}, file)
        for told in (("--machine", machine, "--strategy", "ring"), ("--replay", machine)):
            measured = self.trace("--synthetic", 500, "--mask", "causal", "--ranks", 3, "--threads", 1, *told)
            self.assertEqual(self.other["predicted_machine"], "a slow one")
            self.assertEqual(self.other["predicted_seconds"], self.report["predicted_seconds"])
            self.assertEqual(self.report["predicted_machine"], "a slow one")
            for rank in range(3):
                attends = [event for event in self.predicted[rank, "compute"] if event["name"].startswith("attend")]
                self.assertEqual([event["name"] for event in attends],
                                 [event["name"] for event in measured[rank, "compute"] if event["name"].startswith("attend")])
                for event in attends:
                    self.assertGreaterEqual(event["dur"], 0.25e6)
            ends = [event["ts"] + event["dur"] for events in self.predicted.values() for event in events]
            begins = [event["ts"] for events in self.predicted.values() for event in events]
            self.assertAlmostEqual(1e-6 * (max(ends) - min(begins)), self.report["predicted_seconds"], delta=1e-6)
            self.assertLess(abs(min(begins) - min(event["ts"] for event in measured[0, "compute"])), 2e5, "both begin together")

    def test_the_picture_of_a_trace_has_both_strips_of_every_rank_and_says_what_share_was_predicted(self):
        self.trace("--synthetic", 900, "--mask", "causal", "--ranks", 2, "--threads", 1, "--strategy", "ring")
        done = subprocess.run([sys.executable, os.path.join(BENCH, "draw_timeline"), self.path("trace.json")], capture_output=True, text=True, check=True)
        shares = re.findall(r"rank (\d): predicted [0-9.]+ ms, measured [0-9.]+ ms, ([0-9.]+) of it", done.stderr)
        self.assertEqual([rank for rank, _ in shares], ["0", "1"])
        texts = [text.text for text in ElementTree.fromstring(done.stdout).iter("{http://www.w3.org/2000/svg}text")]
        drawn = [re.fullmatch(r"predicted: ([0-9.]+) of it", text) for text in texts]
        for (_, share), match in zip(shares, filter(None, drawn), strict=True):
            self.assertAlmostEqual(float(match[1]), float(share), delta=0.0056)
        self.assertGreaterEqual(done.stdout.count('fill-opacity="0.55"'), 4)

    def test_what_is_too_much_to_predict_is_left_out_by_name(self):
        self.trace("--synthetic", 2100 * 16, "--unit", 16, "--mask", "window(3)", "--heads", 1, "--head-dim", 4, "--ranks", 2,
                   "--partition", "striped", "--strategy", "ring")  # fmt: skip
        self.assertEqual(self.predicted, {})
        self.assertIsNone(self.report["predicted_seconds"])
        self.assertRegex(self.other["predicted_left_out"], "some [0-9]{7} rectangles of units, and the pairs of at most 1000000 are counted")
        self.assertNotIn("predicted_seconds", self.other)

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
