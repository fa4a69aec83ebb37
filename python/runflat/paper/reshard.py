"""R20: what resharding gradients takes beside the backward pass."""

from __future__ import annotations

from runflat import _core
from runflat.paper.chart import Curve, PaperChart
from runflat.paper.rows import Row, Verdict
from runflat.scenario_files import load_scenario

_HIDDEN = (6144, 12_288)
_SEQUENCES = (4096, 8192, 16_384)
_NUM_LAYERS = 3
_SYNC_TP = 6
_COLOURS = {6144: "#0072b2", 12_288: "#d55e00"}


def _step(hidden: int, sequence: int, num_layers: int) -> dict[str, float]:
    scenario = load_scenario(
        "ntp-paper-prototype",
        [
            f"model.hidden_size={hidden}",
            f"model.num_attention_heads={hidden // 128}",
            f"model.seq_length={sequence}",
            f"model.num_layers={num_layers}",
        ],
    )
    return _core.replica_step(scenario, tp_size=8, sync_degree=_SYNC_TP, num_microbatches=1)


def overheads(hidden: int, sequence: int) -> tuple[float, float]:
    """Percent of the backward pass: the reshard of all layers, and that of the one layer after
    which no backward is left to hide behind."""
    whole, one = _step(hidden, sequence, _NUM_LAYERS), _step(hidden, sequence, 1)
    return (
        100 * whole["reshard_in_s"] / whole["backward_s"],
        100 * one["reshard_in_s"] / whole["backward_s"],
    )


def reshard_row() -> tuple[Row, PaperChart]:
    points = {(h, s): overheads(h, s) for h in _HIDDEN for s in _SEQUENCES}
    total = max(whole for whole, _ in points.values())
    visible = max(last for _, last in points.values())
    row = Row(
        "R20",
        "backward slowed by the reshard before the sync (Fig. 8)",
        "2 x 8 A100, TP8 beside TP6, hidden 6144 and 12288, sequences of 4K to 16K, 3 layers",
        "<= 4 %, less for longer sequences",
        f"<= {visible:.1f} % where each layer's hides behind the next; {total:.1f} % if none did",
        Verdict.WITHIN if visible <= 4.0 else Verdict.DIFFERS,
        "bytes over NVLink against backward time; the paper's slowdown by sharing SMs and links is "
        "not modelled, nor is its growth with the depth of the cut",
        {"visible": visible, "total": total},
    )
    x = [sequence / 1024 for sequence in _SEQUENCES]
    curves = [
        Curve(
            f"hidden {hidden}, {name}",
            _COLOURS[hidden],
            x,
            [points[hidden, sequence][which] for sequence in _SEQUENCES],
            style,
        )
        for hidden in _HIDDEN
        for which, name, style in ((1, "last layer visible", "o-"), (0, "nothing hidden", "o--"))
    ]
    curves.append(Curve("paper: at most", "#555555", x, [4.0] * len(x), ":"))
    chart = PaperChart(
        "Reshard of gradients, TP 8 beside TP 6 (R20)",
        "sequence length (K tokens)",
        "share of the backward pass (%)",
        curves,
        (),
        (0.0, 1.1 * total),
        x,
    )
    return row, chart
