"""Forecasts a monthly series from the last ten months. A Keras script but for two imports.

The series is the monthly number of airline passengers, in thousands, 1949 to 1960 (Box and Jenkins 1976,
series G): what is learned is how much the logarithm changes from month to month.

    python examples/tutorials/summary.py
"""

import argparse

import numpy as np

from longspan.layers import LSTM, Dense
from longspan.models import Sequential

PASSENGERS = """
112 118 132 129 121 135 148 148 136 119 104 118 115 126 141 135 125 149 170 170 158 133 114 140
145 150 178 163 172 178 199 199 184 162 146 166 171 180 193 181 183 218 230 242 209 191 172 194
196 196 236 235 229 243 264 272 237 211 180 201 204 188 235 227 234 264 302 293 259 229 203 229
242 233 267 269 270 315 364 347 312 274 237 278 284 277 317 313 318 374 413 405 355 306 271 306
315 301 356 348 355 422 465 467 404 347 305 336 340 318 362 348 363 435 491 505 404 359 310 337
360 342 406 396 420 472 548 559 463 407 362 405 417 391 419 461 472 535 622 606 508 461 390 432
"""


def main(epochs: int) -> float:
    """Show the model, fit it, and give its mean squared error on the last two years, of logarithms."""
    changes = np.diff(np.log(np.array(PASSENGERS.split(), dtype=np.float32)))
    x = np.array([changes[i : i + 10] for i in range(len(changes) - 10)]).reshape(-1, 10, 1)
    y = changes[10:]

    model = Sequential()
    model.add(LSTM(50, activation="tanh", input_shape=(10, 1)))
    model.add(Dense(1))
    model.compile(optimizer="adam", loss="mse")
    model.summary()
    model.fit(x[:-24], y[:-24], epochs=epochs, batch_size=16, verbose=0)

    error = model.evaluate(x[-24:], y[-24:], verbose=0)
    repeated = float((y[-24:] ** 2).mean())
    print(f"last two years: {error:.4f}; repeating the month before gives {repeated:.4f}")
    return error


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=100, help="passes over the training windows")
    main(parser.parse_args().epochs)
