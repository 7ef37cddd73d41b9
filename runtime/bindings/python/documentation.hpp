// What help(gyre.Attention) says, and the signatures of its stubs.
#pragma once

namespace gyre::python {

inline constexpr const char* kAttention =
    "Exact attention over a sequence that is sharded over the ranks of a communicator. Made once for a shape (collective: every "
    "rank\n"
    "makes it with the same arguments, but for threads), called for every layer and step.\n"
    "\n"
    "comm            mpi4py communicator, Fortran handle of one, gyre.Communicator, or None: this process alone\n"
    "query_tokens    of all ranks together; key_tokens likewise, by default as many\n"
    "query_heads     key_heads (default: as many) divides them: query head h reads key head h // (query_heads // key_heads)\n"
    "head_dim        value_dim by default the same\n"
    "mask            'full', 'causal', 'window(4096) | sinks(4)', 'causal & documents(60,40)': as gyre run --mask; or a gyre.Mask\n"
    "query_offset    position of query 0 on the key axis; default: the last query meets the last key\n"
    "scale           of scores before the softmax; default head_dim ** -0.5\n"
    "softcap         scores become softcap * tanh(score / softcap); default: none\n"
    "alibi           True: scores with their cap lose slope * distance, a slope of each query head's own (ALiBi)\n"
    "sinks           True: a learned logit of each query head joins its softmax, with a value of 0: sinks of forward and "
    "backward\n"
    "dropout         (probability, seed): weights are left out of out, the same pairs on any number of ranks and in backward\n"
    "rope            rotary positions: q and k come unrotated. Their base, 10000.0, or with a layout and dims: (base, 'half'),\n"
    "                (base, 'interleaved', 64): pairs are channels k and k + dims / 2, or 2k and 2k + 1, of the first dims (all)\n"
    "yarn            (scale, original): with rope, stretched by YaRN from that many tokens, its temperature included; or\n"
    "rope_linear, rope_ntk   a scale: with rope, frequencies divided by it, or the base times scale ** (dims / (dims - 2))\n"
    "dual_chunk      (chunk, local): with rope, dual chunk attention; the mask is causal, too. (chunk, local, original): scores "
    "grow\n"
    "                with length from there on, as Qwen's\n"
    "dtype           what ranks hold packed and send: 'f32', 'bf16', 'f16'; sums are float32 throughout\n"
    "partition       who holds which rows: 'auto', 'contiguous', 'zigzag', 'striped', 'balanced', ..., or a layout of your own:\n"
    "                [(begin, end, rank), ...], each token once. key_partition: of keys, where they do not lie as the queries\n"
    "strategy        'auto', 'ring', 'double_ring', 'all_gather', 'ulysses', 'hybrid(4)', ...\n"
    "backward        True: gradients can be asked for; 'keys' or 'queries': what travels for them\n"
    "threads         of this rank; default: its share of the cores that it is bound to\n"
    "deadline_seconds  without a sign of life from a rank that is waited for; 0: none\n"
    "unit, prefetch, isa, sharing, machine, integrity: as the options of gyre run\n"
    "\n"
    "Wrong arguments raise ValueError, on every rank with the same message; different ones on different ranks Disagreement (a\n"
    "ValueError); a rank that is gone LostPeer, or one that gives no sign of life Stall (RuntimeErrors). An exception that a rank "
    "of\n"
    "several does not catch ends the job.";

inline constexpr const char* kAttentionSignature =
    "def __init__(self, comm: typing.Any = None, *, query_tokens: int, key_tokens: int | None = None, query_heads: int = 1, "
    "key_heads: int | None = None, head_dim: int = 64, value_dim: int | None = None, mask: str | Mask = 'full', "
    "query_offset: int | None = None, scale: float | None = None, softcap: float | None = None, dtype: str = 'f32', "
    "partition: str | collections.abc.Sequence[tuple[int, int, int]] = 'auto', "
    "key_partition: collections.abc.Sequence[tuple[int, int, int]] | None = None, strategy: str = 'auto', "
    "backward: bool | str = False, threads: int | None = None, isa: str = '', unit: int = 0, prefetch: int = 1, "
    "deadline_seconds: float = 600.0, sharing: str = 'auto', machine: str = '', integrity: bool = False, "
    "alibi: bool = False, sinks: bool = False, dropout: tuple[float, int] | None = None, "
    "rope: float | tuple[float, str] | tuple[float, str, int] | None = None, yarn: tuple[float, int] | None = None, "
    "rope_linear: float | None = None, rope_ntk: float | None = None, "
    "dual_chunk: tuple[int, int] | tuple[int, int, int] | None = None) -> None";

inline constexpr const char* kMask =
    "Pairs of queries and keys that query heads chose (Attention.estimate_mask), of all ranks together: a mask for gyre.Attention.";

inline constexpr const char* kEstimateSignature = "def estimate_mask(self, q: typing.Any, k: typing.Any, sparse: str) -> Mask";
inline constexpr const char* kEstimate =
    "What each query head keeps of this attention's mask, by queries and keys: the same pairs on every rank, on any number of "
    "them.\n"
    "Collective.\n"
    "\n"
    "    dense = gyre.Attention(comm, query_tokens=n, mask='causal')\n"
    "    mask = dense.estimate_mask(q, k, 'vertical_slash(1000,6096)')\n"
    "    chosen = gyre.Attention(comm, query_tokens=n, mask=mask)    # its rows may be dealt otherwise: give partition to keep "
    "them\n"
    "\n"
    "q, k    as forward has them\n"
    "sparse  'vertical_slash(1000,6096)', 'a_shape(128,4096)', 'block_topk(100)', 'xattention(16,0.9)', 'moba(512,8)', 'dense', or "
    "a\n"
    "        file with one of these for each head, as gyre run --sparse. All but a_shape and dense want self-attention under the "
    "mask\n"
    "        'causal', without softcap, ALiBi and sinks; of dual chunk attention only vertical_slash chooses.\n"
    "\n"
    "No gradient flows through a choice.";

inline constexpr const char* kForwardSignature =
    "def forward(self, q: typing.Any, k: typing.Any, v: typing.Any, out: typing.Any = None, lse: typing.Any = None, "
    "sinks: typing.Any = None) -> tuple[typing.Any, typing.Any]";
inline constexpr const char* kForward =
    "(out, lse) of this rank's rows. Collective; other Python threads run meanwhile.\n"
    "\n"
    "q    [query tokens of this rank, query heads, head dim], float32, bfloat16 or float16, finite; read where it lies\n"
    "k    [key tokens of this rank, key heads, head dim]\n"
    "v    [key tokens of this rank, key heads, value dim]\n"
    "out  [query tokens of this rank, query heads, value dim]; written in place if given, else a new array of q's kind and dtype\n"
    "lse  [query tokens of this rank, query heads], float32: natural logarithm of the softmax's denominator; likewise\n"
    "sinks  [query heads], float32, the same on every rank: logits, if and only if the attention was made with sinks=True\n"
    "\n"
    "Arrays are anything in main memory that has DLPack or a buffer; only the last axis has to be contiguous. A row that sees no "
    "key\n"
    "has out 0 and lse -inf.";

inline constexpr const char* kBackwardSignature =
    "def backward(self, grad_out: typing.Any, q: typing.Any, k: typing.Any, v: typing.Any, out: typing.Any, lse: typing.Any, "
    "dq: typing.Any = None, dk: typing.Any = None, dv: typing.Any = None, sinks: typing.Any = None, dsinks: typing.Any = None) "
    "-> tuple[typing.Any, ...]";
inline constexpr const char* kBackward =
    "(dq, dk, dv): gradients of the sum of grad_out * out over all ranks by this rank's q, k and v; with sinks (dq, dk, dv, "
    "dsinks).\n"
    "Collective.\n"
    "\n"
    "grad_out  of the shape of out\n"
    "q, k, v, out, lse, sinks  as forward had and gave them\n"
    "dq, dk, dv  of the shapes of q, k, v; written in place if given, else new arrays of their kinds and dtypes. Sums are float32, "
    "rounded\n"
    "          once.\n"
    "dsinks  [query heads], float32: from the rows of all ranks, the same on every rank; likewise";

}  // namespace gyre::python
