"""gyre.torch on the ranks of mpirun (or one), against PyTorch's own attention of the whole sequence in float64. Every rank runs every
test."""

import pathlib
import re
import sys
import unittest

try:
    import torch
except ImportError:
    print("skipped: no PyTorch for this interpreter")
    sys.exit(0)

import gyre.torch
import numpy
from mpi4py import MPI
from reference import WORLD, RanksTest
from torch.utils.checkpoint import checkpoint

from_elsewhere = torch.nn.functional.scaled_dot_product_attention

torch.set_num_threads(1)
LAST = WORLD.size - 1
OPTIONS = {"comm": WORLD, "threads": 1, "deadline_seconds": 100}


def share(tokens, rank=WORLD.rank):
    """Rows of a rank: unequal ones."""
    cuts = [tokens * cut * cut // WORLD.size**2 for cut in range(WORLD.size + 1)]
    return slice(cuts[rank], cuts[rank + 1])


def draw(*shape, seed=0):
    return torch.from_numpy(numpy.random.default_rng(seed).normal(0, 1, shape))


def whole(q, k, v, grad_out, rotated=lambda rows: rows, **options):
    """out, dq, dk, dv of the whole sequence."""
    inputs = [tensor.double().requires_grad_() for tensor in (q, k, v)]
    out = torch.nn.functional.scaled_dot_product_attention(rotated(inputs[0]), rotated(inputs[1]), inputs[2], enable_gqa=True, **options)
    return out.detach(), *torch.autograd.grad(out, inputs, grad_out.double())


class TorchTest(RanksTest):
    def close(self, got, expected, limit, name):
        if got.numel() > 0:
            self.assertLessEqual((got.double() - expected).abs().max().item(), limit * max(1, expected.abs().max().item()), name)

    def compare(self, dtype=torch.float32, tokens=101, limit=4e-6, transposed=False, reference=None, rotated=lambda rows: rows, **options):
        q, k, v, grad_out = (draw(2, heads, tokens, dim, seed=seed).to(dtype) for seed, (heads, dim) in enumerate(((4, 8), (2, 8), (2, 6), (4, 6))))
        expected = whole(q, k, v, grad_out, rotated, **({"is_causal": True} if reference is None else reference))
        held = share(tokens)
        mine = [tensor[:, :, held].clone() for tensor in (q, k, v)]
        if transposed:  # as a model's projections leave them
            mine = [tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in mine]
        mine = [tensor.requires_grad_() for tensor in mine]
        out = gyre.torch.ring_attention(*mine, **OPTIONS, **(options or {"causal": True}))
        self.assertEqual((out.dtype, out.shape), (dtype, (2, 4, mine[0].shape[2], 6)))
        gradients = torch.autograd.grad(out, mine, grad_out[:, :, held])
        for name, got, right in zip(("out", "dq", "dk", "dv"), (out, *gradients), expected):
            self.close(got.detach(), right[:, :, held], limit, name)


class RingAttention(TorchTest):
    def test_outputs_and_gradients_are_those_of_the_whole_sequence(self):
        self.compare()
        self.compare(reference={}, causal=False)
        self.compare(reference={"is_causal": True, "scale": 0.25}, causal=True, scale=0.25, strategy="ulysses")

    def test_masks_by_name_hold_beside_causal(self):
        ago = torch.arange(101)[:, None] - torch.arange(101)
        self.compare(reference={"attn_mask": (ago >= 0) & (ago <= 20)}, causal=True, mask="window(20,5)")

    def test_alibi_and_sinks_have_the_gradients_of_the_whole_batch(self):
        tokens, held = 61, share(61)
        inputs = [draw(2, heads, tokens, dim, seed=seed) for seed, (heads, dim) in enumerate(((4, 8), (2, 8), (2, 6)))] + [draw(4, seed=9)]
        grad_out = draw(2, 4, tokens, 6, seed=3)
        distance = torch.arange(tokens)[:, None] - torch.arange(tokens)
        for alibi in (False, True):
            q, k, v, sinks = right = [tensor.clone().requires_grad_() for tensor in inputs]
            slopes = 2.0 ** -torch.arange(2.0, 9, 2).double() * alibi
            scores = (q @ k.repeat_interleave(2, 1).mT * 8**-0.5 - slopes[:, None, None] * distance).masked_fill(distance < 0, -torch.inf)
            logits = sinks[None, :, None, None].expand(2, 4, tokens, 1)
            out = torch.cat([scores, logits], -1).softmax(-1)[..., :-1] @ v.repeat_interleave(2, 1)
            expected = torch.autograd.grad(out, right, grad_out)
            mine = [tensor[:, :, held].float().clone().requires_grad_() for tensor in inputs[:3]] + [inputs[3].float().requires_grad_()]
            got = gyre.torch.ring_attention(*mine[:3], causal=True, alibi=alibi, sinks=mine[3], **OPTIONS)
            self.close(got.detach(), out.detach()[:, :, held], 4e-6, "out")
            gradients = torch.autograd.grad(got, mine, grad_out[:, :, held].float())
            for name, mine_of, whole_of in zip(("dq", "dk", "dv"), gradients, expected):
                self.close(mine_of, whole_of[:, :, held], 4e-6, name)
            total = gradients[3].numpy().copy()  # as that of any parameter that all ranks have
            WORLD.Allreduce(MPI.IN_PLACE, total, MPI.SUM)
            self.close(torch.from_numpy(total), expected[3], 4e-6, "dsinks")

    def test_rotary_positions_are_of_the_whole_sequence_and_gradients_of_what_came_unrotated(self):
        angles = torch.arange(101)[:, None] * 10000.0 ** -(torch.arange(4).double() / 4)

        def rotated(rows):
            x, y = rows.chunk(2, -1)
            return torch.cat([x * angles.cos() - y * angles.sin(), y * angles.cos() + x * angles.sin()], -1)

        self.compare(rotated=rotated, causal=True, rope=10000.0)
        self.compare(rotated=rotated, causal=True, rope=(10000, "half", 8))

    def test_dropout_of_a_seed_is_that_of_one_rank_and_sequences_of_a_batch_have_their_own(self):
        q = draw(1, 2, 50, 8).float().expand(2, 2, 50, 8).contiguous()
        held = share(50)
        outs = {}
        for alibi in (False, True):
            for seed in (3, 4, 3):
                options = {"causal": True, "alibi": alibi, "dropout_p": 0.25, "seed": seed}
                whole_out = gyre.torch.ring_attention(q, q, q, threads=1, **options)
                mine = gyre.torch.ring_attention(*[q[:, :, held].clone()] * 3, **options, **OPTIONS)
                self.close(mine, whole_out.double()[:, :, held], 4e-6, "out")
                self.assertTrue(torch.equal(outs.setdefault((alibi, seed), whole_out), whole_out))
            self.assertFalse(torch.equal(outs[alibi, 3], outs[alibi, 4]))
            self.assertFalse(torch.equal(outs[alibi, 3][0], outs[alibi, 3][1]))

    def test_backward_drops_what_its_forward_dropped_though_another_seed_came_between(self):
        inputs = [draw(1, 2, 50, 8, seed=seed).float()[:, :, share(50)].clone().requires_grad_() for seed in range(3)]
        options = {"causal": True, "dropout_p": 0.5, **OPTIONS}
        right = torch.autograd.grad(gyre.torch.ring_attention(*inputs, seed=1, **options).sum(), inputs)
        out = gyre.torch.ring_attention(*inputs, seed=1, **options)
        gyre.torch.ring_attention(*inputs, seed=2, **options)
        self.assertTrue(all(map(torch.equal, torch.autograd.grad(out.sum(), inputs), right)))

    def test_half_precision_goes_in_and_comes_out(self):
        self.compare(torch.bfloat16, limit=2e-2)
        self.compare(torch.float16, limit=3e-3)

    def test_heads_may_lie_behind_tokens(self):
        self.compare(transposed=True)

    def test_a_sequence_may_change_its_length_between_calls(self):
        for tokens in (40, 57, 40):
            self.compare(tokens=tokens)

    def test_threads_of_one_rank_may_change_between_calls(self):
        q = draw(1, 2, 40, 8).float()[:, :, share(40)].clone()
        outs = [gyre.torch.ring_attention(q, q, q, **{**OPTIONS, "threads": 2 if WORLD.rank == wide else 1}) for wide in (-1, LAST, -1)]
        self.assertTrue(all(torch.equal(out, outs[0]) for out in outs))

    def test_rows_may_lie_as_a_partition_says(self):
        q = draw(1, 2, 96, 8).float()
        attention = gyre.Attention(WORLD, query_tokens=96, query_heads=2, head_dim=8, partition="zigzag", mask="causal")
        held = torch.cat([torch.arange(rows.start, rows.stop) for rows in attention.query_rows]) if attention.query_rows else torch.arange(0)
        out = gyre.torch.ring_attention(*[q[:, :, held]] * 3, causal=True, partition="zigzag", **OPTIONS)
        self.close(out, torch.nn.functional.scaled_dot_product_attention(*[q.double()] * 3, is_causal=True)[:, :, held], 2e-6, "out")

    def test_gradients_that_are_spread_by_expansion_are_read(self):
        q = draw(1, 2, 30, 8).float()[:, :, share(30)].clone().requires_grad_()
        gyre.torch.ring_attention(q, q, q, **OPTIONS).sum().backward()
        self.assertEqual(q.grad.shape, q.shape)

    def test_wrong_input_is_a_value_error_on_every_rank(self):
        q = draw(1, 2, 8, 4).float()
        for wrong, part in ((q[0], "batch, heads"), (q.double(), "float64"), (q[:, :1, :5], "do not fit together")):
            self.refused(lambda: gyre.torch.ring_attention(q, wrong, q, **OPTIONS), part)
        self.refused(lambda: gyre.torch.ring_attention(q, q, q, mask="windw(3)", **OPTIONS), "column")
        self.refused(lambda: gyre.torch.ring_attention(q, q, q, partition=[(0, 3, 0)], **OPTIONS), "3")
        self.refused(lambda: gyre.torch.ring_attention(q, q, q, sinks=torch.zeros(3), **OPTIONS), "sinks is [3]", "[2]")
        self.refused(lambda: gyre.torch.ring_attention(q, q, q, dropout_p=0.1, **OPTIONS), "dropout_p is 0.1", "seed")
        self.refused(lambda: gyre.torch.ring_attention(q, q, q, seed=1, **OPTIONS), "seed is 1", "dropout_p")
        self.refused(lambda: gyre.torch.ring_attention(q, q, q, dropout_p=0.1, seed=-1, **OPTIONS), "seed is -1")
        self.refused(lambda: gyre.torch.ring_attention(q, q, q, dropout_p=1.0, seed=1, **OPTIONS), "dropout is 1", "0.999")
        if WORLD.size > 1:
            self.refused(lambda: gyre.torch.ring_attention(q, q, q, causal=WORLD.rank == 0, **OPTIONS), "ranks disagree on mask", "causal",
                         kind=gyre.Disagreement)  # fmt: skip


class Block(torch.nn.Module):
    """A transformer's, small; it knows nothing of Gyre."""

    def __init__(self, ways):
        super().__init__()
        torch.manual_seed(1)
        self.project, self.back, self.ways = torch.nn.Linear(16, 48), torch.nn.Linear(16, 16), ways

    def attend(self, x):
        q, k, v = (part.unflatten(-1, (2, 8)).transpose(1, 2) for part in self.project(x).chunk(3, dim=-1))
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(-2)

    def forward(self, x):
        attended = self.attend(x) if self.ways is None else checkpoint(self.attend, x, use_reentrant=self.ways)
        return self.back(attended.relu())


class DropIn(TorchTest):
    def train(self, model, x, backward=None):
        loss = (model(x) ** 2).sum()
        if backward is not None:
            return [loss.detach(), *backward(loss, list(model.parameters()))]
        loss.backward()
        return [loss.detach()] + [parameter.grad for parameter in model.parameters()]

    def compare_model(self, ways, prepare=lambda model: model, backward=None):
        x = draw(2, 70, 16, seed=4).float()
        expected = self.train(Block(None), x.clone().requires_grad_())
        model = Block(ways)
        with gyre.torch.sharded_attention(**OPTIONS):
            got = self.train(prepare(model), x[:, share(70)].clone().requires_grad_(), backward)
        for index, (mine, right) in enumerate(zip(got, expected)):
            total = mine.numpy().copy()
            WORLD.Allreduce(MPI.IN_PLACE, total, MPI.SUM)
            self.close(torch.from_numpy(total), right.double(), 1e-5, str(index))

    def test_a_model_that_knows_nothing_of_gyre_has_the_loss_and_gradients_of_the_whole_sequence(self):
        self.compare_model(None)

    def test_the_example_of_the_readme_runs(self):
        readme = (pathlib.Path(__file__).parents[3] / "README.md").read_text()
        (example,) = [block for block in re.findall("\n```python\n(.*?)```", readme, re.DOTALL) if "sharded_attention" in block]
        model = Block(None)
        exec(example, {"gyre": gyre, "MPI": MPI, "model": model, "tokens_of_this_rank": draw(1, 9, 16).float()[:, share(9)]})
        self.assertTrue(all(parameter.grad is not None for parameter in model.parameters()))

    def test_so_it_has_under_activation_checkpoints(self):
        self.compare_model(False)
        self.compare_model(True)
        self.compare_model(False, backward=lambda loss, parameters: torch.autograd.grad(loss, parameters))

    def test_so_it_has_when_it_is_compiled(self):
        torch._dynamo.reset()
        self.compare_model(None, lambda model: torch.compile(model, backend="eager"))
        torch._dynamo.reset()
        self.compare_model(None, lambda model: torch.compile(model, backend="aot_eager"))

    def test_a_checkpoint_that_is_computed_again_outside_is_an_error_and_not_a_wrong_gradient(self):
        x = draw(1, 12, 16).float()[:, share(12)].clone().requires_grad_()
        with gyre.torch.sharded_attention(**OPTIONS):
            loss = Block(False)(x).sum()
        with self.assertRaises(torch.utils.checkpoint.CheckpointError):
            loss.backward()

    def test_outside_attention_is_as_ever(self):
        q = draw(1, 2, 5, 8).float()
        before = torch.nn.functional.scaled_dot_product_attention(q, q, q)
        with gyre.torch.sharded_attention(**OPTIONS):
            pass
        self.assertTrue(torch.equal(torch.nn.functional.scaled_dot_product_attention(q, q, q), before))

    def test_what_it_cannot_do_is_refused(self):
        q = draw(1, 2, 5, 8).float()
        with gyre.torch.sharded_attention(**OPTIONS):
            self.refused(lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=torch.ones(5, 5)), "attn_mask", "name the mask")
            self.refused(lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q, dropout_p=0.1), "dropout_p is 0.1", "seed")
            self.refused(lambda: torch.nn.functional.scaled_dot_product_attention(q, q[:, :1], q[:, :1]), "enable_gqa")
            self.refused(lambda: from_elsewhere(q, q, q), "was imported before it was sharded")
        self.refused(lambda: gyre.torch.sharded_attention(seed=1, **OPTIONS), "seed is of one layer's call")


if __name__ == "__main__":
    unittest.main(verbosity=2 if WORLD.rank == 0 else 0)
