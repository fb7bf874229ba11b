"""Names what stands in for each function of keras.ops that is not here."""

from __future__ import annotations

# A name in keras.ops that is not here -> what to use instead.
INSTEAD: dict[str, str] = {
    "associative_scan": "ops.scan, or ops.cumsum and ops.cumprod",
    "ctc_decode": "SpeechRecognizer, which decodes, or the argmax of each step without blanks and repeats",
    "custom_gradient": "torch.autograd.Function",
    "image": "torchvision.transforms.v2.functional",
    "istft": "torch.istft",
    "rearrange": "ops.reshape and ops.transpose, or einops.rearrange",
    "vectorize": "ops.vectorized_map, or torch.vmap",
    "view": "Tensor.view of torch",
}
