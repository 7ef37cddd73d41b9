"""Pairs that heads choose, by the command: files, reports, and what it refuses."""

import json
import math

from command import Case, CommandTest, main
from tensor_files import load

ESTIMATING = ("vertical_slash(30,100)", "block_topk(2)", "xattention(16,0.6)", "moba(24,3)")


class Sparse(CommandTest):
    def make(self, tokens=300):
        return Case(self.folder, tokens, tokens, 4, 2, 6, 5)

    def run_sparse(self, case, choice, *more, mask="causal", **options):
        out, report = self.path("out.npy"), self.path("report.json")
        self.succeed("run", *case.arguments, "--mask", mask, "--sparse", choice, "--out", out, "--report", report, "--check", 20, *more, **options)
        with open(report, encoding="utf-8") as file:
            return load(out)[1], json.load(file)

    def test_any_ranks_and_placements_choose_the_same_pairs_and_the_check_agrees(self):
        case = self.make()
        for choice in ESTIMATING:
            expected, alone = self.run_sparse(case, choice, "--recall", 50)
            largest = max(map(abs, expected))
            self.assertLess(alone["sparse"]["kept_share"], 1)
            for ranks, partition in ((2, "auto"), (3, "balanced"), (5, "striped(16)")):
                out, report = self.run_sparse(case, choice, "--recall", 50, "--ranks", ranks, "--partition", partition)
                self.assertLessEqual(max(abs(a - b) for a, b in zip(out, expected)), 4e-6 * largest, (choice, ranks))
                self.assertEqual(report["sparse"]["kept_share"], alone["sparse"]["kept_share"])
                self.assertAlmostEqual(report["sparse"]["recall"], alone["sparse"]["recall"], places=12)
                self.assertTrue(report["check"]["passed"])

    def test_static_choices_are_the_masks_that_they_stand_for(self):
        case = self.make(40)
        self.compare(case, "causal", lambda i, j: j <= i and (j < 3 or i - j < 7), "--sparse", "a_shape(3,7)", "--ranks", 3)
        self.compare(case, "full", lambda i, j: j <= i and (j < 3 or i - j < 7), "--sparse", "a_shape(3,7)")
        self.compare(case, "window(9)", lambda i, j: i - 9 <= j <= i, "--sparse", "dense", "--ranks", 2)

    def test_a_file_has_a_choice_for_each_head(self):
        case = self.make(40)
        with open(self.path("heads.json"), "w", encoding="utf-8") as file:
            json.dump(["dense", "a_shape(2,5)", "moba(64,1)", "a_shape(0,1)"], file)
        visible = (lambda i, j: True, lambda i, j: j < 2 or i - j < 5, lambda i, j: True, lambda i, j: i == j)
        self.compare(case, "causal", lambda i, j, head: j <= i and visible[head](i, j), "--sparse", self.path("heads.json"), "--ranks", 2)

    def test_the_report_says_what_was_kept_recalled_and_saved(self):
        case = self.make(200)
        _, report = self.run_sparse(case, "a_shape(8,16)", "--recall", 200, "--against-dense", "--ranks", 2)
        sparse = report["sparse"]
        pairs = sum(1 for i in range(200) for j in range(i + 1) if j < 8 or i - j < 16)
        self.assertAlmostEqual(sparse["kept_share"], pairs / (200 * 201 / 2), places=12)
        scale, shares = 6**-0.5, []
        for token in range(200):
            for head in range(4):
                query = case.row("q", token, head)
                weights = [math.exp(scale * sum(a * b for a, b in zip(query, case.row("k", j, head // 2)))) for j in range(token + 1)]
                shares.append(sum(w for j, w in enumerate(weights) if j < 8 or token - j < 16) / sum(weights))
        self.assertEqual(sparse["recall_rows"], 800)
        self.assertAlmostEqual(sparse["recall"], sum(shares) / 800, places=9)
        self.assertAlmostEqual(sparse["least_recall"], min(shares), places=9)
        self.assertEqual((sparse["choice"], sparse["chosen_from"]), ("a_shape(8,16)", "causal"))
        self.assertGreater(sparse["estimate_seconds"], 0)
        self.assertAlmostEqual(sparse["speedup"], sparse["dense_seconds"] / report["seconds"])
        page = self.succeed("run", *case.arguments, "--mask", "causal", "--sparse", "moba(16,2)", "--recall", 5, "--against-dense")
        for word in ("  sparse     moba(16,2): ", "  recall     ", "  dense      "):
            self.assertIn(word, page)
        without = self.succeed("run", *case.arguments, "--mask", "causal", "--report", "-")
        self.assertIsNone(json.loads(without)["sparse"])

    def test_rotary_positions_turn_what_is_estimated_on_any_ranks(self):
        case, shares = self.make(), set()
        for ranks in (1, 3):
            _, report = self.run_sparse(case, "moba(24,3)", "--recall", 50, "--rope", 500, "--ranks", ranks)
            shares.add((report["sparse"]["kept_share"], round(report["sparse"]["recall"], 12)))
        _, plain = self.run_sparse(case, "moba(24,3)", "--recall", 50)
        self.assertEqual(len(shares), 1)
        self.assertNotIn(round(plain["sparse"]["recall"], 12), [recall for _, recall in shares])

    def test_chunks_of_dual_chunk_attention_choose_for_themselves_on_any_ranks(self):
        case, found = self.make(), []
        for ranks in (1, 3):
            out, report = self.run_sparse(case, "vertical_slash(40,128)", "--recall", 50, "--rope", 500, "--dual-chunk", "130,30", "--ranks", ranks,
                                          "--against-dense")  # fmt: skip
            self.assertTrue(report["check"]["passed"])
            self.assertLess(report["sparse"]["kept_share"], 1)
            self.assertGreater(report["sparse"]["recall"], report["sparse"]["kept_share"])
            found.append((out, report["sparse"]))
        (alone, one), (several, three) = found
        self.assertLessEqual(max(abs(a - b) for a, b in zip(alone, several)), 4e-6 * max(map(abs, alone)))
        self.assertEqual(one["kept_share"], three["kept_share"])
        self.assertAlmostEqual(one["recall"], three["recall"], places=12)
        _, all_pairs = self.run_sparse(case, "dense", "--recall", 50, "--rope", 500, "--dual-chunk", "130,30", mask="full")
        self.assertAlmostEqual(all_pairs["sparse"]["recall"], 1, places=12)

    def test_under_mpirun_with_gradients_and_a_trace(self):
        self.succeed("run", "--synthetic", 700, "--mask", "causal", "--sparse", "block_topk(3)", "--recall", 5, "--check", 5, "--backward", "auto",
                     "--against-dense", "--trace", self.path("trace.json"), mpi=3)  # fmt: skip

    def refuse_everywhere(self, *arguments, saying=()):
        self.refuse("run", *arguments, saying=saying)
        self.refuse("run", *arguments, "--ranks", 3, saying=saying)

    def test_what_cannot_be_is_refused_with_one_line(self):
        causal = ("--synthetic", 90, "--mask", "causal")
        self.refuse_everywhere(*causal, "--sparse", "moba(16)", saying=("moba(16)", "takes 2"))
        self.refuse_everywhere(*causal, "--sparse", "", saying="needs a value")
        self.refuse_everywhere("--synthetic", 90, "--sparse", "moba(16,2)", saying=("moba(16,2)", "causal"))
        self.refuse_everywhere(*causal, "--sparse", "block_topk(2)", "--softcap", 30, saying="cap")
        chunks = ("--rope", 10000, "--dual-chunk", "32,8")
        self.refuse_everywhere(*causal, "--sparse", "block_topk(2)", *chunks, saying=("block_topk(2)", "dual chunk"))
        self.refuse_everywhere(*causal, "--recall", 5, saying=("--recall", "--sparse"))
        self.refuse_everywhere(*causal, "--against-dense", saying=("--against-dense", "--sparse"))
        self.refuse_everywhere(*causal, "--sparse", self.path("none.json"), saying="none.json")
        with open(self.path("heads.json"), "w", encoding="utf-8") as file:
            file.write('["dense", "moba(0,1)"]')
        self.refuse_everywhere(*causal, "--sparse", self.path("heads.json"), saying=("heads.json, entry 1", "moba(0,1)"))
        with open(self.path("heads.json"), "w", encoding="utf-8") as file:
            file.write('["dense", "dense"]')
        self.refuse_everywhere(*causal, "--sparse", self.path("heads.json"), saying=("2 sparse choices", "8 query heads"))
        self.refuse_everywhere(*causal, "--sparse", self.path("heads.json"), "--heads", 2, "--report", self.path("heads.json"), saying="the same file")
        self.refuse_everywhere(*causal, "--sparse", "moba(16,2)", "--replay", "default", "--recall", 5, saying=("--replay", "recall"))


if __name__ == "__main__":
    main()
