/*
 * Gyre from C, and from whatever can call C: attention over a sequence that is sharded over the ranks of a communicator.
 *
 *   gyre_communicator* ranks;
 *   gyre_communicator_mpi(MPI_Comm_c2f(MPI_COMM_WORLD), &ranks);        or gyre_communicator_self(&ranks): one rank, no MPI
 *   gyre_problem problem;
 *   gyre_problem_init(&problem, sizeof problem);                        and fill in what is not a default
 *   gyre_attention* attention;
 *   gyre_attention_create(ranks, &problem, NULL, &attention);           collective; allocates
 *   const gyre_range* rows = gyre_attention_query_rows(attention, &n);  which rows are this rank's
 *   gyre_forward(attention, &operands, NULL);                           collective; allocates nothing
 *
 * Nothing of MPI is needed to compile this header. C99, C++.
 *
 * Status. Functions return GYRE_OK or what went wrong, and gyre_last_error() says it in one sentence that names value, limit and
 * remedy. What is wrong on one rank fails on all of them, with the same message, in functions that are called collective; the one
 * exception is a null handle or a null result, of which this rank alone is told. Where a rank is lost in the middle of a call, the
 * job is ended (MPI_Abort).
 *
 * Structs begin with their size in bytes, as the caller was compiled: gyre_..._init(&s, sizeof s), or { sizeof s } for those that
 * have no such function. Fields are only ever added at the end, and mean zero where a caller does not know them. So a library
 * understands every older caller, and a newer one that leaves new fields zero; else the call is GYRE_INVALID_ARGUMENT.
 *
 * Memory. Tensors and strings are borrowed for the call. Handles are the caller's, to be freed; the order does not matter.
 *
 * Threads. A communicator and what was made of it belong to one thread at a time. gyre_last_error() is of the calling thread.
 */
#ifndef GYRE_H
#define GYRE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum gyre_status {
  GYRE_OK = 0,
  GYRE_INVALID_ARGUMENT = 1,
  GYRE_DISAGREEMENT = 2,  /* ranks were given different inputs */
  GYRE_LOST_PEER = 3,     /* a rank is gone */
  GYRE_STALL = 4,         /* a rank gave no sign of life for longer than the deadline */
  GYRE_OUT_OF_MEMORY = 5, /* of this rank alone; where a share does not fit, all are told: GYRE_INVALID_ARGUMENT */
  GYRE_FAILURE = 6        /* anything else */
} gyre_status;

/* Element types of tensors, and of what travels between ranks. Sums and partial results are float32 whatever the type. */
typedef enum gyre_dtype { GYRE_F32 = 0, GYRE_BF16 = 1, GYRE_F16 = 2 } gyre_dtype;

/* "0.1.0": the library's. Ranks must have the same. */
const char* gyre_version(void);

/* What went wrong in this thread's last call that did not return GYRE_OK; "" if none did. Valid until the next such call. */
const char* gyre_last_error(void);

/* -- ranks ------------------------------------------------------------------------------------------------------------------------
 */

typedef struct gyre_communicator gyre_communicator;

/* The ranks of an MPI communicator, by its Fortran handle (MPI_Comm_c2f). It is duplicated: messages never meet the caller's.
   Collective over it. MPI must stand from here until what was made is freed. */
gyre_status gyre_communicator_mpi(int32_t fortran_handle, gyre_communicator** result);
/* This process alone; no MPI. */
gyre_status gyre_communicator_self(gyre_communicator** result);
int32_t gyre_communicator_rank(const gyre_communicator* ranks);
int32_t gyre_communicator_ranks(const gyre_communicator* ranks);
/* Collective: every rank frees it. Attentions that were made of it live on. Null is fine. */
void gyre_communicator_free(gyre_communicator* ranks);

/* -- what is computed -------------------------------------------------------------------------------------------------------------
 */

/* Of all ranks together, and the same on all of them. Query head h reads key/value head h / (query_heads / key_heads). */
typedef struct gyre_problem {
  size_t size;
  int64_t query_tokens; /* 0 to 2^31 */
  int64_t key_tokens;
  int32_t query_heads;   /* default 1 */
  int32_t key_heads;     /* default 1; a divisor of query_heads */
  int32_t head_dim;      /* default 64 */
  int32_t value_dim;     /* default 64 */
  int64_t query_offset;  /* position of query 0 on the key axis; default GYRE_ENDS_MEET: the last query meets the last key */
  double scale;          /* of scores before the softmax; default 0: 1 / sqrt(head_dim) */
  double softcap;        /* scores become softcap tanh(score / softcap); default 0: no cap */
  const char* mask;      /* default "full"; "causal & documents(60000,40003)", "window(4096) | sinks(4)": as gyre run --mask */
  gyre_dtype dtype;      /* what ranks hold packed and send; default GYRE_F32 */
  int32_t reserved;      /* zero */
  int32_t alibi;         /* default 0; 1: scores with their cap lose slope * distance, a slope of each query head's own (ALiBi) */
  int32_t sinks;         /* default 0; 1: a learned logit of each query head joins its softmax, with a value of 0: sinks of calls */
  double dropout;        /* default 0: none; to 0.999: weights are left out with this probability, the others divided by 1 - it */
  uint64_t dropout_seed; /* which ones: the same pairs on any number of ranks, forward and backward; zero where dropout is */
  /* Rotary positions: queries and keys come unrotated, and pairs of their channels are rotated by where they stand. */
  double rope_base;      /* default 0: none; 10000, ...: above 1 */
  int32_t rope_layout;   /* default GYRE_ROPE_HALF; zero where rope_base is, and so are the fields below */
  int32_t rope_dims;     /* the first so many channels are rotated, an even number; default 0: all */
  int32_t rope_scaling;  /* default GYRE_ROPE_UNSCALED */
  int32_t reserved2;     /* zero */
  double rope_scale;     /* 1 or more; zero where nothing is scaled */
  int64_t rope_original; /* of GYRE_ROPE_YARN: tokens that the model was trained for; zero otherwise */
  /* Dual chunk attention: rotary positions never farther apart than a chunk; the mask is causal, too. With rope_base. */
  int64_t dual_chunk;          /* default 0: none; tokens: three quarters of the length that the model was trained for */
  int64_t dual_chunk_local;    /* local window, less than that: an eighth, or (Qwen) a sixteenth of that length */
  int64_t dual_chunk_original; /* default 0; the length from which on scores grow with the keys (Qwen) */
  /* Of mask, the pairs that query heads chose; default null: all of them. It must have been chosen from a mask of the same text.
     Read by gyre_attention_create, which keeps what it needs. */
  const struct gyre_mask* chosen;
} gyre_problem;

/* Which channels are a pair: k and k + dims / 2 (Llama as Hugging Face has it), or 2k and 2k + 1. */
typedef enum gyre_rope_layout { GYRE_ROPE_HALF = 0, GYRE_ROPE_INTERLEAVED = 1 } gyre_rope_layout;
/* Frequencies divided by the scale; the base times scale^(dims / (dims - 2)); YaRN, its temperature included. */
typedef enum gyre_rope_scaling {
  GYRE_ROPE_UNSCALED = 0,
  GYRE_ROPE_LINEAR = 1,
  GYRE_ROPE_NTK = 2,
  GYRE_ROPE_YARN = 3
} gyre_rope_scaling;

#define GYRE_ENDS_MEET INT64_MIN

/* Tokens [begin, end) of the sequence. */
typedef struct gyre_range {
  int64_t begin;
  int64_t end;
} gyre_range;

/* Tokens that one rank holds. */
typedef struct gyre_chunk {
  int64_t begin;
  int64_t end;
  int32_t rank;
  int32_t reserved; /* zero */
} gyre_chunk;

/* How it is done; the same on every rank, but for threads. No choice changes a result but by rounding. A null string is the
   default. */
typedef struct gyre_options {
  size_t size;
  const char* strategy;           /* default "auto"; "ring", "double_ring", "ulysses", "hybrid(4)", ... as gyre run --strategy */
  const char* partition;          /* who holds which rows: default "auto"; "contiguous", "zigzag", "striped", "balanced", ... */
  const gyre_chunk* query_chunks; /* instead, a layout of the caller's own: in any order, every token once. Default null */
  size_t query_chunk_count;
  const gyre_chunk* key_chunks; /* default null: like the queries where there are as many, else contiguous */
  size_t key_chunk_count;
  const char* backward;    /* default "none": gyre_backward is refused; "auto", "keys" or "queries": what travels for gradients */
  int32_t threads;         /* of this rank; default 1; 0: its share of the cores that it is bound to */
  int32_t prefetch;        /* stages whose keys may be arriving while one is computed: default 1, to 4 */
  int64_t unit_tokens;     /* default 0: a rule; it fixes the bits of the result */
  double deadline_seconds; /* without a sign of life from a rank that is waited for; default 600; 0: none */
  const char* isa;         /* default "": the best; "avx512bf16", "avx512", "avx2", "portable" */
  const char* sharing;     /* default "auto"; "off": ranks of a node send to each other what they could read in place */
  const char* machine;     /* a file of gyre calibrate, by which "auto" chooses; default "": an assumed machine */
  int32_t integrity;       /* default 0; 1: checksums behind what travels */
  int32_t reserved;        /* zero */
} gyre_options;

/* Defaults into the first `size` bytes. GYRE_INVALID_ARGUMENT if there was never a struct so small. Local. */
gyre_status gyre_problem_init(gyre_problem* problem, size_t size);
gyre_status gyre_options_init(gyre_options* options, size_t size);

/* -- attention --------------------------------------------------------------------------------------------------------------------
 */

typedef struct gyre_attention gyre_attention;

/* Lays out, plans and allocates; to be called for every layer and step of the same shape. options may be null: defaults.
   Collective. */
gyre_status gyre_attention_create(gyre_communicator* ranks, const gyre_problem* problem, const gyre_options* options,
                                  gyre_attention** result);
/* Collective. Null is fine. */
void gyre_attention_free(gyre_attention* attention);

/* The token ranges that this rank holds, ascending, *count of them; the attention's own. Its operands have exactly these rows, in
   this order. Null if there are none. Local. */
const gyre_range* gyre_attention_query_rows(const gyre_attention* attention, size_t* count);
const gyre_range* gyre_attention_key_rows(const gyre_attention* attention, size_t* count);

/* What was chosen; strings are the attention's own. */
typedef struct gyre_description {
  size_t size;
  int64_t query_tokens; /* of this rank: the sum of its query rows */
  int64_t key_tokens;
  const char* strategy;
  const char* why; /* it was chosen; "" where it was given */
  const char* isa;
  int64_t arena_bytes; /* of this rank: cells, packed queries, partial results */
} gyre_description;

/* Local. */
gyre_status gyre_attention_describe(const gyre_attention* attention, gyre_description* description);

/* [tokens, heads, dim], dim contiguous. It may be of any type, whatever the problem's is. */
typedef struct gyre_tensor {
  void* data; /* 0 tokens may have null */
  gyre_dtype dtype;
  int32_t heads;
  int32_t dim;
  int32_t reserved; /* zero */
  int64_t tokens;
  int64_t token_stride; /* elements; 0: heads * dim */
  int64_t head_stride;  /* elements; 0: dim */
} gyre_tensor;

typedef struct gyre_operands {
  size_t size;
  gyre_tensor queries; /* [this rank's query tokens, query_heads, head_dim]; read */
  gyre_tensor keys;    /* [this rank's key tokens, key_heads, head_dim]; read */
  gyre_tensor values;  /* [this rank's key tokens, key_heads, value_dim]; read */
  gyre_tensor out;     /* [this rank's query tokens, query_heads, value_dim]; written */
  float* lse;          /* [this rank's query tokens, query_heads]; written, natural logarithm; or null */
  const float* sinks;  /* [query_heads], the same on every rank; read where gyre_problem.sinks is 1, null otherwise */
} gyre_operands;

typedef struct gyre_gradient_operands {
  size_t size;
  gyre_tensor queries, keys, values;                /* as gyre_forward had them */
  gyre_tensor out;                                  /* as gyre_forward wrote it */
  const float* lse;                                 /* likewise */
  gyre_tensor grad_out;                             /* of the shape of out; read */
  gyre_tensor grad_queries, grad_keys, grad_values; /* of the shapes of queries, keys, values; written */
  const float* sinks;                               /* as gyre_forward had them */
  float* grad_sinks; /* [query_heads], of the rows of all ranks, the same on every rank; written; null without sinks */
} gyre_gradient_operands;

/* Where the seconds of a call went, on this rank. */
typedef struct gyre_call_time {
  size_t size;
  double total_seconds;
  double computing_seconds;     /* scores, weights, sums */
  double packing_seconds;       /* to and from the form in which rows are computed and sent */
  double communicating_seconds; /* in the transport while there was something to compute */
  double waiting_seconds;       /* for transfers, with nothing to compute */
  double integrity_seconds;     /* comparing checksums of what arrived */
} gyre_call_time;

/* out = softmax(scale Q K^T, where the mask lets a pair see) V. A row that sees no key: out 0, lse minus infinity. Sinks are in the
   lse, and such a row's is its sink's; dropout changes out alone. Inputs must be finite. time may be null. Collective; returns when
   this rank's rows are written. */
gyre_status gyre_forward(gyre_attention* attention, const gyre_operands* operands, gyre_call_time* time);

/* Gradients of a forward call's inputs, from the gradient of its output. Only where options.backward is not "none". Collective. */
gyre_status gyre_backward(gyre_attention* attention, const gyre_gradient_operands* operands, gyre_call_time* time);

/* -- chosen pairs -----------------------------------------------------------------------------------------------------------------
 */

/* Pairs of queries and keys that query heads chose, of all ranks together. */
typedef struct gyre_mask gyre_mask;

/* What each query head keeps of the attention's mask, by queries and keys: the same pairs on every rank, on any number of them.
   sparse: "vertical_slash(1000,6096)", "a_shape(128,4096)", "block_topk(100)", "xattention(16,0.9)", "moba(512,8)", "dense", or a
   file with one of these for each head, as gyre run --sparse. All but a_shape and dense want self-attention under the mask
   "causal", without softcap, ALiBi and sinks; of dual chunk attention only vertical_slash chooses. queries, keys: as in a
   gyre_forward of this attention. For an attention with the same problem, the result in its field `chosen`: its rows may be dealt
   otherwise, unless gyre_options says how. Collective. */
gyre_status gyre_estimate_mask(gyre_attention* attention, const gyre_tensor* queries, const gyre_tensor* keys, const char* sparse,
                               gyre_mask** result);
/* Whether the head sees the key; 0 for a null mask. Positions on the key axis. Local. */
int gyre_mask_visible(const gyre_mask* mask, int64_t query, int64_t key, int32_t head);
/* Pairs that are visible, summed over query heads; 0 for a null mask. Local. */
double gyre_mask_pairs(const gyre_mask* mask);
/* Local. Null is fine. */
void gyre_mask_free(gyre_mask* mask);

#ifdef __cplusplus
}
#endif

#endif
