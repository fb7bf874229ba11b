"""A fit ends with the held-out part beside a trivial rival, for sounds, clips and pictures too."""

from __future__ import annotations

from longspan.report.elements import Table
from longspan.tasks.sections import held_out_sections

SCORES = {"wer": 0.2, "accuracy": 0.5}
RIVAL = {"wer": 0.9, "accuracy": 0.25}


def test_the_rival_stands_below_the_model() -> None:
    held_out = {"rows": 40, "scores": SCORES, "rival_scores": RIVAL}
    names = {"wer": "WER", "cer": "CER", "accuracy": "accuracy"}
    (section,) = held_out_sections(held_out, names, "one text", low=("wer",))
    (table,) = section.elements
    assert isinstance(table, Table) and table.emphasis == 0
    assert table.columns == ["", "WER", "accuracy"] and table.best == {"WER": "low", "accuracy": "high"}
    assert table.rows == [["model", 0.2, 0.5], ["one text", 0.9, 0.25]] and table.note.startswith(
        "40 records"
    )


def test_without_a_held_out_part_and_in_older_files_there_is_no_table() -> None:
    assert held_out_sections({}, {"wer": "WER"}, "one text") == []
    assert held_out_sections({"rows": 4, "scores": SCORES}, {"wer": "WER"}, "one text") == []
