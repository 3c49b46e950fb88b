"""Makes of a folder's records (*.jsonl) the form that bench/gpu/compare.py reads: records.py FOLDER > FILE.

Losses, test losses and predictions count; accuracies do not, which jump where two outputs are nearly the same.
"""
import json
import pathlib
import sys

cases = {}
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.jsonl")):
    found = cases.setdefault(path.stem, {})
    for line in path.read_text().splitlines():
        row = json.loads(line)
        if row["type"] == "train":
            found.setdefault("train_loss", []).append(row["loss"])
        if row["type"] == "probe" and isinstance(row["values"], dict):
            for name, value in row["values"].items():
                if "loss" in name or "prediction" in name:
                    found.setdefault(name, []).append(value)
json.dump({"dtype": pathlib.Path(sys.argv[1]).name, "cases": cases}, sys.stdout)
