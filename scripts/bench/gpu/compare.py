"""Compares two results of correct.rhai number by number; the difference is over 1 + |expected|.

compare.py EXPECTED.json FOUND.json --tolerance 1e-8

Prints a table with the largest difference of each quantity. Exits 1 if one is larger than the tolerance, not a
number, of another shape or missing, and names each of them on stderr.
"""
import argparse
import json
import math
import sys


def numbers(value, place=()):
    """All numbers in nested arrays, with their places."""
    if isinstance(value, list):
        for i, part in enumerate(value):
            yield from numbers(part, place + (i,))
    else:
        yield place, value


def compare(expected, found):
    """The largest difference and its place; infinite where the two cannot be compared."""
    a, b = dict(numbers(expected)), dict(numbers(found))
    if a.keys() != b.keys():
        return math.inf, "shapes differ"
    if not a:
        return math.inf, "empty"
    worst, where = 0.0, ""
    for place, x in a.items():
        y = b[place]
        # JSON has null for what is not finite, and two of them would agree about nothing
        if not isinstance(x, (int, float)) or not isinstance(y, (int, float)):
            return math.inf, f"not finite at {list(place)}: {x} and {y}"
        difference = abs(x - y) / (1 + abs(x))
        if difference > worst:
            worst, where = difference, f"{x:.9g} and {y:.9g} at {list(place)}"
    return worst, where


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("expected")
    parser.add_argument("found")
    parser.add_argument("--tolerance", type=float, required=True)
    # bf16 is compared with f32, which has kernels and curvatures that it does not have
    parser.add_argument("--only-common", action="store_true", help="leave out quantities that FOUND lacks")
    args = parser.parse_args()
    with open(args.expected) as f:
        expected = json.load(f)
    with open(args.found) as f:
        found = json.load(f)

    wrong = []
    print(f"{found['dtype']} against {expected['dtype']}, tolerance {args.tolerance:g} of 1 + |x|")
    print(f"{'case':<14} {'quantity':<16} {'difference':>10}")
    # a case that only one side has is compared too, and found missing
    for case in expected["cases"] | found["cases"]:
        a, b = expected["cases"].get(case, {}), found["cases"].get(case, {})
        for side, values in (("expected", a), ("found", b)):
            if "failure" in values or not values:
                wrong.append(f"{case}: {side}: {values.get('failure', 'missing')}")
                print(f"{case:<14} {side + ' failed':<16}")
        if "failure" in a or "failure" in b:
            continue
        for quantity in a | b:
            if args.only_common and quantity not in b:
                continue
            difference, where = compare(a.get(quantity, []), b.get(quantity, []))
            good = difference <= args.tolerance
            print(f"{case:<14} {quantity:<16} {difference:>10.2e}{'' if good else '  DIFFERS'}")
            if not good:
                wrong.append(f"{case}: {quantity}: {difference:.2e}, {where}")
    if not expected["cases"]:
        wrong.append("there are no cases")
    for line in wrong:
        print(f"differs: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
