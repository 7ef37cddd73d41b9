"""gyre plan --draw: the picture of a simulated program."""

import itertools
import json
import os
import re
import unittest
import xml.etree.ElementTree as ElementTree

import command
from command import CommandTest

SVG = "{http://www.w3.org/2000/svg}"


class Picture:
    """A drawing, read back."""

    def __init__(self, path):
        self.bytes = os.path.getsize(path)
        self.root = ElementTree.parse(path).getroot()
        self.texts = [text.text for text in self.root.iter(SVG + "text")]
        groups = [group for group in self.root.iter(SVG + "g") if group.get("class") == "rank"]
        self.ranks = {int(group.get("id").removeprefix("rank-")): group for group in groups}

    def boxes(self, rank, *kinds):
        """(left, width, fill) of each, from left to right; boxes above each other count once."""
        found = set()
        for box in self.ranks[rank].iter(SVG + "rect"):
            if (box.get("class") or "").split(" ")[0] in kinds:
                found.add((float(box.get("x")), float(box.get("width")), box.get("fill")))
        return sorted(found)

    def labels(self, rank):
        """Numbers inside boxes, by what fills the boxes."""
        boxes = self.boxes(rank, "attend")
        pairs = []
        for text in self.ranks[rank].iter(SVG + "text"):
            at = [fill for left, width, fill in boxes if left < float(text.get("x")) < left + width]
            if at and text.text.isdigit():
                pairs.append((text.text, at[0]))
        return pairs

    def own_colour(self, rank):
        return next(self.ranks[rank].iter(SVG + "rect")).get("fill")


class Drawings(CommandTest):
    def draw(self, *arguments):
        """Of a plan: its picture, and the first of its predictions."""
        path = self.path("plan.svg")
        plans = json.loads(self.succeed("plan", *arguments, "--draw", path, "--json", "-"))
        return Picture(path), plans[0]

    def test_every_rank_has_a_row_whose_boxes_add_up_to_the_predicted_seconds(self):
        for more in (("--strategy", "ring"), ("--strategy", "all_gather"), ("--strategy", "ulysses"), ("--strategy", "pass_query"),
                     ("--strategy", "tree"), ("--strategy", "hybrid(3)"), ()):  # fmt: skip
            picture, best = self.draw("--ranks", 6, "--ranks-per-node", 2, "--tokens", 12000, "--heads", 6, "--mask", "causal", *more)
            self.assertEqual(sorted(picture.ranks), list(range(6)))
            ends = []
            for rank in range(6):
                boxes = sorted({(left, width) for left, width, _ in picture.boxes(rank, "attend", "pack", "wait")})
                for (left, width), (next_left, _) in zip(boxes, boxes[1:]):
                    self.assertAlmostEqual(left + width, next_left, delta=0.05, msg="a rank computes, packs or waits, one after the other")
                ends.append(boxes[-1][0] + boxes[-1][1])
            # The axis says how many pixels a second are.
            ticks = self.ticks(picture)
            (x0, t0), (x1, t1) = ticks[0], ticks[-1]
            seconds = (max(ends) - x0) * (t1 - t0) / (x1 - x0)
            self.assertAlmostEqual(seconds, best["seconds"], delta=0.01 * best["seconds"])

    def ticks(self, picture):
        found = []
        for text in picture.root.iter(SVG + "text"):
            if match := re.fullmatch(r"([0-9.]+) (s|ms|us)", text.text):
                found.append((float(text.get("x")), float(match[1]) * {"s": 1, "ms": 1e-3, "us": 1e-6}[match[2]]))
        self.assertGreaterEqual(len(found), 3)
        return found

    def test_boxes_have_the_colour_of_who_owns_the_keys_and_wires_that_of_who_owns_what_comes(self):
        picture, _ = self.draw("--ranks", 4, "--tokens", 32768, "--mask", "full", "--strategy", "ring", "--partition", "contiguous")
        own = {rank: picture.own_colour(rank) for rank in range(4)}
        self.assertEqual(len(set(own.values())), 4)
        for rank in range(4):
            order = [(rank - stage) % 4 for stage in range(4)]  # keys come from the rank before
            self.assertEqual([fill for _, _, fill in picture.boxes(rank, "attend")], [own[owner] for owner in order])
            self.assertEqual(picture.labels(rank), [(str(owner), own[owner]) for owner in order])
            arriving = [fill for fill, _ in itertools.groupby(fill for _, _, fill in picture.boxes(rank, "arrive"))]  # piece by piece
            self.assertEqual(arriving, [own[owner] for owner in order[1:]])

    def test_queries_that_visit_are_told_by_the_upper_edge(self):
        picture, _ = self.draw("--ranks", 3, "--tokens", 30000, "--mask", "full", "--strategy", "pass_query", "--partition", "contiguous")
        own = {rank: picture.own_colour(rank) for rank in range(3)}
        for rank in range(3):
            self.assertEqual({fill for _, _, fill in picture.boxes(rank, "attend")}, {own[rank]})
            self.assertEqual([fill for _, _, fill in picture.boxes(rank, "queries")], [own[(rank - 1) % 3], own[(rank - 2) % 3]])

    def test_what_waits_for_a_slow_wire_is_hatched_and_what_crosses_it_arrives_meanwhile(self):
        machine = self.path("machine.json")
        with open(machine, "w") as file:
            json.dump({"name": "slow <&> net\u00e9", "network": {"bytes_per_second": 1e7, "link_bytes_per_second": 1e7}}, file)
        picture, best = self.draw("--ranks", 2, "--tokens", 8192, "--mask", "full", "--strategy", "ring", "--machine", machine)
        for rank in range(2):
            waited = picture.boxes(rank, "wait")
            (wire,) = picture.boxes(rank, "arrive")
            self.assertAlmostEqual(waited[-1][0] + waited[-1][1], wire[0] + wire[1], delta=0.1)
            self.assertGreater(sum(width for _, width, _ in waited), 0.5 * 1020 * best["exposed_communication_seconds"] / best["seconds"])
        self.assertTrue(any("slow <&> net" in text for text in picture.texts), picture.texts)

    def test_of_many_ranks_the_first_of_two_nodes_are_drawn_and_the_file_stays_small(self):
        picture, _ = self.draw("--ranks", 32, "--ranks-per-node", 16, "--tokens", 131072, "--strategy", "ring")
        self.assertEqual(sorted(picture.ranks), [*range(8), *range(16, 24)])
        self.assertIn("16 more ranks are not drawn.", picture.texts)
        for strategy, per_node in (("all_gather", 1), ("hybrid(8)", 8)):
            picture, _ = self.draw("--ranks", 64, "--ranks-per-node", per_node, "--tokens", 65536, "--mask", "causal",
                                   "--strategy", strategy, "--partition", "balanced")  # fmt: skip
            self.assertLess(picture.bytes, 1_300_000)

    def test_of_a_job_that_is_not_simulated_whole_a_smaller_one_is_drawn_and_named(self):
        picture, best = self.draw("--ranks", 1024, "--ranks-per-node", 8, "--tokens", 4_000_000, "--mask", "causal", "--strategy", "double_ring")
        self.assertEqual(sorted(picture.ranks), list(range(16)))
        self.assertLess(best["simulated_ranks"], 1024)
        self.assertTrue(any(text.startswith("Drawn is a job of 16 ranks like it") for text in picture.texts), picture.texts)

    def test_strategy_and_partition_restrict_what_is_predicted(self):
        plans = json.loads(self.succeed("plan", "--ranks", 4, "--tokens", 5000, "--strategy", "double_ring(2)", "--json", "-"))
        self.assertEqual({plan["strategy"] for plan in plans}, {"double_ring(2)"})
        self.assertEqual(len(plans), 4)
        self.assertNotIn("why", plans[0])
        plans = json.loads(self.succeed("plan", "--ranks", 4, "--tokens", 5000, "--partition", "striped(64)", "--json", "-"))
        self.assertEqual({plan["partition"] for plan in plans}, {"striped(64)"})
        self.assertGreater(len(plans), 4)

    def test_a_picture_that_cannot_be_made_is_refused(self):
        job = ("plan", "--ranks", 4, "--tokens", 5000)
        self.refuse(*job, "--draw", os.path.join(self.folder, "no", "x.svg"), saying="x.svg")
        self.refuse(*job, "--draw", self.path("x.png"), saying=("x.png", "ends in .svg"))
        self.refuse(*job, "--draw", self.path("x.svg"), "--json", self.path("x.svg"), saying=("x.svg", "both"))
        self.refuse(*job, "--strategy", "double_ring(3)", saying="3")
        self.refuse(*job, "--strategy", "rings", saying="rings")
        self.refuse(*job, "--partition", "layout(x.npy)", saying="reads a file")
        with open(self.path("machine.json"), "w") as file:
            json.dump({"memory": {"bytes_per_rank": 1000}}, file)
        self.refuse(*job, "--draw", self.path("x.svg"), "--machine", self.path("machine.json"), saying="nothing to draw")


if __name__ == "__main__":
    command.main()
