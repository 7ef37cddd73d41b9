"""The model of gyre_bench_trainer in PyTorch, and what its checkpoints hold. Parameters have the names of the checkpoint (model_shape.hpp)."""

import json
import pathlib
import struct

import torch
from torch.nn import functional

DTYPES = {"F32": torch.float32, "I32": torch.int32, "I64": torch.int64}


def read_checkpoint(path):
    """Tensors of a .safetensors file by name, and its loss as "loss"."""
    data = bytearray(pathlib.Path(path).read_bytes())
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    body, found = memoryview(data)[8 + size :], {"loss": float(header.pop("__metadata__")["loss"])}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        found[name] = torch.frombuffer(body[begin:end], dtype=DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return found


def parameters_of(checkpoint):
    """Parameters by name: everything that has a gradient."""
    return {name: tensor for name, tensor in checkpoint.items() if f"gradient.{name}" in checkpoint}


def rotated(heads, angles):
    """Pairs (k, k + head_dim / 2) turned by their angles. heads [1, heads, tokens, dim], angles [tokens, dim / 2] in float64."""
    cosines, sines = angles.cos().to(heads.dtype), angles.sin().to(heads.dtype)
    first, second = heads.chunk(2, dim=-1)
    return torch.cat([first * cosines - second * sines, first * sines + second * cosines], dim=-1)


class Layer(torch.nn.Module):
    def __init__(self, tensors, head_dim):
        super().__init__()
        self.head_dim = head_dim
        for name, tensor in tensors.items():
            self.register_parameter(name, torch.nn.Parameter(tensor.clone()))

    def heads(self, rows, weight):
        """[tokens, width] to [1, heads, tokens, head_dim]."""
        return functional.linear(rows, weight).unflatten(-1, (-1, self.head_dim)).transpose(0, 1)[None]

    def forward(self, x, angles, mask):
        n = functional.rms_norm(x, x.shape[-1:], self.attention_gain, 1e-5)
        query, key, value = rotated(self.heads(n, self.query), angles), rotated(self.heads(n, self.key), angles), self.heads(n, self.value)
        out = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None, enable_gqa=True)
        x = x + functional.linear(out[0].transpose(0, 1).flatten(-2), self.output)
        m = functional.rms_norm(x, x.shape[-1:], self.feed_gain, 1e-5)
        return x + functional.linear(functional.silu(functional.linear(m, self.gate)) * functional.linear(m, self.up), self.down)


class Model(torch.nn.Module):
    """Of the parameters of a checkpoint, which are copied, in their dtype or another."""

    def __init__(self, checkpoint, head_dim, dtype=torch.float32):
        super().__init__()
        parameters = {name: tensor.to(dtype) for name, tensor in parameters_of(checkpoint).items()}
        layers = 1 + max(int(name.split(".")[1]) for name in parameters if name.startswith("layers."))
        of = lambda layer: {name.split(".")[2]: tensor for name, tensor in parameters.items() if name.startswith(f"layers.{layer}.")}
        self.layers = torch.nn.ModuleList(Layer(of(layer), head_dim) for layer in range(layers))
        for name in ("embedding", "final_gain", "logits"):
            self.register_parameter(name, torch.nn.Parameter(parameters[name].clone()))
        self.frequencies = 10000.0 ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)

    def forward(self, tokens, targets, positions, mask=None):
        """The sum of the losses of these rows. mask: what attention sees, [tokens, tokens]; None: what whoever replaced it says."""
        angles = positions[:, None] * self.frequencies
        x = functional.embedding(tokens, self.embedding)
        for layer in self.layers:
            x = layer(x, angles, mask)
        logits = functional.linear(functional.rms_norm(x, x.shape[-1:], self.final_gain, 1e-5), self.logits)
        return functional.cross_entropy(logits, targets.long(), ignore_index=-1, reduction="sum")


def train(checkpoint, model, rows, steps, mask=None, add=lambda tensor: None):
    """Steps on the checkpoint's sequence, from its parameters: (gradients of the first by name, losses of all).

    rows: positions of this rank. add: makes of a rank's tensor the sum over the ranks, in place."""
    tokens, targets = checkpoint["tokens"], checkpoint["targets"]
    count = (targets != -1).sum().item()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)
    first, losses = None, []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(tokens[rows], targets[rows], rows, mask) / count
        loss.backward()
        whole = loss.detach().double().reshape(1)
        add(whole)
        losses.append(whole.item())
        for parameter in model.parameters():
            add(parameter.grad)
        first = first or {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
        optimizer.step()
    return first, losses


def train_alone(checkpoint, head_dim, steps, dtype=torch.float32):
    """By PyTorch's own attention, of the whole sequence."""
    documents = torch.repeat_interleave(checkpoint["documents"])
    rows = torch.arange(len(documents))
    mask = (documents[:, None] == documents) & (rows[:, None] >= rows)
    return train(checkpoint, Model(checkpoint, head_dim, dtype), rows, steps, mask)
