"""Attention over sequences that no single machine could hold, sharded over the ranks of an MPI communicator.

    attention = gyre.Attention(MPI.COMM_WORLD, query_tokens=100_003, query_heads=8, key_heads=2, head_dim=64, mask="causal")
    out, lse = attention.forward(q, k, v)     # this rank's rows: attention.query_rows, attention.key_rows

gyre.torch has it for PyTorch, with gradients. gyre.NativeSparseAttention is for models that are trained with compressed keys, selected blocks and
a window.
"""

from ._gyre import Attention, CallTime, Communicator, Disagreement, LostPeer, Mask, NativeSparseAttention, NativeSparseState, Stall, __version__

__all__ = ["Attention", "CallTime", "Communicator", "Disagreement", "LostPeer", "Mask", "NativeSparseAttention", "NativeSparseState", "Stall",
           "__version__"]  # fmt: skip
