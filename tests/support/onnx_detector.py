"""A tiny ONNX file in YuNet's form, encoded by hand: a face is where a frame is red.

onnx_by_hand.write_detector(path, size=(64, 64))

Outputs as cv2.FaceDetectorYN reads them, for strides 8, 16 and 32: cls and obj (1, cells, 1), bbox (1, cells, 4), kps
(1, cells, 10). At stride 8 both scores are the mean of the red channel (the third of BGR) over the cell's 8x8 pixels,
and the box is 32 pixels square around the cell's centre; elsewhere scores are 0.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

FLOAT, INT64 = 1, 7


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, value: int | bytes | str) -> bytes:
    """Return a field of a protobuf message: a varint, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def tensor(name: str, values: Any) -> bytes:
    """Return a TensorProto."""
    kind = INT64 if values.dtype == np.int64 else FLOAT
    dims = b"".join(field(1, n) for n in values.shape)
    return dims + field(2, kind) + field(8, name) + field(9, values.tobytes())


def node(kind: str, inputs: list[str], output: str, **ints: list[int]) -> bytes:
    """Return a NodeProto with attributes that are lists of integers."""
    attributes = b"".join(
        field(5, field(1, key) + b"".join(field(8, value) for value in values) + field(20, 7))
        for key, values in ints.items()
    )
    return b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, kind) + attributes


def value_info(name: str, shape: tuple[int, ...]) -> bytes:
    dims = b"".join(field(1, field(1, n)) for n in shape)
    return field(1, name) + field(2, field(1, field(1, FLOAT) + field(2, dims)))


def write_detector(path: Path, size: tuple[int, int]) -> Path:
    """Write the model for frames of (height, width), multiples of 32."""
    height, width = size
    nodes, tensors, outputs = [], [], []
    boxes = [0.5, 0.5, math.log(4), math.log(4)]
    for kind, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for stride in (8, 16, 32):
            name, cells = f"{kind}_{stride}", (height // stride) * (width // stride)
            weights = np.zeros((channels, 3, stride, stride), np.float32)
            bias = np.array(boxes if kind == "bbox" else [0.0] * channels, np.float32)
            if kind in ("cls", "obj") and stride == 8:
                weights[:, 2] = 1 / (64 * 255)
            tensors += [tensor(f"w_{name}", weights), tensor(f"b_{name}", bias)]
            tensors.append(tensor(f"s_{name}", np.array([1, cells, channels], np.int64)))
            step = [stride, stride]
            nodes += [
                node("Conv", ["input", f"w_{name}", f"b_{name}"], f"c_{name}", strides=step, kernel_shape=step),
                node("Transpose", [f"c_{name}"], f"t_{name}", perm=[0, 2, 3, 1]),
                node("Reshape", [f"t_{name}", f"s_{name}"], name),
            ]
            outputs.append(value_info(name, (1, cells, channels)))
    graph = b"".join(field(1, n) for n in nodes) + field(2, "faces") + b"".join(field(5, t) for t in tensors)
    graph += field(11, value_info("input", (1, 3, height, width))) + b"".join(field(12, o) for o in outputs)
    path.write_bytes(field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13)))
    return path
