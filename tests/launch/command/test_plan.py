"""gyre plan: predictions of every strategy and placement, without MPI and without the machine."""

import json
import os
import unittest

import command
from command import CommandTest

FIELDS = "strategy partition seconds exposed_communication_seconds bytes_sent_per_rank bytes_between_nodes memory_bytes_per_rank".split()


class Plans(CommandTest):
    def plan(self, *arguments):
        text = self.succeed("plan", *arguments, "--json", "-")
        return json.loads(text)

    def test_the_plan_is_an_array_best_first_with_the_fields_of_the_contract(self):
        plans = self.plan("--ranks", 8, "--ranks-per-node", 2, "--tokens", 65536, "--heads", 8, "--kv-heads", 4, "--head-dim", 64,
                          "--mask", "causal", "--dtype", "bf16")
        for plan in plans:
            for field in FIELDS:
                self.assertIn(field, plan)
        seconds = [plan["seconds"] for plan in plans]
        self.assertEqual(seconds, sorted(seconds))
        self.assertIn("why", plans[0])
        self.assertEqual({plan["partition"] for plan in plans}, {"contiguous", "zigzag", "striped", "balanced"})
        names = {plan["strategy"] for plan in plans}
        for name in "ring bidirectional_ring double_ring(2) all_gather ulysses hybrid(2) hybrid(4) pass_query tree".split():
            self.assertIn(name, names)

    def test_the_page_names_the_winner_and_says_why(self):
        page = self.succeed("plan", "--ranks", 4, "--tokens", 8192, "--mask", "causal")
        best = self.plan("--ranks", 4, "--tokens", 8192, "--mask", "causal")[0]
        self.assertIn(f"{best['strategy']}, {best['partition']}: ", page)
        self.assertIn(best["why"], page)

    def test_a_plan_of_training_adds_backward_calls_and_lets_queries_travel_where_no_heads_share_keys(self):
        arguments = ("--ranks", 8, "--tokens", 65536, "--mask", "causal", "--heads", 8, "--partition", "zigzag")
        forward = {plan["strategy"]: plan for plan in self.plan(*arguments)}
        self.assertEqual({plan["backward"] for plan in forward.values()}, {None})
        self.assertTrue({"pass_query", "tree"} <= set(forward))
        for key_heads, travels in ((8, "queries"), (2, "keys")):
            plans = {plan["strategy"]: plan for plan in self.plan(*arguments, "--kv-heads", key_heads, "--backward", "auto")}
            self.assertFalse({"pass_query", "tree"} & set(plans), "which are for serving")
            self.assertEqual(plans["ring"]["backward"], travels)
            self.assertEqual(plans["ulysses"]["backward"], "keys")
            self.assertGreater(plans["ring"]["seconds"], 2 * forward["ring"]["seconds"])

    def test_dual_chunk_attention_makes_queries_larger_that_travel_and_no_keys(self):
        arguments = ("--ranks", 4, "--tokens", 65536, "--partition", "zigzag")
        causal, dual_chunk = ({plan["strategy"]: plan for plan in self.plan(*arguments, *more)} for more in (("--mask", "causal"), ("--dual-chunk", "4608,512")))
        self.assertEqual(dual_chunk["ring"]["bytes_sent_per_rank"], causal["ring"]["bytes_sent_per_rank"])
        self.assertGreater(dual_chunk["ring"]["memory_bytes_per_rank"], causal["ring"]["memory_bytes_per_rank"])
        self.assertGreater(dual_chunk["pass_query"]["bytes_sent_per_rank"], 1.8 * causal["pass_query"]["bytes_sent_per_rank"])
        self.refuse("plan", "--ranks", 2, "--tokens", 99, "--rope", "10000", saying=("--rope changes what gyre run computes", "remove it"))

    def test_a_file_gets_the_same_as_standard_output(self):
        path = self.path("plan.json")
        arguments = ("--ranks", 3, "--tokens", 1000)
        self.succeed("plan", *arguments, "--json", path)
        with open(path) as file:
            self.assertEqual(json.load(file), self.plan(*arguments))

    def test_a_slower_network_makes_strategies_slower_that_wait_for_it(self):
        machine = self.path("machine.json")
        with open(machine, "w") as file:
            json.dump({"name": "slow", "network": {"bytes_per_second": 1e6, "link_bytes_per_second": {"value": 1e6, "source": "a guess"}}}, file)
        arguments = ("--ranks", 4, "--tokens", 16384, "--mask", "full")
        fast, slow = self.plan(*arguments)[0], self.plan(*arguments, "--machine", machine)[0]
        self.assertGreater(slow["seconds"], 2 * fast["seconds"])
        self.assertGreater(slow["exposed_communication_seconds"], 0.5 * slow["seconds"])

    def test_strategies_that_do_not_fit_in_memory_are_left_out_by_name(self):
        machine = self.path("machine.json")
        with open(machine, "w") as file:
            json.dump({"memory": {"bytes_per_rank": 60e6}}, file)
        arguments = ("--ranks", 8, "--tokens", 65536, "--machine", machine)
        page = self.succeed("plan", *arguments)
        self.assertIn("left out: tree, zigzag: a rank would need ", page)
        self.assertNotIn("tree", [plan["strategy"] for plan in self.plan(*arguments)])

    def test_thousands_of_ranks_are_predicted_from_dozens(self):
        plans = self.plan("--ranks", 2048, "--ranks-per-node", 8, "--tokens", 4_000_000, "--heads", 8, "--head-dim", 128, "--mask", "causal",
                          "--partition", "zigzag")
        self.assertLess(plans[0]["simulated_ranks"], 2048)
        self.assertGreater(plans[0]["simulated_ranks"], min(plan["simulated_ranks"] for plan in plans))
        self.assertGreater(len(plans), 8)

    def test_a_run_says_which_strategy_it_chose_and_why(self):
        run = ("run", "--ranks", 2, "--synthetic", 500, "--report", "-")
        report = json.loads(self.succeed(*run))
        self.assertEqual(report["strategy"], "ring")
        self.assertTrue(report["strategy_why"].startswith("ring, "), report["strategy_why"])
        self.assertIn(report["strategy_why"], self.succeed(*run[:-2], "--strategy", "auto"))
        self.assertIsNone(json.loads(self.succeed(*run, "--strategy", "tree"))["strategy_why"])
        self.refuse(*run[:-2], "--machine", "/nonexistent", saying="cannot be read")

    def test_wrong_input_is_refused_with_value_limit_and_remedy(self):
        self.refuse("plan", saying="--ranks is missing")
        self.refuse("plan", "--ranks", 4, saying="--tokens is missing")
        self.refuse("plan", "--ranks", 0, "--tokens", 5, saying=("--ranks is '0'", "1 to"))
        self.refuse("plan", "--ranks", 4, "--ranks-per-node", 5, "--tokens", 5, saying=("--ranks-per-node is '5'", "1 to 4"))
        self.refuse("plan", "--ranks", 4, "--tokens", 5, "--heads", 3, "--kv-heads", 2, saying="divisor")
        self.refuse("plan", "--ranks", 4, "--tokens", 5, "--mask", "casual", saying="column")
        self.refuse("plan", "--ranks", 4, "--tokens", 5, "--machine", "/nonexistent", saying="cannot be read")
        self.refuse("plan", "--ranks", 4, "--tokens", 5, "--maschine", "x", saying="did you mean --machine?")
        self.refuse("plan", "--ranks", 4, "--tokens", 5, "--json", os.path.join(self.folder, "no", "x.json"), saying="x.json")


if __name__ == "__main__":
    command.main()
