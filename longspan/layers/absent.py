"""Names what stands in for each layer of Keras that is not here."""

from __future__ import annotations

# A layer of Keras that is not here -> what to use instead.
INSTEAD: dict[str, str] = {
    **dict.fromkeys(("FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"), "a torch.nn.Module"),
    **dict.fromkeys(("MelSpectrogram", "STFTSpectrogram"), "torchaudio.transforms before the model"),
    **dict.fromkeys(
        [
            "AugMix",
            "AutoContrast",
            "CenterCrop",
            "ContrastLimitedAdaptiveHistogramEqualization",
            "CutMix",
            "Equalization",
            "MaxNumBoundingBoxes",
            "MixUp",
            "Pipeline",
            "RandAugment",
            "RandomBrightness",
            "RandomColorDegeneration",
            "RandomColorJitter",
            "RandomContrast",
            "RandomCrop",
            "RandomElasticTransform",
            "RandomErasing",
            "RandomFlip",
            "RandomGaussianBlur",
            "RandomGrayscale",
            "RandomHue",
            "RandomInvert",
            "RandomPerspective",
            "RandomPosterization",
            "RandomRotation",
            "RandomSaturation",
            "RandomSharpness",
            "RandomShear",
            "RandomTranslation",
            "RandomZoom",
            "Resizing",
            "Solarization",
        ],
        "torchvision.transforms before the model",
    ),
    "HashedCrossing": "Hashing of the joined texts",
}
