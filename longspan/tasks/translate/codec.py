"""The codec of a translator: the metrics of translations and the trivial answer, the source itself."""

from __future__ import annotations

from longspan.metrics import text
from longspan.tasks.pair_codec import PairCodec, TextMetric


class TranslationCodec(PairCodec):
    """Pairs as tokens; scores by BLEU and chrF."""

    def text_metrics(self) -> dict[str, TextMetric]:
        return {
            "bleu": text.bleu,
            "chrf": text.chrf,
            "exact_match": text.exact_match,
            "edit_distance": text.edit_rate,
        }

    def rivals(self, sources: list[str]) -> dict[str, list[str]]:
        return {"copy": sources}
