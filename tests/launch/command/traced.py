"""Runs the command with --trace and reads what it wrote."""

import json
import re

from command import CommandTest


class TraceTest(CommandTest):
    def trace(self, *arguments, **options):
        """Runs with --trace, checks the file by the rules of the format, and returns the stretches by rank and row: measured ones.

        Predicted ones are in self.predicted, and what the file says of itself in self.other.
        """
        path, report = self.path("trace.json"), self.path("report.json")
        self.succeed("run", *arguments, "--trace", path, "--report", report, **options)
        with open(path, encoding="utf-8") as file:
            trace = json.load(file)
        with open(report, encoding="utf-8") as file:
            self.report = json.load(file)
        self.other = trace["otherData"]
        self.assertGreaterEqual(self.other["clock_residual_seconds"], 0)
        names, processes, arrows, rows = {}, {}, {}, {}
        for event in trace["traceEvents"]:
            self.assertIsInstance(event["pid"], int)
            self.assertIsInstance(event["tid"], int)
            if event["ph"] == "M":
                names[event["tid"], event["name"]] = event["args"]
                if event["name"] == "process_name":
                    self.assertNotIn(event["pid"], processes)
                    processes[event["pid"]] = event["args"]["name"]
            elif event["ph"] == "X":
                self.assertGreaterEqual(event["ts"], 0)
                self.assertGreaterEqual(event["dur"], 0)
                rows.setdefault((event["pid"] - 1, event["tid"]), []).append(event)
            else:
                arrows.setdefault(event["id"], {})[event["ph"]] = event
        for ends in arrows.values():
            self.assertEqual(sorted(ends), ["f", "s"])
            self.assertLessEqual(ends["s"]["ts"], ends["f"]["ts"])
            self.assertNotEqual(ends["s"]["pid"], ends["f"]["pid"])
        for events in rows.values():
            for one, next_one in zip(events, events[1:]):
                self.assertLessEqual(one["ts"] + one["dur"], next_one["ts"] + 0.0005, "stretches of a row overlap")
        named, self.predicted = {}, {}
        for (_, tid), events in rows.items():
            process = processes[events[0]["pid"]]
            rank, told = int(re.match(r"rank (\d+)", process)[1]), self.predicted if process.endswith(", predicted") else named
            told[rank, names[tid, "thread_name"]["name"]] = events
        return named

    def check_ring(self, ranks, rows):
        for rank in range(ranks):
            compute = rows[rank, "compute"]
            names = " ".join(event["name"] for event in compute)
            for part in ("pack query units", "pack key value units", "attend units", "finish units"):
                self.assertIn(part, names)
            self.assertIn((rank, "wait"), rows)
            seconds = 1e-6 * sum(event["dur"] for event in compute)
            self.assertLessEqual(seconds, self.report["slowest_seconds"])
        sent = sum(event["args"]["bytes"] for (_, row), events in rows.items() if row.startswith("send") for event in events)
        self.assertEqual(sent, self.report["bytes_sent"] + self.report["bytes_borrowed"])
