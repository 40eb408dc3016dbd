"""A campaign as a page: how much routers quote and where, what is changed and where, and how closely it can be located.

The figures are those of the CHANGE project's deliverable on tracebox (section 3.2.3): the share of routers that quote all of a
packet, by distance; changed MSS by vantage point and position; and the error of location (how many hops an interval spans).
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Sequence

from penstock.tracebox.campaign import Campaign

__all__ = ["report_page"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #222; background: #fff }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2rem } table { border-collapse: collapse }
td, th { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top } td.n, th.n { text-align: right }
svg { max-width: 100%; height: auto } .bar { fill: #2a6f97 } .bar2 { fill: #e9a03b }
text { font: 11px system-ui, sans-serif; fill: currentColor }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181a1b } .bar { fill: #61a5c2 } }
"""
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 640, 180, 40, 24


def _bars(values: Sequence[tuple[str, float]], *, unit: str, most: float | None = None) -> str:
    """A bar chart. ``values`` are label and height; the axis goes from 0 to the highest, or to ``most``."""
    if not values:
        return "<p>Nothing measured.</p>"
    top = most or max(v for _, v in values) or 1
    step = (_WIDTH - _LEFT) / len(values)
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + _BOTTOM}" role="img">']
    for share in (0, 0.5, 1):
        y = _HEIGHT - share * (_HEIGHT - 12)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" stroke-opacity=".2"/>'
                     f'<text x="{_LEFT - 4}" y="{y + 4:.1f}" text-anchor="end">{top * share:.3g}</text>')
    for i, (label, value) in enumerate(values):
        height = value / top * (_HEIGHT - 12)
        x = _LEFT + i * step
        parts.append(f'<rect class="bar" x="{x + step * 0.1:.1f}" y="{_HEIGHT - height:.1f}" '
                     f'width="{step * 0.8:.1f}" height="{height:.1f}">'
                     f"<title>{html.escape(label)}: {value:.4g} {unit}</title></rect>"
                     f'<text x="{x + step / 2:.1f}" y="{_HEIGHT + 16}" text-anchor="middle">{html.escape(label)}</text>')
    return "".join(parts) + "</svg>"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    def cell(value: object, tag: str) -> str:
        number = ' class="n"' if isinstance(value, (int, float)) else ""
        return f"<{tag}{number}>{html.escape(f'{value:.3g}' if isinstance(value, float) else str(value))}</{tag}>"

    body = "".join("<tr>" + "".join(cell(v, "td") for v in row) + "</tr>" for row in rows)
    return f"<table><tr>{''.join(cell(h, 'th') for h in head)}</tr>{body}</table>"


def report_page(campaigns: Sequence[Campaign]) -> str:
    """The page, whole and self-contained: it loads nothing from anywhere."""
    overview, by_ttl, error, positions = [], Counter[int](), Counter[int](), Counter[int]()
    full_by_ttl: Counter[int] = Counter()
    kinds: Counter[tuple[str, str, str]] = Counter()
    routers: dict[str, bool] = {}
    mss_rows = []
    for campaign in campaigns:
        done, total, failed = campaign.counts()
        reached = campaign.query("SELECT COUNT(*), AVG(length), AVG(duration_s) FROM path WHERE reached")[0]
        overview.append((campaign.vantage, campaign.probe, total, done, failed, reached[0], float(reached[1] or 0), float(reached[2] or 0)))
        for ttl, address, quoted, size in campaign.query(
                "SELECT ttl, address, quoted_bytes, packet_bytes FROM hop WHERE quoted_bytes IS NOT NULL AND kind = 'router'"):
            is_full = quoted >= size
            by_ttl[ttl] += 1
            full_by_ttl[ttl] += is_full
            routers[address] = routers.get(address, False) or is_full
        for kind, field, after_hop, by_hop, count in campaign.query(
                "SELECT kind, field, after_hop, by_hop, COUNT(*) FROM finding GROUP BY kind, field, after_hop, by_hop"):
            kinds[campaign.vantage, kind, field] += count
            error[by_hop - after_hop] += count
            positions[by_hop] += count
        changed = campaign.query("SELECT COUNT(DISTINCT name) FROM finding WHERE field = 'TCPOptionMaxSegSize::MaxSegSize'")[0][0]
        where = campaign.query("SELECT AVG(by_hop * 1.0 / length) FROM finding JOIN path USING (name) "
                               "WHERE field = 'TCPOptionMaxSegSize::MaxSegSize' AND length > 0")[0][0]
        measured = max(campaign.query("SELECT COUNT(*) FROM path")[0][0], 1)
        mss_rows.append((campaign.vantage, changed, 100 * changed / measured, float(where) if where is not None else "–"))
    full = sum(routers.values())
    share = 100 * full / len(routers) if routers else 0.0
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>",
        f"<title>Tracebox campaign</title><style>{_STYLE}</style><h1>Middleboxes on {sum(o[3] for o in overview):,} paths</h1>",
        _table(("vantage point", "probe", "destinations", "done", "failed", "reached", "hops (mean)", "seconds (mean)"), overview),
        "<h2>Routers that quote all of a packet</h2>",
        f"<p>{full:,} of {len(routers):,} routers ({share:.1f} %). By distance, percent of quotes:</p>",
        _bars([(str(t), 100 * full_by_ttl[t] / by_ttl[t]) for t in sorted(by_ttl)], unit="%", most=100),
        "<h2>What is changed</h2>",
        _table(("vantage point", "kind", "field", "paths"), [(*key, count) for key, count in kinds.most_common()]) if kinds
        else "<p>No path changes the probe.</p>",
        "<h2>Where: first hop that shows the change</h2>", _bars([(str(t), positions[t]) for t in sorted(positions)], unit="findings"),
        "<h2>Changed MSS by vantage point</h2>",
        _table(("vantage point", "paths", "percent", "position (0 here, 1 there)"), mss_rows),
        "<h2>Error of location</h2><p>How many hops the interval spans that a change lies in; 1 is exact.</p>",
        _bars([(str(t), error[t]) for t in sorted(error)], unit="findings"),
    ]
    return "\n".join(parts) + "\n"
