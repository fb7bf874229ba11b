"""Calls of every function of ops: its name, arguments and keyword arguments, drawn from a fixed seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

Case = tuple[str, tuple[Any, ...], dict[str, Any]]

RNG = np.random.default_rng(0)
V = RNG.normal(size=(2, 3, 4)).astype(np.float32)  # values
W = RNG.normal(size=(2, 3, 4)).astype(np.float32)  # others
ROW = RNG.normal(size=4).astype(np.float32)
UNIT = RNG.uniform(0.05, 0.95, size=(2, 3, 4)).astype(np.float32)  # in (0, 1)
WHOLE = RNG.integers(-5, 6, size=(2, 3, 4)).astype(np.int32)
COUNTS = RNG.integers(1, 6, size=(2, 3, 4)).astype(np.int32)  # whole numbers above 0
LONG = RNG.integers(-9, 9, size=(2, 3, 4))  # int64
TRUTHS = RNG.integers(0, 2, size=(2, 3, 4)).astype(bool)
GAPS = np.where(TRUTHS, np.float32(np.nan), V)
EDGES = np.array([-np.inf, -2.5, -1.5, -0.5, -0.0, 0.0, 0.5, 1.5, 2.5, np.inf, np.nan], np.float32)
SQUARE = RNG.normal(size=(2, 4, 4)).astype(np.float32)
POSITIVE = SQUARE @ SQUARE.swapaxes(-1, -2) + np.eye(4, dtype=np.float32)  # positive definite
MATRIX = RNG.normal(size=(5, 3)).astype(np.float32)
COMPLEX = (RNG.normal(size=(3, 4)) + 1j * RNG.normal(size=(3, 4))).astype(np.complex64)
LINE = RNG.normal(size=(2, 9, 3)).astype(np.float32)  # (B, T, C)
IMAGE = RNG.normal(size=(2, 7, 6, 4)).astype(np.float32)  # (B, H, W, C)
VOLUME = RNG.normal(size=(1, 5, 4, 6, 2)).astype(np.float32)
VECTOR = RNG.normal(size=6).astype(np.float32)


def _draw(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


# The arguments of functions of one tensor, each with all the functions that take them.
UNARY: list[tuple[str, tuple[Any, ...]]] = [
    (
        "absolute abs negative sign square sin cos tan sinh cosh tanh arctan arcsinh exp exp2 expm1 sinc i0 "
        "erf erfc ceil floor fabs trunc deg2rad rad2deg cbrt isfinite isinf isnan isposinf isneginf signbit "
        "isreal relu relu6 sigmoid softplus softsign silu swish selu log_sigmoid hard_sigmoid hard_silu "
        "hard_swish hard_tanh tanh_shrink sparse_plus sparse_sigmoid",
        (V, EDGES, 0.5, [0.25, 1.0], V.astype(np.float64)),
    ),
    (
        "absolute abs sign square sin exp tanh ceil floor fabs trunc round isfinite isnan relu sqrt log1p "
        "logical_not",
        (COUNTS, LONG * LONG, 3),
    ),
    ("square logical_not exp sqrt isnan", (TRUTHS, True)),
    ("sqrt rsqrt log log2 log10 log1p reciprocal arcsin arccos arctanh erfinv", (UNIT, 0.5, [0.5, 0.25])),
    ("arccosh", (1.0 + np.abs(V),)),
    ("conj conjugate real angle absolute", (COMPLEX, V)),
    ("imag", (COMPLEX,)),
    ("bitwise_not bitwise_invert", (WHOLE, TRUTHS)),
    ("elu celu gelu leaky_relu hard_shrink soft_shrink squareplus softmax log_softmax sparsemax", (V,)),
    ("nonzero", (V, WHOLE, [0, 1])),
    (
        "argsort sort ravel copy ndim squeeze transpose flip ones_like zeros_like "
        "nan_to_num convert_to_tensor array sum mean max min amax amin prod var std any "
        "all argmax argmin median ptp cumsum cumprod count_nonzero logsumexp average",
        (V, WHOLE, [1, 2], 0.5),
    ),
    ("size shape dtype stop_gradient", (V, WHOLE)),
    ("any all sum prod max argmax cumsum count_nonzero mean sort", (TRUTHS, COUNTS.astype(np.uint8))),
    (
        "nansum nanmean nanprod nanmax nanmin nanvar nanstd nanmedian nanargmax nanargmin nancumsum "
        "nancumprod nan_to_num",
        (GAPS, V, WHOLE),
    ),
    ("fliplr flipud", (V, WHOLE)),
    ("det inv pinv slogdet norm qr matrix_rank", (SQUARE, MATRIX[:3])),
    ("cholesky logdet", (POSITIVE,)),
    ("hanning hamming blackman bartlett", (8, 5)),
    ("corrcoef", (MATRIX,)),
]

_PAIRS = (
    (V, W),
    (V, 2.0),
    (2.0, V),
    (V, ROW),
    (WHOLE, COUNTS),
    (WHOLE, V),
    (WHOLE, 3),
    (WHOLE, 2.5),
    ([1.0, 2.0], [3, 4]),
    (V.astype(np.float64), 0.1),
    (3, 2),
    (LONG, COUNTS),
)
# The pairs of arguments of functions of two tensors, each with all the functions that take them.
BINARY: list[tuple[str, tuple[tuple[Any, Any], ...]]] = [
    (
        "add subtract multiply divide true_divide maximum minimum equal not_equal greater greater_equal less "
        "less_equal fmax fmin logical_and logical_or logical_xor isclose allclose",
        _PAIRS,
    ),
    ("mod fmod floor_divide", ((V, W), (WHOLE, COUNTS), (V, 2.0), (WHOLE, 3), (WHOLE, V), (7, 2))),
    ("power", ((UNIT, V), (V, 2), (V, 2.0), (WHOLE, 2), (COUNTS, 0.5), (2, COUNTS), (2.0, WHOLE))),
    ("arctan2 hypot logaddexp logaddexp2 nextafter heaviside", ((V, W), (V, 0.5), (WHOLE, V))),
    ("gcd lcm", ((WHOLE, COUNTS), (WHOLE, 6))),
    ("bitwise_and bitwise_or bitwise_xor", ((WHOLE, COUNTS), (WHOLE, 3), (TRUTHS, ~TRUTHS))),
    ("bitwise_left_shift bitwise_right_shift left_shift right_shift", ((COUNTS, COUNTS), (WHOLE, 2))),
    (
        "add multiply maximum logical_and logical_or logical_xor equal",
        ((TRUTHS, TRUTHS), (TRUTHS, V), (TRUTHS, 2)),
    ),
    ("divide_no_nan", ((V, TRUTHS), (V, 0.0), (V, W), (WHOLE, COUNTS), (WHOLE, 2.5))),
    ("ldexp", ((V, WHOLE),)),
    (
        "matmul",
        (
            (V, SQUARE),
            (MATRIX, MATRIX.T),
            (ROW, ROW),
            (V, ROW),
            (COUNTS, SQUARE),
            (WHOLE, LONG.swapaxes(1, 2)),
        ),
    ),
    ("dot", ((V, ROW), (MATRIX, MATRIX.T), (V, 2.0), (V, SQUARE), (ROW, ROW))),
    ("inner outer vdot", ((ROW, ROW[::-1].copy()), (WHOLE[0, 0], ROW))),
    ("inner outer kron", ((MATRIX, MATRIX[:2]),)),
    ("cross", ((MATRIX, MATRIX[::-1].copy()),)),
    ("tensordot", ((V, W[0]),)),
    ("correlate", ((VECTOR, VECTOR[:3]), (VECTOR[:3], VECTOR), (VECTOR, VECTOR))),
    ("isin", ((WHOLE, COUNTS), (WHOLE, [1, 2]), (3, COUNTS))),
    ("digitize", ((V, [-1.0, 0.0, 1.0]), (WHOLE, [0, 3]))),
    ("append", ((V, W), (WHOLE, V))),
    ("take", ((V, [0, 5, -1]), (V, 3))),
    ("cdist", ((V, W), (MATRIX, MATRIX[:2]))),
    ("polar", ((UNIT, V),)),
    ("solve", ((POSITIVE, SQUARE), (POSITIVE[0], ROW))),
    ("lstsq", ((MATRIX, VECTOR[:5]), (MATRIX, MATRIX))),
    ("trapezoid", ((V, ROW), (V, None))),
]

_AXES = ({"axis": 0}, {"axis": -1}, {"axis": 1, "keepdims": True})
_MANY = ({"axis": (0, 2)}, {"axis": [1, -1], "keepdims": True}, {"keepdims": True})
# Options of functions of one tensor, (names, tensors, options).
OPTIONS: list[tuple[str, tuple[Any, ...], tuple[dict[str, Any], ...]]] = [
    ("sum mean max min amax amin prod var std any all logsumexp ptp median", (V, WHOLE), (*_AXES, *_MANY)),
    ("argmax argmin", (V, WHOLE), (*_AXES, {"keepdims": True})),
    ("nansum nanmean nanprod nanmax nanmin nanvar nanstd nanmedian", (GAPS,), (*_AXES, *_MANY)),
    ("nanargmax nanargmin", (GAPS,), _AXES),
    ("count_nonzero", (WHOLE,), ({"axis": 1}, {"axis": (0, 1)})),
    ("cumsum cumprod nancumsum nancumprod", (V, WHOLE), ({"axis": 1}, {"axis": -1, "dtype": "float64"})),
    ("max min", (V,), ({"initial": 0.5}, {"axis": 1, "initial": 9.0})),
    ("prod", (WHOLE,), ({"axis": 1, "dtype": "float32"},)),
    (
        "average",
        (V,),
        ({"axis": 1, "weights": UNIT}, {"axis": -1, "weights": [1, 2, 3, 4]}, {"weights": UNIT}),
    ),
    (
        "quantile nanquantile",
        (V,),
        (
            {"q": 0.3},
            {"q": [0.1, 0.5], "axis": 1},
            {"q": 0.7, "axis": (0, 1), "keepdims": True},
            {"q": 0.4, "method": "nearest"},
            {"q": 0.4, "axis": 0, "method": "lower"},
        ),
    ),
    ("percentile nanpercentile", (V,), ({"q": 30}, {"q": [10, 50.0], "axis": 1, "keepdims": True})),
    ("sort argsort", (V, LONG), ({"axis": 0}, {"axis": 1})),
    ("round", (10 * V, EDGES), ({}, {"decimals": 1})),
    ("clip", (V, WHOLE), ({"x_min": -1, "x_max": 1}, {"x_min": -0.5, "x_max": 0.25})),
    ("clip", (V,), ({"x_min": np.minimum(V, W), "x_max": W + 1},)),
    ("nan_to_num", (EDGES,), ({"nan": 1.0, "posinf": 9.0, "neginf": -9.0},)),
    ("expand_dims", (V,), ({"axis": 0}, {"axis": -1}, {"axis": (0, 2)})),
    ("squeeze", (V[:1],), ({"axis": 0}, {"axis": (0,)}, {})),
    ("reshape", (V,), ({"newshape": (4, -1)}, {"newshape": -1}, {"newshape": [2, 12]})),
    ("transpose", (V,), ({"axes": (0, 2, 1)}, {"axes": [2, 0, 1]})),
    ("swapaxes", (V,), ({"axis1": 0, "axis2": -1},)),
    ("moveaxis", (V,), ({"source": 0, "destination": -1}, {"source": [0, 1], "destination": [2, 0]})),
    ("broadcast_to", (ROW, 2.0), ({"shape": (3, 4)},)),
    ("flip", (V,), ({"axis": 1}, {"axis": (0, 2)})),
    ("roll", (V,), ({"shift": 2}, {"shift": 1, "axis": 1}, {"shift": (1, 2), "axis": (0, 2)})),
    ("rot90", (V,), ({}, {"k": 2, "axes": (1, 2)})),
    ("repeat", (V,), ({"repeats": 2}, {"repeats": 3, "axis": 1}, {"repeats": [1, 2, 0], "axis": 1})),
    ("tile", (V, ROW), ({"repeats": 2}, {"repeats": (2, 1, 3)})),
    ("split", (V,), ({"indices_or_sections": 2}, {"indices_or_sections": [1, 3], "axis": -1})),
    ("array_split", (V,), ({"indices_or_sections": 3, "axis": 2}, {"indices_or_sections": [1], "axis": 1})),
    ("hsplit", (V,), ({"indices_or_sections": 3},)),
    ("vsplit", (V,), ({"indices_or_sections": 2},)),
    ("dsplit", (V,), ({"indices_or_sections": 2}, {"indices_or_sections": [1]})),
    ("unstack", (V,), ({}, {"axis": 1}, {"num": 4, "axis": -1})),
    (
        "pad",
        (V,),
        (
            {"pad_width": 1},
            {"pad_width": ((0, 0), (1, 2), (0, 1)), "constant_values": 5.0},
            {"pad_width": ((1, 1), (2, 1), (3, 2)), "mode": "symmetric"},
            {"pad_width": ((1, 1), (2, 1), (3, 2)), "mode": "reflect"},
        ),
    ),
    ("pad", (WHOLE,), ({"pad_width": (1, 2)}, {"pad_width": [[0, 0], [1, 0], [0, 0]]})),
    (
        "take",
        (V,),
        (
            {"indices": [0, -1], "axis": 1},
            {"indices": [[0, 1], [1, 0]], "axis": 0},
            {"indices": 2, "axis": -1},
        ),
    ),
    (
        "take_along_axis",
        (V,),
        ({"indices": COUNTS[:, :, :2] % 3, "axis": 2}, {"indices": COUNTS[:, :1] % 3, "axis": 1}),
    ),
    ("get_item", (V,), ({"key": 0}, {"key": (slice(None), 1)}, {"key": (..., -1)})),
    (
        "slice",
        (V,),
        ({"start_indices": [0, 1, 2], "shape": [1, 2, 2]}, {"start_indices": (0, 1, 0), "shape": (2, 1, 4)}),
    ),
    ("slice_update", (V,), ({"start_indices": [0, 1, 2], "updates": W[:1, :2, :2]},)),
    (
        "scatter_update",
        (V,),
        (
            {"indices": [[0, 1, 2], [1, 0, 0]], "updates": [5.0, 6.0]},
            {"indices": [[0], [1]], "updates": W},
            {"indices": [[0, 1, 2], [0, 1, 2]], "updates": [5.0, 6.0], "reduction": "add"},
            {"indices": [[0, 1, 2], [1, 1, 1]], "updates": [5.0, -6.0], "reduction": "max"},
            {"indices": [[0, 1, 2], [1, 1, 1]], "updates": [5.0, -6.0], "reduction": "mul"},
        ),
    ),
    ("top_k", (V,), ({"k": 2}, {"k": 1})),
    ("bincount", (COUNTS[0, 0], np.sort(COUNTS[0])[:, ::-1] * 0 + 5), ({}, {"minlength": 9})),
    ("bincount", (COUNTS[0, 0],), ({"weights": ROW},)),
    ("histogram", (V,), ({}, {"bins": 4}, {"bins": 5, "range": (-1.0, 1.0)})),
    ("unique", (WHOLE, LONG), ({}, {"return_counts": True})),
    ("unique", (WHOLE[0, 0],), ({"size": 8, "fill_value": 0}, {"size": 2})),
    ("cast saturate_cast", (V, WHOLE, TRUTHS), ({"dtype": "float64"}, {"dtype": "int32"}, {"dtype": "bool"})),
    (
        "saturate_cast",
        (1000 * V, 1000 * WHOLE),
        ({"dtype": "uint8"}, {"dtype": "int8"}, {"dtype": "float16"}),
    ),
    ("convert_to_tensor array", ([1, 2], V, [[1.5]]), ({"dtype": "float32"}, {"dtype": "int32"})),
    ("ones_like zeros_like", (V, WHOLE), ({"dtype": "int32"}, {"dtype": "float32"})),
    ("full_like", (V, WHOLE), ({"fill_value": 2}, {"fill_value": 3.5, "dtype": "float32"})),
    ("diag", (ROW, MATRIX), ({}, {"k": 1}, {"k": -1})),
    ("diagflat", (MATRIX,), ({}, {"k": 1})),
    ("diagonal trace", (V, WHOLE), ({}, {"offset": 1, "axis1": 1, "axis2": 2})),
    ("tril triu", (V,), ({}, {"k": 1}, {"k": -1})),
    ("vander", (ROW,), ({}, {"N": 3, "increasing": True})),
    ("kaiser", (8,), ({"beta": 4.0},)),
    (
        "norm",
        (V[0],),
        (
            {"ord": 1},
            {"ord": "fro"},
            {"ord": "nuc"},
            {"ord": np.inf, "axis": 0},
            {"ord": 2, "axis": (0, 1)},
            {"axis": 1, "keepdims": True},
            {"ord": 3, "axis": -1},
        ),
    ),
    ("cholesky cholesky_inverse", (POSITIVE[0],), ({"upper": True}, {})),
    ("qr", (MATRIX,), ({"mode": "complete"},)),
    ("svd", (MATRIX,), ({"compute_uv": False},)),
    ("pinv", (MATRIX,), ({"rcond": 0.5},)),
    ("matrix_rank", (MATRIX,), ({"tol": 2.0},)),
    ("diff", (V,), ({}, {"n": 2}, {"axis": 1})),
    ("elu celu", (V,), ({"alpha": 0.5},)),
    ("gelu", (V,), ({"approximate": False}, {"approximate": True})),
    ("leaky_relu", (V,), ({"negative_slope": 0.1},)),
    ("hard_shrink soft_shrink", (V,), ({"threshold": 0.2},)),
    ("threshold", (V,), ({"threshold": 0.2, "default_value": -7.0},)),
    ("squareplus", (V,), ({"b": 2},)),
    ("glu", (V,), ({}, {"axis": 0})),
    ("softmax log_softmax", (V,), ({"axis": 1}, {"axis": (1, 2)})),
    ("sparsemax", (V,), ({"axis": 1},)),
    ("one_hot", (COUNTS, [0, 2, -1]), ({"num_classes": 6}, {"num_classes": 7, "axis": 0, "dtype": "int32"})),
    ("multi_hot", (COUNTS[0], COUNTS[0, 0]), ({"num_classes": 6}, {"num_classes": 8, "dtype": "int32"})),
    ("moments", (V,), ({"axes": [0]}, {"axes": (0, 1), "keepdims": True})),
    ("normalize", (V, 0 * V), ({}, {"axis": 1, "order": 1}, {"order": 3})),
    (
        "batch_normalization",
        (V,),
        (
            {"mean": ROW, "variance": ROW**2, "axis": -1, "offset": ROW, "scale": ROW + 1},
            {"mean": ROW[:3], "variance": ROW[:3] ** 2, "axis": 1},
        ),
    ),
    ("layer_normalization", (V,), ({}, {"gamma": ROW, "beta": ROW + 1, "epsilon": 1e-2}, {"axis": (1, 2)})),
    ("rms_normalization", (V,), ({}, {"scale": ROW, "epsilon": 1e-2}, {"axis": (1, 2)})),
    ("max_pool", (IMAGE,), ({"pool_size": 2}, {"pool_size": (3, 2), "strides": (2, 1), "padding": "same"})),
    ("average_pool", (IMAGE,), ({"pool_size": 2}, {"pool_size": (3, 2), "strides": 2, "padding": "same"})),
    ("max_pool average_pool", (LINE,), ({"pool_size": 3, "strides": 2, "padding": "same"},)),
    ("max_pool average_pool", (VOLUME,), ({"pool_size": 2, "data_format": "channels_first"},)),
    ("adaptive_average_pool adaptive_max_pool", (IMAGE,), ({"output_size": (3, 2)}, {"output_size": 2})),
    ("depth_to_space space_to_depth", (_draw(2, 4, 6, 4),), ({"block_size": 2},)),
    (
        "depth_to_space space_to_depth",
        (_draw(2, 4, 6, 4),),
        ({"block_size": 2, "data_format": "channels_first"},),
    ),
    ("unfold", (IMAGE,), ({"kernel_size": 2}, {"kernel_size": (3, 2), "stride": 2, "padding": 1})),
    ("fold", (_draw(2, 8, 6),), ({"output_size": (3, 4), "kernel_size": 2},)),
    ("rfft", (V,), ({}, {"fft_length": 6}, {"fft_length": 3})),
    ("extract_sequences", (LINE[..., 0],), ({"sequence_length": 3, "sequence_stride": 2},)),
    (
        "stft",
        (_draw(2, 20),),
        (
            {"sequence_length": 8, "sequence_stride": 4, "fft_length": 8},
            {
                "sequence_length": 6,
                "sequence_stride": 3,
                "fft_length": 8,
                "window": "hamming",
                "center": False,
            },
            {"sequence_length": 5, "sequence_stride": 2, "fft_length": 8, "window": None},
        ),
    ),
    ("unravel_index", ([3, 7],), ({"shape": (2, 3, 4)},)),
    ("einsum", ("bij,bjk->bik",), ({},)),
    ("searchsorted", ([0.0, 1.0, 1.0, 2.0],), ({"values": [1.0, 3.0]}, {"values": V, "side": "right"})),
    ("trapezoid", (V,), ({"dx": 0.5, "axis": 1},)),
    ("isclose", (V,), ({"x2": V + 1e-4, "rtol": 1e-2}, {"x2": GAPS, "equal_nan": True})),
    ("allclose", (GAPS,), ({"x2": GAPS, "equal_nan": True}, {"x2": GAPS})),
    ("isin", (WHOLE,), ({"x2": [1, 2], "invert": True},)),
    ("cross", (_draw(3, 5),), ({"x2": _draw(3, 5), "axis": 0},)),
    (
        "tensordot",
        (V,),
        ({"x2": W, "axes": [[1], [1]]}, {"x2": W, "axes": [[0, 2], [0, 2]]}, {"x2": ROW, "axes": 1}),
    ),
    ("append", (V,), ({"x2": W, "axis": 1},)),
]

_K3, _K2 = _draw(3, 2, 4, 5), _draw(3, 3, 5)
# Other calls, as they are written.
CALLS: list[Case] = [
    *[("correlate", (VECTOR, VECTOR[:size], mode), {}) for size in (3, 4) for mode in ("same", "full")],
    ("where", (TRUTHS, V, W), {}),
    ("where", (TRUTHS, V, 0), {}),
    ("where", (V > 0, 1, 0.0), {}),
    ("where", (TRUTHS,), {}),
    ("select", ([V > 1, V > 0], [V, W]), {"default": 7.0}),
    ("concatenate", ([V, W],), {}),
    ("concatenate", ([V, WHOLE, W],), {"axis": -1}),
    ("stack", ([V, W],), {}),
    ("stack", ([V, W],), {"axis": 2}),
    ("stack", ([1, 2.5],), {}),
    ("hstack", ([V, W],), {}),
    ("vstack", ([ROW, ROW],), {}),
    ("dstack", ([V, W],), {}),
    ("meshgrid", (ROW, VECTOR), {}),
    ("meshgrid", (ROW, VECTOR), {"indexing": "ij"}),
    ("einsum", ("bij,bjk->bik", V, SQUARE), {}),
    ("einsum", ("ij->j", WHOLE[0]), {}),
    ("zeros", ((2, 3),), {}),
    ("zeros", (4,), {"dtype": "int32"}),
    ("ones", ([2],), {"dtype": "bool"}),
    ("ones", ((2, 3),), {}),
    ("full", ((2, 3), 4), {}),
    ("full", ((2, 2), [1.5, 2.5]), {}),
    ("full", ((2,), 3), {"dtype": "int32"}),
    ("eye", (3,), {}),
    ("eye", (3, 4), {"k": 1, "dtype": "int32"}),
    ("identity", (3,), {}),
    ("tri", (3,), {}),
    ("tri", (3, 4), {"k": -1, "dtype": "int32"}),
    ("arange", (5,), {}),
    ("arange", (2, 8, 3), {}),
    ("arange", (0.0, 1.0, 0.25), {}),
    ("arange", (5,), {"dtype": "float32"}),
    ("linspace", (0, 1), {}),
    ("linspace", (0.0, 2.0, 5), {}),
    ("linspace", (1.0, 2.0), {"num": 4, "endpoint": False, "retstep": True}),
    ("linspace", (ROW, ROW + 2), {"num": 3, "axis": -1}),
    ("logspace", (0, 2), {"num": 4}),
    ("logspace", (0.0, 2.0), {"num": 4, "base": 2.0, "endpoint": False}),
    ("geomspace", (1.0, 100.0), {"num": 5}),
    ("convert_to_numpy", (V,), {}),
    ("is_tensor", ([1.0],), {}),
    ("is_tensor", (2,), {}),
    ("scatter", ([[0, 1], [1, 2], [0, 1]], [1.0, 2.0, 3.0], (2, 3)), {}),
    ("scatter", ([[1], [0]], MATRIX[:2], (4, 3)), {}),
    ("in_top_k", ([2, 0, 4], _draw(3, 5), 2), {}),
    *[
        (name, (V[0], np.array([0, 2, 0])), {})
        for name in ("segment_sum", "segment_max", "segment_min", "segment_prod")
    ],
    *[
        (name, (WHOLE[0], np.array([0, 1, 1]), 2), {})
        for name in ("segment_sum", "segment_max", "segment_min")
    ],
    ("fft", ((V, W),), {}),
    ("fft2", ((V, W),), {}),
    ("ifft2", ((V, W),), {}),
    ("irfft", ((V, W),), {}),
    ("irfft", ((V, W),), {"fft_length": 5}),
    ("view_as_complex", (_draw(3, 2),), {}),
    ("view_as_real", (COMPLEX,), {}),
    ("psnr", (UNIT, UNIT[::-1].copy(), 1.0), {}),
    ("solve_triangular", (np.triu(POSITIVE), SQUARE), {}),
    ("solve_triangular", (np.tril(POSITIVE[0]), ROW), {"lower": True}),
    ("lu_factor", (POSITIVE[0],), {}),
    ("eigh", (POSITIVE[0],), {}),
    ("categorical_crossentropy", (np.eye(4, dtype=np.float32)[[0, 2, 3]], UNIT[0]), {}),
    ("categorical_crossentropy", (np.eye(4, dtype=np.float32)[[0, 2, 3]], V[0]), {"from_logits": True}),
    ("sparse_categorical_crossentropy", ([0, 2, 3], UNIT[0]), {}),
    ("sparse_categorical_crossentropy", ([[0], [2], [3]], V[0]), {"from_logits": True}),
    ("binary_crossentropy", (np.float32(TRUTHS), UNIT), {}),
    ("binary_crossentropy", (np.float32(TRUTHS), V), {"from_logits": True}),
    ("ctc_loss", ([[1, 2], [2, 1]], _draw(2, 6, 4), [2, 1], [6, 5]), {}),
    ("conv", (IMAGE, _K3), {}),
    ("conv", (IMAGE, _K3), {"strides": 2, "padding": "same"}),
    ("conv", (LINE, _K2), {"padding": "same", "dilation_rate": 2}),
    ("conv", (IMAGE, _draw(3, 3, 2, 6)), {}),
    ("conv", (VOLUME, _draw(2, 2, 2, 2, 3)), {"strides": (2, 1, 2), "padding": "same"}),
    ("depthwise_conv", (IMAGE, _draw(3, 3, 4, 2)), {"padding": "same"}),
    ("separable_conv", (IMAGE, _draw(3, 3, 4, 2), _draw(1, 1, 8, 5)), {}),
    *[
        (
            "conv_transpose",
            (LINE, _draw(size, 4, 3)),
            {"strides": stride, "padding": padding, "dilation_rate": rate},
        )
        for size in (1, 2, 3, 4, 5)
        for stride, rate in ((1, 1), (2, 1), (3, 1), (1, 2))
        for padding in ("valid", "same")
    ],
    *[
        (
            "conv_transpose",
            (LINE, _draw(size, 4, 3)),
            {"strides": 3, "padding": padding, "output_padding": extra},
        )
        for size in (3, 4, 5)
        for extra in (0, 1, 2)
        for padding in ("valid", "same")
    ],
    ("conv_transpose", (IMAGE, _draw(3, 2, 5, 4)), {"strides": 2, "padding": "same"}),
    ("dot_product_attention", (_draw(2, 5, 4, 3), _draw(2, 6, 4, 3), _draw(2, 6, 4, 3)), {}),
    ("dot_product_attention", (_draw(2, 5, 4, 3), _draw(2, 6, 2, 3), _draw(2, 6, 2, 3)), {"scale": 0.5}),
    ("dot_product_attention", (_draw(2, 5, 4, 3), _draw(2, 5, 4, 3), _draw(2, 5, 4, 3)), {"is_causal": True}),
    (
        "dot_product_attention",
        (_draw(2, 5, 4, 3), _draw(2, 5, 4, 3), _draw(2, 5, 4, 3)),
        {"mask": RNG.integers(0, 2, size=(2, 4, 5, 5)).astype(bool)},
    ),
    (
        "dot_product_attention",
        (_draw(2, 5, 4, 3), _draw(2, 5, 4, 3), _draw(2, 5, 4, 3)),
        {"bias": _draw(2, 4, 5, 5)},
    ),
]

# Functions whose results have no fixed sign or order, or that call functions: tested one by one.
APART = {
    "argpartition",
    "cond",
    "eig",
    "empty",
    "empty_like",
    "fori_loop",
    "jvp",
    "map",
    "scan",
    "svd",
    "switch",
    "vectorized_map",
    "while_loop",
}


# Functions that are compared with NumPy's: there keras.ops on torch differs from NumPy and its own documents.
AS_NUMPY = {
    "array_split",
    "average",
    "correlate",
    "count_nonzero",
    "dot",
    "histogram",
    "linspace",
    "nonzero",
    "pad",
    "repeat",
    "take",
    "take_along_axis",
}
# Functions of which Keras gives a narrower or wider dtype of the same kind than its rules for the others say.
ANY_WIDTH = {
    "ceil",
    "cumprod",
    "cumsum",
    "divide_no_nan",
    "einsum",
    "floor",
    "fmax",
    "fmin",
    "matmul",
    "maximum",
    "minimum",
    "nancumprod",
    "nancumsum",
    "top_k",
    "unique",
}


def is_as_numpy(case: Case) -> bool:
    """Whether the call is compared with NumPy's function."""
    name, args, kwargs = case
    return (
        name in AS_NUMPY
        or (kwargs == {"keepdims": True} and name != "logsumexp")
        or (name == "where" and len(args) == 1)
    )


def cases() -> Iterator[Case]:
    """Every call."""
    for names, tensors in UNARY:
        yield from ((name, (x,), {}) for name in names.split() for x in tensors)
    for names, pairs in BINARY:
        yield from ((name, pair, {}) for name in names.split() for pair in pairs)
    for names, tensors, options in OPTIONS:
        yield from (
            (name, (x,), kw) for name in names.split() for x in tensors for kw in options if name != "einsum"
        )
    yield from CALLS
