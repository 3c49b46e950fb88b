"""Near-minimax coefficients of the elementary functions in src/tensor/math/coefficients.rs.

python minimax.py          (needs mpmath; prints the tables and the error of each approximation)

Polynomials and rational functions by Remez' exchange algorithm in 60 digits, then rounded to the
type. Errors printed are those of the exact approximation, relative to the function approximated.
"""

import struct

from mpmath import atanh, cos, erf, erfc, exp, expm1, log, lu_solve, matrix, mp, mpf, nstr, pi, sqrt

mp.dps = 60
GRID = 12  # points between two nodes where the error is looked at


def chebyshev(a, b, n):
    return [(a + b) / 2 - (b - a) / 2 * cos(pi * i / (n - 1)) for i in range(n)]


def evaluate(coefficients, x):
    return sum(c * x**j for j, c in enumerate(coefficients))


def solve(f, weight, points, n, m):
    """p (degree n) and q (degree m, q(0) = 1) whose weighted error levels out on the points."""
    size = n + m + 2
    values, weights = [f(x) for x in points], [weight(x) for x in points]
    p, q, level = None, [mpf(1)] + [mpf(0)] * m, mpf(0)
    for _ in range(30):
        a, b = matrix(size, size), matrix(size, 1)
        for i, x in enumerate(points):
            sign = (-1) ** i / weights[i]
            target, denominator = values[i] + sign * level, evaluate(q, x)
            for j in range(n + 1):
                a[i, j] = x**j
            for j in range(1, m + 1):
                a[i, n + j] = -target * x**j
            a[i, size - 1] = -sign * denominator
            b[i] = target - sign * level * denominator
        s = lu_solve(a, b)
        p, q = [s[j] for j in range(n + 1)], [mpf(1)] + [s[n + j] for j in range(1, m + 1)]
        before, level = level, s[size - 1]
        if abs(level - before) <= abs(level) * mpf(10) ** -8:
            break
    return p, q


def extrema(points, errors, wanted):
    """The `wanted` largest extrema of the error whose signs alternate, or None."""
    found = []
    for x, e in zip(points, errors):
        if found and (found[-1][1] > 0) == (e > 0):
            if abs(e) > abs(found[-1][1]):
                found[-1] = (x, e)
        else:
            found.append((x, e))
    while len(found) > wanted:
        k = min(range(len(found)), key=lambda i: abs(found[i][1]))
        if len(found) == wanted + 1 or k in (0, len(found) - 1):
            found.pop(0 if abs(found[0][1]) < abs(found[-1][1]) else -1)
        else:
            found.pop(k)
            found.pop(k - 1 if abs(found[k - 1][1]) < abs(found[k][1]) else k)
    return [x for x, _ in found] if len(found) == wanted else None


def remez(f, a, b, n, m=0, weight=lambda x: 1):
    """p/q with degrees n, m that minimises the largest |weight · (p/q − f)| on [a, b]."""
    a, b, size = mpf(a), mpf(b), n + m + 2
    points = chebyshev(a, b, size)
    grid = chebyshev(a, b, GRID * size)
    for _ in range(20):
        p, q = solve(f, weight, points, n, m)
        errors = [weight(x) * (evaluate(p, x) / evaluate(q, x) - f(x)) for x in grid]
        points = extrema(grid, errors, size)
        if points is None or max(map(abs, errors)) < 1.01 * min(weight(x) * abs(evaluate(p, x) / evaluate(q, x) - f(x)) for x in points):
            break
    return p, q, max(map(abs, errors))


def show(kind, name, coefficients, error):
    rounded = [struct.unpack("f", struct.pack("f", c))[0] if kind == "f32" else float(c) for c in coefficients]
    digits = (lambda c: f"{c:.9g}") if kind == "f32" else repr
    print(f"{kind} {name}: {', '.join(map(digits, rounded))}    error {nstr(error, 3)}")


def exp_rest(r):
    return (expm1(r) - r) / r**2 if abs(r) > mpf(10) ** -20 else mpf(1) / 2


def ln_rest(u):
    return (2 * atanh(sqrt(u)) / sqrt(u) - 2) / u if u > mpf(10) ** -25 else mpf(2) / 3


def erf_ratio(u):
    return erf(sqrt(u)) / sqrt(u) if u > 0 else 2 / sqrt(pi)


def erfcx(x):
    return exp(x * x) * erfc(x)


half = log(2) / 2 * mpf("1.0001")
s = (sqrt(mpf(2)) - 1) / (sqrt(mpf(2)) + 1)
for kind, degree in [("f32", 4), ("f64", 9)]:
    p, _, e = remez(exp_rest, -half, half, degree, weight=lambda r: r / expm1(r) if r != 0 else mpf(1))
    show(kind, "EXP", p, e)
for kind, degree in [("f32", 2), ("f64", 6)]:
    p, _, e = remez(ln_rest, 0, s**2 * mpf("1.0001"), degree, weight=lambda u: u / 2 + mpf("1e-12"))
    show(kind, "LN", p, e)
for kind, degree in [("f32", 5), ("f64", 10)]:
    p, _, e = remez(erf_ratio, 0, mpf("0.8") ** 2, degree, weight=lambda u: 1 / erf_ratio(u))
    show(kind, "ERF", [p[0] - 1] + p[1:], e)
for kind, degree, last in [("f32", 4, "10.3"), ("f64", 10, "27.5")]:
    p, q, e = remez(erfcx, 0, last, degree, degree + 1, weight=lambda x: 1 / erfcx(x))
    show(kind, "ERFCX_NUMERATOR", p, e)
    show(kind, "ERFCX_DENOMINATOR", q, e)
