"""Writes and reads .npy and .safetensors files with the standard library alone."""

import array
import json
import math
import struct

CODES = {"<f2": "e", "<f4": "f", "<f8": "d", "<i8": "q", "<u2": "H", "|u1": "B", "|b1": "?"}
SAFE_CODES = {"F16": "e", "F32": "f", "F64": "d", "U8": "B"}


def save(path, shape, values, descr="<f4", fortran_order=False):
    text = f"{{'descr': '{descr}', 'fortran_order': {fortran_order}, 'shape': {tuple(shape)}, }}"
    text += " " * (-(11 + len(text)) % 64) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode())
        file.write(struct.pack(f"<{len(values)}{CODES.get(descr, 'f')}", *values))


def brain(value):
    """The nearest bfloat16, ties to even, as its 16 bits."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


def pack(values, dtype):
    if dtype == "BF16":
        return struct.pack(f"<{len(values)}H", *map(brain, values))
    return struct.pack(f"<{len(values)}{SAFE_CODES[dtype]}", *values)


def unpack(content, dtype):
    if dtype == "BF16":
        return [struct.unpack("<f", struct.pack("<I", bits << 16))[0] for (bits,) in struct.iter_unpack("<H", content)]
    return [value for (value,) in struct.iter_unpack("<" + SAFE_CODES[dtype], content)]


def save_safetensors(path, tensors, **others):
    """tensors: name -> (dtype, shape, values)."""
    header, data = dict(others), b""
    for name, (dtype, shape, values) in tensors.items():
        content = pack(values, dtype)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def load_safetensors(path, name):
    """dtype, shape, values of the only tensor."""
    with open(path, "rb") as file:
        content = file.read()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    assert list(header) == [name] and (8 + length) % 64 == 0, header
    entry, data = header[name], content[8 + length :]
    assert entry["data_offsets"] == [0, len(data)], header
    return entry["dtype"], tuple(entry["shape"]), unpack(data, entry["dtype"])


def load(path):
    with open(path, "rb") as file:
        content = file.read()
    (length,) = struct.unpack("<H", content[8:10])
    header = eval(content[10 : 10 + length])
    assert content[:8] == b"\x93NUMPY\x01\x00" and header["descr"] == "<f4" and not header["fortran_order"], header
    values = array.array("f")
    values.frombytes(content[10 + length :])
    assert len(values) == math.prod(header["shape"]), header
    return header["shape"], values
