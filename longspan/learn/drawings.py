"""Draws cells with their gates, and networks over time, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

Point = tuple[float, float]
_STEP = 92  # pixels from one step of a drawn network to the next


class Drawing:
    """Shapes of one SVG, coloured by the page's style.

    Args:
        width, height: of its view; title: what it shows, for those who do not see it.
    """

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height, self.title = width, height, title
        self.parts = list[str]()

    def line(self, *points: Point, kind: str = "", arrow: bool = True) -> None:
        """A line through points, with an arrow at its end."""
        path = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
        self.parts.append(f'<path class="line {kind}" d="{path}"/>')
        if arrow:
            (x0, y0), (x, y) = points[-2:]
            angle = math.atan2(y - y0, x - x0)
            ends = [(x - 9 * math.cos(angle + d), y - 9 * math.sin(angle + d)) for d in (0.45, -0.45)]
            shape = " ".join(f"{a:.1f},{b:.1f}" for a, b in ((x, y), *ends))
            self.parts.append(f'<polygon class="tip {kind}" points="{shape}"/>')

    def box(
        self, x: float, y: float, label: str, *, width: float = 58, kind: str = "", letter: str = ""
    ) -> None:
        """A box around (x, y); letter: the gate or state whose number is shown below the label."""
        place = f'x="{x - width / 2:g}" y="{y - 19:g}" width="{width:g}" height="38"'
        self.parts.append(f'<rect class="{kind}" {place} rx="7"/>')
        self.text(x, y + (-2 if letter else 5), label)
        if letter:
            self.parts.append(f'<text class="value" x="{x:g}" y="{y + 14:g}" data-value="{letter}"></text>')

    def operation(self, x: float, y: float, sign: str) -> None:
        """A round sign, such as × or +."""
        self.parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="13"/>')
        self.text(x, y + 5, sign)

    def text(self, x: float, y: float, text: str, *, anchor: str = "middle", kind: str = "") -> None:
        """A line of text; what follows an underscore is set lower."""
        base, _, below = text.partition("_")
        lower = f'<tspan dy="4" font-size="70%">{escape(below)}</tspan>' if below else ""
        style = f' class="{kind}"' if kind else ""
        self.parts.append(
            f'<text{style} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(base)}{lower}</text>'
        )

    def value(self, x: float, y: float, letter: str) -> None:
        """A place for a number that the page fills in."""
        self.parts.append(f'<text class="value" x="{x:g}" y="{y:g}" data-value="{letter}"></text>')

    def svg(self) -> str:
        """The whole SVG element."""
        title = escape(self.title)
        return (
            f'<svg class="drawing" viewBox="0 0 {self.width:g} {self.height:g}" role="img" '
            f'aria-label="{title}">'
            f"<title>{title}</title>{''.join(self.parts)}</svg>"
        )


# ---- cells


def lstm() -> str:
    """The LSTM: the line of the cell state above, the gates below."""
    title = (
        "An LSTM cell: the forget gate multiplies the old cell state, the input gate adds the candidate, "
        "the output gate shows the state's tanh"
    )
    d = Drawing(660, 300, title)
    d.line((20, 60), (187, 60), kind="state")
    d.line((213, 60), (367, 60), kind="state")
    d.line((393, 60), (640, 60), kind="state")
    d.line((20, 255), (490, 255), arrow=False)
    for x in (200, 300, 380, 490):
        d.line((x, 255), (x, 211))
    d.line((200, 173), (200, 74))
    d.line((300, 173), (300, 120), (366, 120))
    d.line((380, 173), (380, 134))
    d.line((380, 107), (380, 74))
    d.line((560, 60), (560, 94), kind="state")
    d.line((560, 132), (560, 179))
    d.line((519, 192), (546, 192))
    d.line((560, 205), (560, 255), (640, 255), kind="state")
    d.box(200, 192, "f", kind="gate", letter="f")
    d.box(300, 192, "i", kind="gate", letter="i")
    d.box(380, 192, "g", kind="candidate", letter="g")
    d.box(490, 192, "o", kind="gate", letter="o")
    d.box(560, 113, "tanh")
    for x, y, sign in ((200, 60, "×"), (380, 60, "+"), (380, 120, "×"), (560, 192, "×")):
        d.operation(x, y, sign)
    d.text(20, 48, "c_t−1", anchor="start")
    d.text(640, 48, "c_t", anchor="end")
    d.value(600, 84, "c")
    d.text(20, 244, "x_t,", anchor="start")
    d.text(46, 244, "h_t−1", anchor="start")
    d.text(640, 244, "h_t", anchor="end")
    d.value(600, 279, "h")
    for x, label in ((200, "forget"), (300, "input"), (380, "candidate"), (490, "output")):
        d.text(x, 283, label, kind="small")
    return d.svg()


def gru() -> str:
    """The GRU: one state, of which the update gate keeps a share."""
    title = (
        "A GRU cell: the update gate keeps a share of the old state and takes the rest from the candidate, "
        "which the reset gate may keep from reading the old state"
    )
    d = Drawing(660, 300, title)
    d.line((20, 60), (317, 60), kind="state")
    d.line((343, 60), (507, 60), kind="state")
    d.line((533, 60), (640, 60), kind="state")
    d.line((20, 255), (450, 255), arrow=False)
    for x in (180, 330, 450):
        d.line((x, 255), (x, 211))
    d.line((330, 173), (330, 74))
    d.line((209, 192), (250, 192), (250, 236), (420, 236), (420, 211))
    d.line((330, 130), (460, 130), (506, 130))
    d.line((479, 192), (520, 192), (520, 144))
    d.line((520, 117), (520, 74))
    d.box(180, 192, "r", kind="gate", letter="r")
    d.box(330, 192, "z", kind="gate", letter="z")
    d.box(450, 192, "n", kind="candidate", letter="n")
    d.box(420, 130, "1 − z", width=54)
    for x, y, sign in ((330, 60, "×"), (520, 60, "+"), (520, 130, "×")):
        d.operation(x, y, sign)
    d.text(20, 48, "h_t−1", anchor="start")
    d.text(640, 48, "h_t", anchor="end")
    d.value(600, 84, "h")
    d.text(20, 244, "x_t,", anchor="start")
    d.text(46, 244, "h_t−1", anchor="start")
    for x, label in ((180, "reset"), (330, "update"), (450, "candidate")):
        d.text(x, 283, label, kind="small")
    return d.svg()


def rnn() -> str:
    """The plain RNN: the state is written anew at every step."""
    d = Drawing(660, 180, "An RNN cell: input and old state are added and go through tanh")
    d.line((20, 90), (180, 90), kind="state")
    d.line((206, 90), (300, 90))
    d.line((193, 160), (193, 104))
    d.line((358, 90), (640, 90), kind="state")
    d.operation(193, 90, "+")
    d.box(329, 90, "n", kind="candidate", letter="n")
    d.text(20, 78, "h_t−1", anchor="start")
    d.text(205, 172, "x_t", anchor="start")
    d.text(329, 134, "tanh", kind="small")
    d.text(640, 78, "h_t", anchor="end")
    d.value(600, 114, "h")
    return d.svg()


# ---- networks over time


def _row(
    d: Drawing, y: float, labels: Sequence[str], *, kind: str = "gate", back: bool = False
) -> list[float]:
    """Boxes side by side, each passing its state on to the next, or to the one before."""
    places = [70.0 + _STEP * step for step in range(len(labels))]
    for x, label in zip(places, labels, strict=True):
        d.box(x, y, label, kind=kind)
    for x in places[:-1]:
        ends = ((x + _STEP - 29, y), (x + 29, y)) if back else ((x + 29, y), (x + _STEP - 29, y))
        d.line(*ends, kind="state")
    return places


def _inputs(d: Drawing, places: Sequence[float], labels: Sequence[str], bottom: float, top: float) -> None:
    for x, label in zip(places, labels, strict=True):
        d.line((x, bottom), (x, top))
        d.text(x, bottom + 16, label)


def unrolled() -> str:
    """A recurrent network over five steps."""
    d = Drawing(
        530, 190, "A recurrent network over time: the same cell at every step passes its state to the next"
    )
    places = _row(d, 95, ["cell"] * 5)
    _inputs(d, places, ["the", "keys", "on", "it", "are"], 160, 115)
    for x in places:
        d.line((x, 76), (x, 34))
    for x, label in zip(places, ["keys", "on", "it", "are", "lost"], strict=True):
        d.text(x, 26, label)
    return d.svg()


def bidirectional() -> str:
    """One layer reads forwards, another backwards."""
    d = Drawing(
        440,
        240,
        "Bidirectional: one row of cells reads forwards, another backwards, and their outputs are joined",
    )
    places = _row(d, 85, ["←"] * 4, kind="candidate", back=True)
    _row(d, 150, ["→"] * 4)
    _inputs(d, places, ["x_1", "x_2", "x_3", "x_4"], 210, 170)
    for x in places:
        d.line((x - 29, 142), (x - 40, 142), (x - 40, 32))
        d.line((x, 66), (x, 32))
        d.line((x, 200), (x + 40, 200), (x + 40, 96), (x + 31, 96))
        d.text(x - 20, 20, "[→ ←]", kind="small")
    return d.svg()


def stacked() -> str:
    """The outputs of one layer are the inputs of the next."""
    d = Drawing(440, 240, "Stacked: the outputs of the first layer are the inputs of the second")
    places = _row(d, 85, ["2nd"] * 4, kind="candidate")
    _row(d, 155, ["1st"] * 4)
    _inputs(d, places, ["x_1", "x_2", "x_3", "x_4"], 212, 175)
    for x in places:
        d.line((x, 136), (x, 105))
        d.line((x, 66), (x, 30))
    return d.svg()


def dropout() -> str:
    """The same units are left out at every step."""
    d = Drawing(
        440, 240, "Dropout: the same units are left out at every step, so that the others keep their memory"
    )
    for step in range(4):
        x = 70 + _STEP * step
        for unit in range(4):
            left_out = unit in (1,)
            d.parts.append(
                f'<circle class="{"out" if left_out else "unit"}" cx="{x}" cy="{50 + 44 * unit}" r="15"/>'
            )
            if left_out:
                d.text(x, 50 + 44 * unit + 5, "0")
            if step < 3 and not left_out:
                d.line((x + 15, 50 + 44 * unit), (x + _STEP - 16, 50 + 44 * unit), kind="state")
        d.text(x, 226, f"t = {step + 1}", kind="small")
    return d.svg()


def padding() -> str:
    """Steps beyond a row's length pass the state on."""
    d = Drawing(440, 240, "Padding and masks: where a row has ended its state is passed on unchanged")
    for row, length in enumerate((4, 2, 3)):
        y = 45 + 62 * row
        for step in range(4):
            x = 70 + _STEP * step
            real = step < length
            d.box(x, y, f"x_{step + 1}" if real else "pad", kind="gate" if real else "padding")
            if step < 3:
                d.line((x + 29, y), (x + _STEP - 29, y), kind="state" if step + 1 < length else "state held")
    d.text(70, 226, "solid: the state changes; dashed: it is held", anchor="start", kind="small")
    return d.svg()


def truncated() -> str:
    """Gradients stop at the chunk's beginning, states do not."""
    d = Drawing(
        440,
        200,
        "Truncated back-propagation: the state goes on from chunk to chunk, the gradient stays inside",
    )
    places = _row(d, 70, ["cell"] * 4)
    _inputs(d, places, [f"x_{step}" for step in range(1, 5)], 130, 90)
    edge = (places[1] + places[2]) / 2
    d.line((edge, 15), (edge, 185), kind="cut", arrow=False)
    for first, last in ((0, 1), (2, 3)):
        d.line((places[last], 170), (places[first], 170), kind="gradient")
        d.text((places[first] + places[last]) / 2, 190, "gradient", kind="small")
    return d.svg()


CELLS = {"lstm": lstm, "gru": gru, "rnn": rnn}
