// What help(gyre.NativeSparseAttention) says, and the signatures of its stubs.
#pragma once

namespace gyre::python {

inline constexpr const char* kNativeAttention =
    "Native sparse attention (2502.11089) over a sequence that is sharded over the ranks of a communicator: causal, three "
    "softmaxes\n"
    "over compressed keys, selected blocks and a window, added up by gates. Made once for a shape (collective), called for every\n"
    "layer and step.\n"
    "\n"
    "comm            as gyre.Attention has it; so are scale, dtype, partition, strategy, backward, threads, isa, unit, "
    "deadline_seconds\n"
    "tokens          of all ranks together\n"
    "query_heads     key_heads (default: as many) divides them; the query heads of a key head select the same blocks\n"
    "head_dim        value_dim by default the same\n"
    "block, stride   tokens that are compressed to one key and value, and from one such block to the next\n"
    "select_block    tokens of a block that is selected; block and select_block are multiples of stride\n"
    "select_blocks   that a query selects, the first_blocks of the sequence and the local_blocks up to its own among them\n"
    "window          keys, the query's own among them\n"
    "compression     'mean' of a block's rows, or 'given': compressed_k and compressed_v of calls, by a network of the model's "
    "own\n"
    "rope, yarn, rope_linear, rope_ntk   as gyre.Attention has them: q and k are rotated before anything is compressed (what is\n"
    "                given is not)\n"
    "\n"
    "Errors as gyre.Attention's. Every rank holds a table of a bit for each query head (one for all where they share a key head),\n"
    "token and block: up to 2**34 bits.";

inline constexpr const char* kNativeSignature =
    "def __init__(self, comm: typing.Any = None, *, tokens: int, query_heads: int = 1, key_heads: int | None = None, "
    "head_dim: int = 64, value_dim: int | None = None, block: int = 32, stride: int = 16, select_block: int = 64, "
    "select_blocks: int = 16, first_blocks: int = 1, local_blocks: int = 2, window: int = 512, compression: str = 'mean', "
    "scale: float | None = None, dtype: str = 'f32', "
    "partition: str | collections.abc.Sequence[tuple[int, int, int]] = 'auto', strategy: str = 'auto', "
    "backward: bool | str = False, threads: int | None = None, isa: str = '', unit: int = 0, deadline_seconds: float = 600.0, "
    "rope: float | tuple[float, str] | tuple[float, str, int] | None = None, yarn: tuple[float, int] | None = None, "
    "rope_linear: float | None = None, rope_ntk: float | None = None) -> None";

inline constexpr const char* kNativeForwardSignature =
    "def forward(self, q: typing.Any, k: typing.Any, v: typing.Any, gates: typing.Any, out: typing.Any = None, "
    "compressed_k: typing.Any = None, compressed_v: typing.Any = None) -> tuple[typing.Any, NativeSparseState]";
inline constexpr const char* kNativeForward =
    "(out, state) of this rank's rows; state is for backward. Collective; other Python threads run meanwhile.\n"
    "\n"
    "q      [tokens of this rank, query heads, head dim], float32, bfloat16 or float16, finite; read where it lies\n"
    "k      [tokens of this rank, key heads, head dim]\n"
    "v      [tokens of this rank, key heads, value dim]\n"
    "gates  [tokens of this rank, query heads, 3]: what the outputs over compressed keys, selected blocks and the window are "
    "multiplied\n"
    "       with; sigmoids are the caller's\n"
    "out    [tokens of this rank, query heads, value dim]; written in place if given, else a new array of q's kind and dtype\n"
    "compressed_k, compressed_v  [compressed tokens of this rank, key heads, dim], if and only if compression is 'given'\n"
    "\n"
    "Blocks are selected by the weights of compressed keys, summed over a key head's query heads, the same ones to the bit on any\n"
    "number of ranks. A query that sees no compressed key yet gets 0 from them.";

inline constexpr const char* kNativeBackwardSignature =
    "def backward(self, grad_out: typing.Any, q: typing.Any, k: typing.Any, v: typing.Any, gates: typing.Any, "
    "state: NativeSparseState, dq: typing.Any = None, dk: typing.Any = None, dv: typing.Any = None, dgates: typing.Any = None, "
    "compressed_k: typing.Any = None, compressed_v: typing.Any = None) -> tuple[typing.Any, ...]";
inline constexpr const char* kNativeBackward =
    "(dq, dk, dv, dgates): gradients of the sum of grad_out * out over all ranks by this rank's inputs, the selection fixed; with\n"
    "compression 'given' (dq, dk, dv, dgates, compressed_dk, compressed_dv). Collective.\n"
    "\n"
    "grad_out  of the shape of out\n"
    "state     of the forward call with the same q, k, v, gates, compressed_k and compressed_v\n"
    "dq, ...   of the shapes of q, ...; written in place if given, else new arrays of their kinds and dtypes";

}  // namespace gyre::python
