"""Declares the options of `Forecaster`."""

from __future__ import annotations

from dataclasses import dataclass

from longspan.data.transforms import TRANSFORMS
from longspan.tasks.options import option
from longspan.tasks.reading_options import ReadingOptions

from .network import OUTPUTS
from .window_scaling import CENTERS, SCALES


@dataclass(eq=False, repr=False, kw_only=True)
class ForecasterOptions(ReadingOptions):
    """The options of `Forecaster`, by group: task, data, network and training. Abstract."""

    horizon: int = option(24, "steps to forecast", minimum=1)
    target: str | tuple[str, ...] = option(
        (), "columns to forecast; none named: the only column of numbers", group="data"
    )
    time: str | tuple[str, ...] | None = option(
        None, "column of the times, or columns of year, month, day, hour; none to find it", group="data"
    )
    id: str | None = option(None, "column that names the series of a long table", group="data")
    past_covariates: str | tuple[str, ...] = option((), "covariates whose future is unknown", group="data")
    future_covariates: str | tuple[str, ...] = option((), "covariates whose future is known", group="data")
    static_covariates: str | tuple[str, ...] = option(
        (), "covariates with one value for each series", group="data"
    )
    quantiles: tuple[float, ...] = option(
        (0.05, 0.25, 0.75, 0.95), "levels of the quantiles that are forecast beside the median"
    )
    distribution: str = option(
        "quantiles",
        "output of the network: each quantile, or a distribution",
        choices=OUTPUTS,
        group="network",
        advanced=True,
    )
    context_length: int | None = option(
        None, "steps before a forecast that the network reads; none to select it", group="network", minimum=2
    )
    season_length: int | None = option(
        None, "steps after which the data repeat, 1 for never; none to find it", group="data", minimum=1
    )
    offset: str | None = option(
        None,
        "value that is subtracted from every window; none to select it",
        choices=CENTERS,
        group="network",
        advanced=True,
    )
    scaling: str | None = option(
        None,
        "deviation by which windows are divided: of their series or their own; none to select it",
        choices=SCALES,
        group="network",
        advanced=True,
    )
    transform: str | None = option(
        None,
        "transform of the values before centering and scaling; none to select it",
        choices=TRANSFORMS,
        group="network",
        advanced=True,
    )
    calendar: bool = option(
        True,
        "whether hour, weekday, month and the like are inputs",
        group="data",
        advanced=True,
    )
    frequency: str | None = option(
        None,
        "step to which times are rounded, such as 10min; none for the step of the data",
        group="data",
        advanced=True,
    )
    batch_size: int = option(128, "windows of a training step", group="training")
    learning_rate: float | None = option(2e-3, "highest learning rate of Adam", group="training")
    epochs: int | None = option(12, "passes over the training part at most", group="training")
    patience: int | None = option(
        3, "epochs without a lower validation loss before training stops", group="training"
    )
