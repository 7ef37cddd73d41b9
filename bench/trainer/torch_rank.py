"""Trains the model in PyTorch on the ranks of mpirun, its attention replaced by Gyre's: gradients and losses to a file.

    mpirun -n 2 python torch_rank.py --strategy ring --steps 10 --save FILE CHECKPOINT...
"""

import argparse

import gyre
import gyre.torch
import torch
from mpi4py import MPI
from torch_model import Model, read_checkpoint, train


def add_over_ranks(tensor):
    MPI.COMM_WORLD.Allreduce(MPI.IN_PLACE, tensor.numpy(), op=MPI.SUM)


def shared_out(checkpoint, head_dim, steps, strategy):
    """The model calls PyTorch's attention, and knows of ranks no more than which rows are its own."""
    heads = {f"{name}_heads": len(checkpoint[f"layers.0.{name}"]) // head_dim for name in ("query", "key")}
    documents = f"documents({','.join(map(str, checkpoint['documents'].tolist()))})"
    options = {"partition": "auto", "strategy": strategy, "threads": 1}
    attention = gyre.Attention(MPI.COMM_WORLD, query_tokens=len(checkpoint["tokens"]), head_dim=head_dim, **heads,
                               mask=f"causal & ({documents})", query_offset=0, backward=True, **options)  # fmt: skip
    rows = torch.cat([torch.arange(0), *(torch.arange(rows.start, rows.stop) for rows in attention.query_rows)])
    with gyre.torch.sharded_attention(MPI.COMM_WORLD, mask=documents, **options):
        return train(checkpoint, Model(checkpoint, head_dim), rows, steps, add=add_over_ranks)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("--strategy", required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--head-dim", type=int, required=True)
    parser.add_argument("--save", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = [shared_out(read_checkpoint(path), arguments.head_dim, arguments.steps, arguments.strategy) for path in arguments.checkpoints]
    if MPI.COMM_WORLD.rank == 0:
        torch.save(results, arguments.save)


main()
