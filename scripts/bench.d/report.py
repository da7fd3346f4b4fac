# SPDX-License-Identifier: GPL-2.0
"""What comes out of a run: tables, the plot, and whether it got worse."""

import json
import os

import plot
from common import ROWS, Failure, say

TABLE = "build/bench.md"
JSON = {"svm": "build/bench.json", "vmx": "build/bench-vmx.json"}
PLOTS = {"svm": "build/bench.png", "vmx": "build/bench-vmx.png"}
HEADS = {
    "svm": "On SVM, against kvm-amd (QEMU's clock counts instructions):",
    "vmx": "On VT-x, against kvm-intel (in ticks of Bochs, about an instruction each):",
}
BASELINE = "selftests/bench.baseline"
README = "README.md"
BEGIN, END = "<!-- bench: begin -->\n", "<!-- bench: end -->\n"
WORSE = 1.10


def load(path, make):
    try:
        with open(path, encoding="utf-8") as f:
            return f.read()
    except FileNotFoundError:
        raise Failure("wanted %s, found none; run '%s' first" % (path, make)) from None


def store(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def join(figures):
    """The rows of which we have a figure, in the order of ROWS. The peer may have none,
    as its guests hang at times: then it and the ratio are None."""
    ours, peer = figures["ours"], figures["peer"]
    return [{"name": name, "unit": row.unit, "ours": ours[name], "peer": peer.get(name),
             "ratio": round(ours[name] / peer[name], 4) if name in peer else None}
            for name, row in ROWS.items() if name in ours]


def missed(r):
    row = ROWS[r["name"]]
    return bool(row.ratio and r["ratio"] and r["ratio"] > row.ratio or
                row.most and r["ours"] > row.most)


def wanted(row):
    if row.ratio:
        return "ratio <= %g" % row.ratio
    return "<= %g" % row.most if row.most else ""


def table(rows):
    yield "| name | what | unit | vmm | KVM + QEMU | ratio | wanted |"
    yield "|---|---|---|---|---|---|---|"
    for r in rows:
        row = ROWS[r["name"]]
        peer, ratio = ("hung", "") if r["ratio"] is None else (r["peer"], "%.2f" % r["ratio"])
        yield "| %s | %s | %s | %s | %s | %s | %s%s |" % (
            r["name"], row.title, r["unit"], r["ours"], peer, ratio, wanted(row),
            " (missed)" if missed(r) else "")


def write(tables):
    """tables: {lab: rows}."""
    text = ""
    for lab, rows in tables.items():
        store(JSON[lab], json.dumps(rows, indent=1) + "\n")
        text += HEADS[lab] + "\n\n" + "\n".join(table(rows)) + "\n\n"
        with open(PLOTS[lab], "wb") as f:
            f.write(plot.draw(
                [(r["name"], r["ratio"], ROWS[r["name"]].ratio, missed(r)) for r in rows
                 if r["ratio"] is not None],
                "%s: vmm / KVM + QEMU; shorter is better; black mark: wanted" % lab.upper()))
        say("wrote %s and %s" % (JSON[lab], PLOTS[lab]))
    store(TABLE, text)
    print(text, end="")


def key(lab, name):
    """Of a row in the baseline."""
    return name if lab == "svm" else lab + "/" + name


def read_baseline():
    lines = load(BASELINE, "scripts/bench --baseline").splitlines()
    return {name: float(ratio) for name, ratio in map(str.split, lines)}


def judge(tables, wanted):
    """The exit status: has a ratio got worse than the baseline's?"""
    baseline = read_baseline()
    status = 0
    found = {key(lab, r["name"]): r["ratio"] for lab, rows in tables.items() for r in rows}
    for name in [key(lab, name) for lab, names in wanted.items() for name in names]:
        if name not in baseline:
            say("%s is not in %s" % (name, BASELINE))
        elif name not in found:
            say("%s: no figure" % name)
            status = 1
        elif found[name] is None:
            say("%s: none of the peer's to compare with" % name)
        elif found[name] > baseline[name] * WORSE:
            say("%s got worse: ratio %.4f, in %s %.4f" % (
                name, found[name], BASELINE, baseline[name]))
            status = 1
    return status


def write_baseline():
    """The last run's rows; those that it had not stay as they were."""
    baseline = read_baseline() if os.path.exists(BASELINE) else {}
    for lab, path in JSON.items():
        if lab == "svm" or os.path.exists(path):
            for r in json.loads(load(path, "make bench")):
                if r["ratio"] is not None:
                    baseline[key(lab, r["name"])] = r["ratio"]
    store(BASELINE, "".join("%s %.4f\n" % line for line in baseline.items()))
    say("wrote " + BASELINE)


def write_readme():
    text, lines = load(README, ""), load(TABLE, "make bench")
    if BEGIN not in text or END not in text:
        raise Failure("wanted the marks of the table in %s, found none" % README)
    before, rest = text.split(BEGIN)
    store(README, before + BEGIN + lines.rstrip("\n") + "\n" + END + rest.split(END)[1])
    say("wrote " + README)
