"""What a run computes, against the definition."""

import json
import math

from command import Case, CommandTest, main, rotary_product
from tensor_files import load, pack, save, unpack


class Results(CommandTest):
    """On any number of ranks, however tokens are placed."""

    ranks = (1, 3, 8)

    def test_causal_self_attention_equals_the_definition_on_any_number_of_ranks(self):
        case = Case(self.folder, 29, 29, 4, 2, 6, 5)
        for ranks in self.ranks:
            for partition in ("contiguous", "zigzag", "striped", "striped(3)", "balanced", "zigzag_documents", "auto")[: 7 if ranks > 1 else 1]:
                more = ("--ranks", ranks, "--partition", partition, "--unit", 3, "--strategy", "ring")
                self.compare(case, "causal", lambda i, j: j <= i, *more)

    def test_fewer_queries_than_keys_meet_the_last_key_by_default(self):
        case = Case(self.folder, 7, 23, 3, 1, 5, 9)
        for ranks in self.ranks:
            self.compare(case, "window(4) | sinks(2)", lambda i, j: i - 4 <= j <= i or (j < 2 and j <= i), "--ranks", ranks, "--unit", 2)

    def test_more_queries_than_keys_leave_rows_that_see_nothing_at_zero_and_minus_infinity(self):
        case = Case(self.folder, 19, 11, 2, 2, 4, 4)
        for ranks in (1, 3, 8):
            self.compare(case, "causal", lambda i, j: j <= i, "--ranks", ranks, "--unit", 4)
        self.assertEqual(load(self.path("lse.npy"))[1][0], -math.inf)

    def test_nothing_to_do_gives_empty_files(self):
        for queries, keys in ((0, 0), (0, 5)):
            case = Case(self.folder, queries, keys, 2, 1, 4, 3)
            for ranks in (1, 3):
                self.compare(case, "full", lambda i, j: True, "--ranks", ranks)
        self.compare(Case(self.folder, 4, 0, 2, 1, 4, 3), "full", lambda i, j: True, "--ranks", 2)

    def test_the_bits_of_synthetic_attention_do_not_depend_on_the_ranks_when_every_row_meets_its_keys_in_one_order(self):
        results = set()
        for ranks in self.ranks:
            self.succeed("run", "--synthetic", 96, "--unit", 96, "--heads", 2, "--seed", 5, "--ranks", ranks, "--out", self.path("o.npy"))
            with open(self.path("o.npy"), "rb") as file:
                results.add(file.read())
        self.assertEqual(len(results), 1)


class ResultsOfOptions(CommandTest):
    ranks = (1, 3, 8)

    def test_query_offset_and_scale_are_taken_as_given_also_when_negative(self):
        case = Case(self.folder, 9, 9, 2, 1, 4, 4)
        self.compare(case, "causal", lambda i, j: j <= i, "--query-offset", "-3", "--ranks", 3, "--unit", 2, offset=-3)
        self.compare(case, "causal", lambda i, j: j <= i, "--query-offset", "5", offset=5)
        self.compare(case, "full", lambda i, j: True, "--scale", "-0.25", scale=-0.25)

    def test_checksums_change_no_result_and_their_time_is_told(self):
        case = Case(self.folder, 23, 23, 4, 2, 7, 5)
        report = self.path("report.json")
        for ranks in self.ranks:
            for sharing in ("auto", "off"):
                more = ("--integrity", "--shared-memory", sharing, "--ranks", ranks, "--threads", 1, "--unit", 3, "--report", report)
                self.compare(case, "causal", lambda i, j: j <= i, *more)
                with open(report, encoding="utf-8") as file:
                    self.assertGreater(json.load(file)["integrity_seconds"], 0)

    def test_softcap_comes_after_the_scale_and_before_the_mask(self):
        case = Case(self.folder, 19, 19, 4, 2, 7, 5)
        for softcap in (0.5, 3.0, 1000.0):
            for ranks in self.ranks:
                more = ("--softcap", softcap, "--ranks", ranks, "--unit", 3)
                self.compare(case, "causal", lambda i, j: j <= i, *more, "--scale", 0.7, scale=0.7, softcap=softcap)

    def test_alibi_sinks_and_dropout_are_their_definitions_on_any_number_of_ranks(self):
        case = Case(self.folder, 19, 23, 6, 2, 7, 5)
        logits, file = [0.5, -1.25, 3.0, 0.0, -8.0, 40.0], self.path("sinks.npy")
        save(file, (6,), logits)
        for ranks in self.ranks:
            more = ("--ranks", ranks, "--unit", 3)
            self.compare(case, "causal", lambda i, j: j <= i, *more, "--alibi", alibi=True)
            self.compare(case, "window(4)", lambda i, j: i - 4 <= j <= i, *more, "--sinks-logits", file, sinks=logits)
            self.compare(case, "causal", lambda i, j: j <= i, *more, "--dropout", "0.3,12345678901234567890", dropout=(0.3, 12345678901234567890))
            all_three = ("--alibi", "--sinks-logits", file, "--dropout", "0.5,1", "--query-offset", -3)
            self.compare(case, "causal", lambda i, j: j <= i, *more, *all_three, offset=-3, alibi=True, sinks=logits, dropout=(0.5, 1))

    def test_rotary_positions_make_scores_of_how_far_apart_two_tokens_are(self):
        case = Case(self.folder, 19, 23, 4, 2, 8, 5)
        plain = [100 ** (-2 * k / 8) for k in range(4)]
        ways = (
            (("--rope", "100"), rotary_product(lambda i, j: i - j, plain)),
            (("--rope", "100,interleaved,6"), rotary_product(lambda i, j: i - j, [100 ** (-2 * k / 6) for k in range(3)], "interleaved")),
            (("--rope", "100", "--rope-linear", 4), rotary_product(lambda i, j: i - j, [f / 4 for f in plain])),
            (("--rope", "100", "--rope-ntk", 4), rotary_product(lambda i, j: i - j, [(100 * 4 ** (8 / 6)) ** (-2 * k / 8) for k in range(4)])),
            # within 6 tokens no pair turns once, so that the ramp has no length: all but the first are divided
            (("--rope", "100,half", "--yarn", "4,6"), rotary_product(lambda i, j: i - j, [plain[0], *(f / 4 for f in plain[1:])], magnitude=0.1 * math.log(4) + 1)),
        )  # fmt: skip
        for ranks in self.ranks:
            for more, product in ways:
                self.compare(case, "causal", lambda i, j: j <= i, *more, "--ranks", ranks, "--unit", 3, product=product)
        self.compare(case, "causal", lambda i, j: j <= i, *ways[1][0], "--query-offset", -3, "--softcap", 2, offset=-3, softcap=2, product=ways[1][1])
        for dtype in ("f32", "bf16", "f16"):  # the check knows of positions, backward too
            self.succeed("run", "--synthetic", 90, "--heads", 4, "--kv-heads", 2, "--head-dim", 24, "--rope", "100,interleaved,20", "--yarn", "8,16", "--mask", "causal",
                         "--dtype", dtype, "--backward", "auto", "--check", 90, "--ranks", 3, "--unit", 7)  # fmt: skip

    def test_dual_chunk_attention_takes_no_two_tokens_to_be_farther_apart_than_a_chunk(self):
        case = Case(self.folder, 31, 31, 4, 2, 8, 5)
        chunk, local = 9, 3
        length = chunk - local

        def apart(i, j):
            a, b, chunks = i % length, j % length, i // length - j // length
            return a - b if chunks == 0 else min(a + length, chunk) - b if chunks == 1 else min(2 * length - 1, chunk) - b

        product = rotary_product(apart, [100 ** (-2 * k / 8) for k in range(4)])
        scale = 8**-0.5 * (0.1 * math.log(31 / 16) + 1) ** 2
        for ranks in self.ranks:
            more = ("--rope", "100", "--ranks", ranks, "--unit", 4)
            self.compare(case, "full", lambda i, j: j <= i, "--dual-chunk", "9,3", *more, product=product)
            self.compare(case, "window(14)", lambda i, j: i - 14 <= j <= i, "--dual-chunk", "9,3,16", *more, product=product, scale=scale)
        for dtype in ("f32", "bf16", "f16"):
            self.succeed("run", "--synthetic", 90, "--heads", 4, "--kv-heads", 2, "--head-dim", 24, "--rope", "100,interleaved,20", "--yarn", "8,16",
                         "--dual-chunk", "20,5", "--dtype", dtype, "--backward", "auto", "--check", 90, "--ranks", 3, "--unit", 7)  # fmt: skip

    def test_float16_and_float64_files_are_read(self):
        for descr in ("<f2", "<f8"):
            case = Case(self.folder, 13, 13, 4, 2, 6, 5, descr)
            self.compare(case, "documents(5,8)", lambda i, j: (i < 5) == (j < 5), "--ranks", 3, "--unit", 3)

    def test_16_bits_on_the_wire_give_the_attention_of_the_rounded_inputs(self):
        for dtype in ("BF16", "F16"):
            case = Case(self.folder, 23, 23, 4, 2, 7, 5)
            case.tensors = {name: unpack(pack(values, dtype), dtype) for name, values in case.tensors.items()}
            for ranks in self.ranks:
                self.compare(case, "causal", lambda i, j: j <= i, "--dtype", dtype.lower(), "--ranks", ranks, "--unit", 3)
        report = self.path("report.json")
        sent = {}
        for dtype in ("f32", "bf16"):
            text = self.succeed("run", "--synthetic", 64, "--dtype", dtype, "--ranks", 4, "--unit", 16, "--strategy", "ring",
                                "--check", 9, "--report", report)  # fmt: skip
            with open(report, encoding="utf-8") as file:
                sent[dtype] = json.load(file)["bytes_sent"]
            self.assertEqual("of inputs as bf16 holds them" in text, dtype == "bf16", text)
        self.assertEqual(sent["f32"], 2 * sent["bf16"])

    def test_every_instruction_set_and_several_threads_agree_with_the_definition(self):
        case = Case(self.folder, 21, 21, 2, 1, 17, 7)
        self.compare(case, "causal", lambda i, j: j <= i, "--isa", "portable")
        self.compare(case, "causal", lambda i, j: j <= i, "--threads", 3, "--ranks", 2, "--unit", 5)


class ResultsOnOtherRanks(Results):
    ranks = (1, 2, 4, 5)


class OptionsOnOtherRanks(ResultsOfOptions):
    ranks = (2, 4, 5)


if __name__ == "__main__":
    main()
