#!/usr/bin/env python3
"""soak_plot.py: draws what mote_soak wrote, second by second, as one SVG: latencies, throughput, space, memory, segments and writes. Standard library only.

    soak_plot.py soak.csv [soak.svg]
"""
import csv
import math
import sys

WIDTH, HEIGHT, LEFT, TOP, GAP = 1000, 150, 70, 34, 34
COLOURS = ("#1b6ca8", "#d1495b", "#edae49", "#3a7d44", "#6a4c93")
PANELS = (
    ("commit latency, us (logarithmic)", True, ("commit_p50_us", "commit_p99_us", "commit_p999_us", "commit_max_us")),
    ("rows a second", False, ("rows_per_s",)),
    ("reads: latency, us (logarithmic)", True, ("read_p50_us", "read_max_us")),
    ("space used, %", False, ("space_percent",)),
    ("memory, MiB", False, ("rss_mib", "memory_mib")),
    ("log in use, MiB", False, ("log_mib",)),
    ("segments", False, ("segments",)),
    ("bytes written for each byte appended", False, ("written_per_raw", "written_per_raw_total")),
    ("writers held up, ms in each second", False, ("stall_ms",)),
)


def scale(value, least, most, logarithmic):
    if logarithmic:
        value, least, most = (math.log10(max(v, 1)) for v in (value, least, most))
    return 0.5 if most <= least else (value - least) / (most - least)


def ticks(least, most, logarithmic):
    if logarithmic:
        return [10**e for e in range(int(math.log10(max(least, 1))), int(math.log10(max(most, 1))) + 1)]
    return [least + (most - least) * i / 4 for i in range(5)]


def panel(rows, title, logarithmic, names, top):
    seconds = [float(row["seconds"]) for row in rows]
    series = [[float(row[name]) for row in rows] for name in names]
    most = max(max(values) for values in series) or 1
    positive = [v for values in series for v in values if v > 0]
    least = min(positive) if logarithmic and positive else 0
    end = max(seconds) or 1
    x = lambda second: LEFT + second / end * WIDTH
    y = lambda value: top + HEIGHT - scale(value, least, most, logarithmic) * HEIGHT
    out = [f'<text x="{LEFT}" y="{top - 8}" font-weight="bold">{title}</text>']
    begin = 0.0
    for row, second in zip(rows, seconds):  # unpaced seconds are shaded
        if row["phase"] == "1":
            out.append(f'<rect x="{x(begin):.1f}" y="{top}" width="{x(second) - x(begin):.2f}" height="{HEIGHT}" fill="#f1f1f1"/>')
        begin = second
    for tick in ticks(least, most, logarithmic):
        if least <= tick <= most or not logarithmic:
            out.append(f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#cccccc"/>')
            out.append(f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.4g}</text>')
    for i, (name, values) in enumerate(zip(names, series)):
        points = " ".join(f"{x(s):.1f},{y(max(v, least)):.1f}" for s, v in zip(seconds, values))
        out.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[i]}" stroke-width="1.2"/>')
        out.append(f'<text x="{LEFT + WIDTH - 160 * (len(names) - 1 - i)}" y="{top - 8}" text-anchor="end" fill="{COLOURS[i]}">{name}</text>')
    out.append(f'<text x="{LEFT + WIDTH}" y="{top + HEIGHT + 14}" text-anchor="end">{end:.0f} s</text>')
    return out


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    with open(sys.argv[1], newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        sys.exit(f"{sys.argv[1]} has no lines")
    height = TOP + len(PANELS) * (HEIGHT + GAP)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 20}" height="{height}" font-family="sans-serif" font-size="11">', '<rect width="100%" height="100%" fill="white"/>']
    for i, (title, logarithmic, names) in enumerate(PANELS):
        out += panel(rows, title, logarithmic, names, TOP + i * (HEIGHT + GAP))
    out.append("</svg>")
    with open(sys.argv[2] if len(sys.argv) == 3 else sys.argv[1].rsplit(".", 1)[0] + ".svg", "w") as file:
        file.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
