"""Gyre for PyTorch: attention over a sequence that is sharded over ranks, with gradients.

    out = gyre.torch.ring_attention(q, k, v, comm=MPI.COMM_WORLD, causal=True)      # [batch, heads, tokens of this rank, dim]

    with gyre.torch.sharded_attention(MPI.COMM_WORLD):                              # or: a model as it is
        loss = model(tokens_of_this_rank).mean()
        loss.backward()

Every rank makes the same calls in the same order. Tensors lie in main memory, in float32, bfloat16 or float16.
"""

import weakref

import torch
from torch.overrides import TorchFunctionMode

from ._gyre import Attention, Communicator

__all__ = ["ring_attention", "sharded_attention"]

_DTYPES = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}


class _Ranks:
    """A communicator, and the attentions that were made on it: one for each shape and way of doing it."""

    def __init__(self, comm):
        self.communicator = Communicator(comm)
        self.attentions = {}

    def attention(self, tokens, arguments, partition, threads):
        """tokens: of this rank's queries and keys. Collective. Ranks compare what they want before each call: a rank that made a new
        attention while the others use an old one would wait for them, and they for it."""
        if self.communicator.ranks > 1:
            self.communicator.agree([(name.replace("_", " "), repr(value)) for name, value in (*arguments.items(), ("partition", partition))])
        shares = self.communicator.all_gather(tokens[0] << 32 | tokens[1])
        workers = self.communicator.all_gather(threads or 0)  # may differ; where one rank's change, all make a new attention
        dropout = arguments["dropout"]
        key = (*shares, *workers, repr({**arguments, "dropout": dropout and dropout[0]}), repr(partition))
        if key not in self.attentions or self.attentions[key][0] != dropout:  # one seed at a time: another comes with every step
            queries, keys = [share >> 32 for share in shares], [share & 0xFFFFFFFF for share in shares]
            layout = {"partition": partition}
            if partition is None:
                layout = {"partition": _in_rank_order(queries), "key_partition": _in_rank_order(keys)}
            axes = {"query_tokens": sum(queries), "key_tokens": sum(keys)}
            self.attentions[key] = dropout, Attention(self.communicator, **axes, threads=threads, **arguments, **layout)
        return self.attentions[key][1]


def _in_rank_order(shares):
    ends = [sum(shares[: rank + 1]) for rank in range(len(shares))]
    return [(end - share, end, rank) for rank, (share, end) in enumerate(zip(shares, ends)) if share > 0]


_ranks = {}  # of communicators that are in use, so that calls need no handle of ours


def _ranks_of(comm):
    key = comm if comm is None or isinstance(comm, int) else id(comm)
    if key not in _ranks:
        _ranks[key] = _Ranks(comm)
        if key is not None and key is not comm:
            weakref.finalize(comm, _ranks.pop, key, None)  # before another object gets its address
    return _ranks[key]


def _rows(tensor):
    """[batch, heads, tokens, dim] as [tokens, batch * heads, dim], where it lies if its strides allow: query head h of a sequence reads
    key head h // group, and so does head batch * heads + h of all sequences side by side."""
    batch, heads, tokens, dim = tensor.shape
    rows = tensor.detach().reshape(batch * heads, tokens, dim).transpose(0, 1)
    overlapping = any(rows.shape[axis] > 1 and rows.stride(axis) < dim for axis in (0, 1))
    return rows.contiguous() if overlapping or rows.stride(2) != 1 else rows


class _RingAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, sinks, attention):
        batch, heads, tokens, _ = q.shape
        out = torch.empty((batch, heads, tokens, v.shape[3]), dtype=q.dtype)
        lse = torch.empty((tokens, batch * heads), dtype=torch.float32)
        attention.forward(_rows(q), _rows(k), _rows(v), out=_rows(out), lse=lse, sinks=None if sinks is None else sinks.detach())
        ctx.save_for_backward(q, k, v, out, lse, sinks)
        ctx.attention = attention
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_out):
        q, k, v, out, lse, sinks = ctx.saved_tensors
        dq, dk, dv = (torch.empty(tensor.shape, dtype=tensor.dtype) for tensor in (q, k, v))
        rows = (_rows(tensor) for tensor in (grad_out, q, k, v, out))
        written = {"dq": _rows(dq), "dk": _rows(dk), "dv": _rows(dv)}
        if sinks is None:
            ctx.attention.backward(*rows, lse, **written)
            return dq, dk, dv, None, None
        dsinks = torch.empty(sinks.shape, dtype=sinks.dtype)
        ctx.attention.backward(*rows, lse, **written, sinks=sinks.detach(), dsinks=dsinks)
        return dq, dk, dv, dsinks / ctx.attention.communicator.ranks, None


def _require(q, k, v):
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if not isinstance(tensor, torch.Tensor) or tensor.dim() != 4:
            given = list(tensor.shape) if isinstance(tensor, torch.Tensor) else type(tensor).__name__
            raise ValueError(f"{name} is {given}; give a tensor [batch, heads, tokens of this rank, dim]")
        if tensor.device.type != "cpu":
            raise ValueError(f"{name} lies on {tensor.device}; move it to the CPU")
        if tensor.dtype not in _DTYPES or tensor.dtype != q.dtype:
            raise ValueError(f"{name} is {tensor.dtype}; give q, k and v in one of float32, bfloat16 and float16")
    if not (q.shape[0] == k.shape[0] == v.shape[0] and k.shape[1:3] == v.shape[1:3] and q.shape[3] == k.shape[3]):
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in (("q", q), ("k", k), ("v", v)))
        raise ValueError(f"shapes do not fit together: {shapes}; give q [batch, heads, tokens, dim], k [batch, key heads, key tokens, dim], "
                         "v [batch, key heads, key tokens, value dim]")  # fmt: skip


def _require_scores(heads, sinks, dropout_p, seed):
    if sinks is not None and not (isinstance(sinks, torch.Tensor) and sinks.shape == (heads,) and sinks.is_floating_point()):
        given = f"{list(sinks.shape)}, {sinks.dtype}" if isinstance(sinks, torch.Tensor) else type(sinks).__name__
        raise ValueError(f"sinks is {given}; give a tensor [{heads}] of floating point numbers: one for each query head, or None")
    if dropout_p != 0 and seed is None:
        raise ValueError(f"dropout_p is {dropout_p} and seed None; give a whole number, the same on every rank and another in every call")
    if dropout_p == 0 and seed is not None:
        raise ValueError(f"seed is {seed} and dropout_p 0; give a probability, or no seed")
    if dropout_p != 0 and not (isinstance(seed, int) and 0 <= seed < 2**64):
        raise ValueError(f"seed is {seed!r}; give a whole number from 0 to 2**64 - 1")


@torch.compiler.disable
def ring_attention(q, k, v, *, comm=None, causal=False, mask=None, scale=None, softcap=None, query_offset=None, partition=None,
                   strategy="auto", threads=None, deadline_seconds=600.0, alibi=False, sinks=None, dropout_p=0.0, seed=None,
                   rope=None, yarn=None, rope_linear=None, rope_ntk=None, dual_chunk=None):  # fmt: skip
    """Attention of this rank's queries over the keys of all ranks, differentiable. Collective; so is its backward.

    q  [batch, query heads, query tokens of this rank, head dim]; result of its shape, with v's dim, in its dtype
    k  [batch, key heads, key tokens of this rank, head dim]; key heads divide the query heads (grouped queries)
    v  [batch, key heads, key tokens of this rank, value dim]

    comm: an mpi4py communicator (None: this process alone). causal, mask: 'window(4096)', ... as gyre.Attention; together, both hold.
    partition: None: the sequence is the ranks' rows one after the other, in rank order, however many each has; else a name or chunks as
    for gyre.Attention, whose query_rows these rows then have to be.

    alibi: scores lose slope * distance (one call for each sequence of the batch). sinks: [query heads], a learned logit of each head that
    joins its softmax, the same on every rank; each rank's gradient is an equal share of the whole one: add them up over ranks, as those of
    other parameters that all ranks have. dropout_p: weights are left out with this probability, by seed the same ones on any number of
    ranks; each seed makes a new attention, and a layer with its own needs one in every step.

    rope, yarn, rope_linear, rope_ntk, dual_chunk: q and k come unrotated, and rotary positions rotate them by where they stand in the whole sequence, as
    gyre.Attention has it; gradients are of q and k as they came.

    Heads that lie as [batch, tokens, heads, dim] are copied if there is
    more than one sequence. Under torch.inference_mode() no gradients are prepared. The first call of a shape plans and allocates."""
    _require(q, k, v)
    batch, heads, _, head_dim = q.shape
    _require_scores(heads, sinks, dropout_p, seed)
    if alibi and batch > 1:  # whose heads side by side would have the slopes of as many heads
        options = dict(comm=comm, causal=causal, mask=mask, scale=scale, softcap=softcap, query_offset=query_offset, partition=partition,
                       strategy=strategy, threads=threads, deadline_seconds=deadline_seconds, alibi=True, sinks=sinks, dropout_p=dropout_p,
                       rope=rope, yarn=yarn, rope_linear=rope_linear, rope_ntk=rope_ntk, dual_chunk=dual_chunk)  # fmt: skip
        seeds = [seed if seed is None else (seed + at * 0x9E3779B97F4A7C15) % 2**64 for at in range(batch)]
        sequences = zip(q.split(1), k.split(1), v.split(1), seeds)
        return torch.cat([ring_attention(*tensors, **options, seed=own) for *tensors, own in sequences])
    mask = " & ".join(part for part in ("causal" if causal else "", f"({mask})" if mask else "") if part) or "full"
    arguments = {
        "query_heads": batch * heads, "key_heads": batch * k.shape[1], "head_dim": head_dim, "value_dim": v.shape[3], "mask": mask,
        "scale": scale, "softcap": softcap, "query_offset": query_offset, "dtype": _DTYPES[q.dtype], "strategy": strategy,
        "backward": not torch.is_inference_mode_enabled(), "deadline_seconds": deadline_seconds,
        "alibi": alibi, "sinks": sinks is not None, "dropout": (float(dropout_p), seed) if dropout_p != 0 else None,
        "rope": rope, "yarn": yarn, "rope_linear": rope_linear, "rope_ntk": rope_ntk, "dual_chunk": dual_chunk,
    }  # fmt: skip
    ranks = _ranks_of(comm)
    attention = ranks.attention((q.shape[2], k.shape[2]), arguments, partition, threads)
    logits = None if sinks is None else sinks.float().repeat(batch)
    return _RingAttention.apply(q, k, v, logits, attention)


_of_one_process = torch.nn.functional.scaled_dot_product_attention


class sharded_attention(TorchFunctionMode):  # noqa: N801: a context manager, as torch.no_grad is
    """Inside, torch.nn.functional.scaled_dot_product_attention is of a sequence sharded over the ranks of `comm`, wherever a model calls
    it. Options are those of ring_attention; a mask there holds beside is_causal.

    Keep backward() inside too: activation checkpoints compute forward again there. The name is replaced, for all threads, so that they and
    compiled models meet the same function; a model that took it before (from torch.nn.functional import ...) is refused, because a
    function mode, which sees it, is off in backward. Tensors as masks, and dropout, are refused: what they say of this rank's rows is not enough.
    So are sinks, dropout_p and seed as options: they are of one layer's call, and all calls would have the same."""

    def __init__(self, comm=None, **options):
        super().__init__()
        for name in {"sinks", "dropout_p", "seed"} & options.keys():
            raise ValueError(f"{name} is of one layer's call, and all of the model's would have the same; call ring_attention with it")
        self.sharded, self.before = _sharded(comm, options), []

    def __enter__(self):
        self.before.append(torch.nn.functional.scaled_dot_product_attention)
        torch.nn.functional.scaled_dot_product_attention = self.sharded
        return super().__enter__()

    def __exit__(self, *exception):
        torch.nn.functional.scaled_dot_product_attention = self.before.pop()
        return super().__exit__(*exception)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is _of_one_process:
            raise ValueError("scaled_dot_product_attention was imported before it was sharded; call torch.nn.functional.scaled_dot_product_attention")
        return func(*args, **(kwargs or {}))


def _sharded(comm, options):
    @torch.compiler.disable
    def scaled_dot_product_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
        """PyTorch's, of a sharded sequence: query 0 meets key 0 where it is causal."""
        if attn_mask is not None:
            raise ValueError("attn_mask is a tensor of this rank's part alone; name the mask: sharded_attention(comm, mask='window(4096)')")
        if dropout_p != 0:
            raise ValueError(f"dropout_p is {dropout_p}; sharded attention has no dropout: set it to 0 (model.eval(), or the model's option), "
                             "or call ring_attention with dropout_p and a seed")  # fmt: skip
        if not enable_gqa and query.dim() >= 3 and query.shape[-3] != key.shape[-3]:
            raise ValueError(f"{query.shape[-3]} query heads and {key.shape[-3]} key heads; give enable_gqa=True if heads are to share keys")
        given = {"query_offset": 0} if is_causal else {}
        alone = query.dim() == 3
        tensors = [tensor.unsqueeze(0) if alone else tensor for tensor in (query, key, value)]
        out = ring_attention(*tensors, comm=comm, causal=is_causal, scale=scale, **{**given, **options})
        return out.squeeze(0) if alone else out

    return scaled_dot_product_attention
