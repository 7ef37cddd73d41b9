"""A Llama of random weights with a vocabulary of single bytes, as a GGUF file. Standard library only."""

import array
import random
import struct

WIDTH, HIDDEN, LAYERS, QUERY_HEADS, KEY_HEADS, HEAD_DIM = 16, 24, 2, 4, 2, 8
# Letters as GPT-2's vocabularies spell them: ! to ~, then a space and a newline.
TOKENS = [chr(letter) for letter in range(33, 127)] + ["\u0120", "\u010a"]


def text(value):
    value = value.encode()
    return struct.pack("<Q", len(value)) + value


def metadata():
    """Keys with their types and values."""
    texts = {"general.architecture": "llama", "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm"}
    integers = {"llama.block_count": LAYERS, "llama.context_length": 128, "llama.embedding_length": WIDTH, "llama.feed_forward_length": HIDDEN,
                "llama.attention.head_count": QUERY_HEADS, "llama.attention.head_count_kv": KEY_HEADS, "llama.attention.key_length": HEAD_DIM}  # fmt: skip
    numbers = {"llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.freq_base": 10000.0}
    lists = {"tokenizer.ggml.tokens": TOKENS, "tokenizer.ggml.merges": []}
    yield from (text(key) + struct.pack("<I", 8) + text(value) for key, value in texts.items())
    yield from (text(key) + struct.pack("<II", 4, value) for key, value in integers.items())
    yield from (text(key) + struct.pack("<If", 6, value) for key, value in numbers.items())
    yield from (text(key) + struct.pack("<IIQ", 9, 8, len(values)) + b"".join(map(text, values)) for key, values in lists.items())


def tensors():
    """Names with extents, columns first."""
    queries, keys = QUERY_HEADS * HEAD_DIM, KEY_HEADS * HEAD_DIM
    yield "token_embd.weight", (WIDTH, len(TOKENS))
    for layer in range(LAYERS):
        for name, extents in dict(attn_norm=(WIDTH,), attn_q=(WIDTH, queries), attn_k=(WIDTH, keys), attn_v=(WIDTH, keys), attn_output=(queries, WIDTH),
                                  ffn_norm=(WIDTH,), ffn_gate=(WIDTH, HIDDEN), ffn_up=(WIDTH, HIDDEN), ffn_down=(HIDDEN, WIDTH)).items():  # fmt: skip
            yield f"blk.{layer}.{name}.weight", extents
    yield "output_norm.weight", (WIDTH,)


def padded(data):
    return data + bytes(-len(data) % 32)


def gguf():
    """The bytes of the file, the same ones always."""
    draw = random.Random(2)
    pairs, infos, data = list(metadata()), [], b""
    for name, extents in tensors():
        infos.append(text(name) + struct.pack(f"<I{len(extents)}QIQ", len(extents), *extents, 0, len(data)))
        size = extents[0] * (extents[1] if len(extents) == 2 else 1)
        data += padded(array.array("f", (draw.gauss(0, 0.4) if len(extents) == 2 else 1 for _ in range(size))).tobytes())
    header = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(pairs)) + b"".join(pairs + infos)
    return padded(header) + data
