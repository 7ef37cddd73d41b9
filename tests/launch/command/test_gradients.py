"""Gradients by the command: what its files hold beside the definition, and what it refuses."""

import json
import math

from command import Case, CommandTest, main
from tensor_files import load, load_safetensors, save, save_safetensors


def definition(case, grad_out, visible, offset, sinks=None):
    """dq, dk and dv (and dsinks) of sum(grad_out * out), one pair after the other."""
    scale, group = case.dim**-0.5, case.heads // case.kv_heads
    out, lse = case.expected(visible, offset, sinks=sinks)
    dq, dk, dv = ([0.0] * len(case.tensors[name]) for name in "qkv")
    dsinks = [0.0] * case.heads
    for token in range(case.queries):
        for head in range(case.heads):
            row = token * case.heads + head
            gradient = grad_out[row * case.value_dim : (row + 1) * case.value_dim]
            product = sum(a * b for a, b in zip(gradient, out[row * case.value_dim : (row + 1) * case.value_dim]))
            query, kv_head = case.row("q", token, head), head // group
            if sinks:
                dsinks[head] -= math.exp(sinks[head] - lse[row]) * product
            for j in range(case.keys):
                if not visible(token + offset, j):
                    continue
                key, value = case.row("k", j, kv_head), case.row("v", j, kv_head)
                weight = math.exp(scale * sum(a * b for a, b in zip(query, key)) - lse[row])
                slope = scale * weight * (sum(a * b for a, b in zip(gradient, value)) - product)
                column = j * case.kv_heads + kv_head
                for c in range(case.dim):
                    dq[row * case.dim + c] += slope * key[c]
                    dk[column * case.dim + c] += slope * query[c]
                for c in range(case.value_dim):
                    dv[column * case.value_dim + c] += weight * gradient[c]
    return (dq, dk, dv, dsinks) if sinks else (dq, dk, dv)


class Gradients(CommandTest):
    def make(self, queries=23, keys=23):
        grad_out = Case(self.folder, queries, keys, 4, 4, 5, 5, seed=7).tensors["q"]  # as large as the output
        case = Case(self.folder, queries, keys, 4, 2, 6, 5)
        save(self.path("grad_out.npy"), (queries, 4, 5), grad_out)
        return case, grad_out

    def compare_gradients(self, case, expected, *more, limit=4e-6, **options):
        files = {name: self.path(name + ".npy") for name in ("dq", "dk", "dv", "dsinks")[: len(expected)]}
        arguments = ["run", *case.arguments, "--grad-out", self.path("grad_out.npy"), "--unit", 4, "--check", 5]
        for name, path in files.items():
            arguments += ["--" + name, path]
        self.succeed(*arguments, *more, **options)
        shapes = {"dq": (case.queries, 4, 6), "dk": (case.keys, 2, 6), "dv": (case.keys, 2, 5), "dsinks": (4,)}
        for (name, path), wanted in zip(files.items(), expected):
            shape, got = load(path)
            self.assertEqual(shape, shapes[name])
            largest = max(map(abs, wanted))
            error = max(abs(a - b) for a, b in zip(got, wanted))
            self.assertLessEqual(error, limit * largest, (name, more))

    def test_gradients_are_those_of_the_definition_on_any_ranks_by_any_strategy(self):
        case, grad_out = self.make()
        expected = definition(case, grad_out, lambda i, j: j <= i, 0)
        self.compare_gradients(case, expected, "--mask", "causal")
        for ranks, strategy, backward in ((2, "ring", "keys"), (3, "ring", "queries"), (4, "ulysses", "keys"), (4, "hybrid(2)", "auto"),
                                          (5, "bidirectional_ring", "queries"), (2, "all_gather", "auto")):  # fmt: skip
            options = ("--ranks", ranks, "--strategy", strategy, "--backward", backward)
            self.compare_gradients(case, expected, "--mask", "causal", *options)

    def test_gradients_of_more_keys_than_queries_in_bf16_under_mpirun(self):
        case, grad_out = self.make(queries=9, keys=31)
        expected = definition(case, grad_out, lambda i, j: i - 8 <= j <= i, 22)
        self.compare_gradients(case, expected, "--mask", "window(8)", mpi=2)
        self.compare_gradients(case, expected, "--mask", "window(8)", "--dtype", "bf16", limit=2e-2, mpi=2)

    def test_a_gradient_of_the_output_may_come_from_safetensors(self):
        case, grad_out = self.make()
        expected = definition(case, grad_out, lambda i, j: True, 0)
        self.compare_gradients(case, expected)
        save_safetensors(self.path("grad.safetensors"), {"grad_out": ("F32", (23, 4, 5), grad_out)})
        again = self.path("again.npy")
        self.succeed("run", *case.arguments, "--unit", 4, "--grad-out", self.path("grad.safetensors"), "--dq", again)
        self.assertEqual(load(again)[1].tobytes(), load(self.path("dq.npy"))[1].tobytes())

    def test_sinks_have_the_gradients_of_all_ranks_rows(self):
        case, grad_out = self.make(queries=40, keys=31)  # the first 9 rows see no key but the sink
        sinks, file = [0.5, -1.25, 3.0, 0.0], self.path("sinks.npy")
        save(file, (4,), sinks)
        expected = definition(case, grad_out, lambda i, j: j <= i, -9, sinks)
        for ranks, strategy in ((1, "ring"), (2, "ring"), (3, "all_gather"), (4, "ulysses")):
            self.compare_gradients(case, expected, "--mask", "causal", "--sinks-logits", file, "--ranks", ranks, "--strategy", strategy)
        self.compare_gradients(case, expected, "--mask", "causal", "--sinks-logits", file, "--measure-overlap", mpi=2)
        named = self.path("dsinks.safetensors")
        self.succeed("run", *case.arguments, "--mask", "causal", "--sinks-logits", file, "--grad-out", self.path("grad_out.npy"), "--unit", 4,
                     "--dsinks", named, "--ranks", 2, "--strategy", "ring")  # fmt: skip
        dtype, shape, got = load_safetensors(named, "dsinks")
        self.assertEqual((dtype, shape), ("F32", (4,)))
        self.assertLessEqual(max(abs(a - b) for a, b in zip(got, expected[3])), 4e-6 * max(map(abs, expected[3])))

    def test_the_report_has_the_backward_calls(self):
        report = self.path("report.json")
        arguments = ("run", "--synthetic", 200, "--heads", 2, "--head-dim", 16, "--value-dim", 8, "--ranks", 2)
        self.succeed(*arguments, "--repeat", 3, "--backward", "queries", "--strategy", "ring", "--shared-memory", "off", "--report", report)
        with open(report, encoding="utf-8") as file:
            said = json.load(file)
        backward = said["backward"]
        self.assertEqual(backward["travels"], "queries")
        self.assertEqual(backward["repeat"], 3)
        self.assertEqual(backward["flops"], 2 * 200 * 200 * 2 * (3 * 16 + 2 * 8))
        self.assertEqual(backward["bytes_sent"], backward["bytes_arriving"])
        self.assertGreater(backward["bytes_sent"], said["bytes_sent"])
        self.assertEqual(len(backward["per_rank"]["total_seconds"]), 2)

    def test_gradients_that_cannot_be_are_refused_by_name(self):
        case, _ = self.make()
        tensors = ("run", *case.arguments)
        self.refuse(*tensors, "--dq", self.path("x.npy"), saying=("--dq", "--grad-out"))
        self.refuse(*tensors, "--backward", "auto", saying=("--backward", "--grad-out FILE"))
        self.refuse(*tensors, "--grad-out", self.path("k.npy"), saying=("--grad-out", "[23, 2, 6]", "[23, 4, 5]"))
        self.refuse(*tensors, "--grad-out", self.path("none.npy"), saying=("--grad-out", "none.npy"))
        gradient = (*tensors, "--grad-out", self.path("grad_out.npy"))
        self.refuse(*gradient, "--backward", "sideways", saying=("sideways", "auto, keys or queries"))
        self.refuse(*gradient, "--strategy", "tree", "--ranks", 2, saying=("tree is for serving", "ring"))
        self.refuse(*gradient, "--strategy", "ulysses", "--ranks", 2, "--backward", "queries", saying=("ulysses", "queries"))
        self.refuse(*gradient, "--dk", self.path("q.npy"), saying=("--dk", "--q", "the same file"))
        self.refuse(*gradient, "--dv", self.path("dv.txt"), saying=("--dv", ".npy or .safetensors"))
        self.refuse(*gradient, "--dsinks", self.path("s.npy"), saying=("--dsinks", "--sinks-logits FILE"))
        save(self.path("sinks.npy"), (4,), [0.0] * 4)
        sinks = ("--sinks-logits", self.path("sinks.npy"), "--dsinks")
        self.refuse(*tensors, *sinks, self.path("s.npy"), saying=("--dsinks", "--grad-out"))
        self.refuse(*gradient, *sinks, self.path("sinks.npy"), saying=("--dsinks", "--sinks-logits", "the same file"))
        self.refuse(*gradient, *sinks, self.path("s.npy"), "--replay", "x", saying=("--replay", "--dsinks"))


if __name__ == "__main__":
    main()
