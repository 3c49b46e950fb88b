"""What is inside of networks, from numpy, scipy and PyTorch: densities, kernels, attention maps, spectra.

python representations.py --seed 8 --out representations
"""

import argparse
import itertools
import math

import numpy as np
import scipy
import torch
from scipy import integrate, optimize, spatial, special, stats

import architectures
from common import array, labels, repeatable, save, versions
from metrics import plain


def samples(rng, tensors):
    """Pairs of samples, with both distances; exact p-values, but for `large` where the limit is taken."""
    pairs = {
        "equal": (rng.standard_normal(30), 0.4 + rng.standard_normal(30)),
        "unequal": (rng.standard_normal(17), 1.3 * rng.standard_normal(41) - 0.2),
        "one": (rng.standard_normal(1), rng.standard_normal(9)),
        "far": (rng.standard_normal(60), 3 + rng.standard_normal(50)),
        "large": (rng.standard_normal(1100), 0.07 + rng.standard_normal(1000)),
    }
    cases = []
    for name, (a, b) in pairs.items():
        tensors |= {f"samples.{name}.a": array(a), f"samples.{name}.b": array(b)}
        exact = len(a) * len(b) <= 1_000_000
        test = stats.ks_2samp(a, b, method="exact" if exact else "asymp")
        # scipy's own limit is that of one sample of a finite size
        root = math.sqrt(len(a) * len(b) / (len(a) + len(b)))
        p = test.pvalue if exact else special.kolmogorov(test.statistic * root)
        cases.append({"name": name, "wasserstein": stats.wasserstein_distance(a, b),
                      "statistic": test.statistic, "p_value": p})
    return cases


def densities(rng, tensors):
    a, b = rng.standard_normal((3, 4, 6)), 0.2 + 1.1 * rng.standard_normal((2, 4, 9))
    w1 = lambda x, y: stats.wasserstein_distance(x.ravel(), y.ravel())
    ks = lambda x, y: stats.ks_2samp(x.ravel(), y.ravel()).statistic
    table = lambda f, x, y: array([[f(p, q) for q in y] for p in x])
    tensors |= {"densities.a": a, "densities.b": b,
                "densities.wasserstein": table(w1, a, b), "densities.statistic": table(ks, a, b),
                "densities.floor": table(w1, a, a), "densities.reference_floor": table(ks, b, b)}
    return {"pooled": [w1(a, b), ks(a, b)]}


def moments(rng, tensors):
    x = rng.gamma(2.0, size=(3, 5, 7)) - 1.5
    flat = x.reshape(3, -1)
    tensors |= {"moments.x": x, "moments.mean": flat.mean(1), "moments.variance": flat.var(1),
                "moments.skewness": stats.skew(flat, axis=1), "moments.kurtosis": stats.kurtosis(flat, axis=1, fisher=False)}


def biased_hsic(k, l):
    n = len(k)
    h = np.eye(n) - 1 / n
    return np.trace(k @ h @ l @ h) / (n - 1) ** 2


def unbiased_hsic(k, l):
    """Song et al. 2012, equation 5."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))
    one = np.ones(n)
    return (np.trace(k @ l) + k.sum() * l.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * one @ k @ l @ one) / (n * (n - 3))


def hsic_by_tuples(k, l):
    """The definition of the unbiased estimate: means over tuples of different points (Song et al., theorem 2)."""
    n = len(k)
    mean = lambda size, f: np.mean([f(*t) for t in itertools.permutations(range(n), size)])
    return (mean(2, lambda i, j: k[i, j] * l[i, j]) + mean(4, lambda i, j, q, r: k[i, j] * l[q, r])
            - 2 * mean(3, lambda i, j, q: k[i, j] * l[i, q]))


def cka(k, l, hsic):
    return hsic(k, l) / math.sqrt(hsic(k, k) * hsic(l, l))


def kernels(rng, tensors, document):
    points, common = 11, rng.standard_normal((11, 3))
    of_width = lambda members, width: np.maximum(
        common @ rng.standard_normal((members, 3, width)) + 0.4 * rng.standard_normal((members, points, width)), 0)
    features, others = of_width(3, 6), of_width(2, 10)
    gram = lambda x: x @ x.swapaxes(-1, -2) / x.shape[-1]
    a, b = gram(features), gram(others)
    h = np.eye(points) - 1 / points
    cosine = lambda k, l: (k * l).sum() / np.linalg.norm(k) / np.linalg.norm(l)
    table = lambda f, x, y: array([[f(k, l) for l in y] for k in x])
    few = (a[0][:6, :6], b[0][:6, :6])
    assert np.isclose(unbiased_hsic(*few), hsic_by_tuples(*few), rtol=1e-12), "the estimate is not that of its definition"
    classes = rng.integers(0, 3, points)
    values = common @ rng.standard_normal((3, 2)) + 0.3
    size = 5
    batches = [slice(i, i + size) for i in range(0, points - size + 1, size)]

    def over_batches(x, y):
        total = lambda p, q: sum(unbiased_hsic(gram(p[s]), gram(q[s])) for s in batches)
        return total(x, y) / math.sqrt(total(x, x) * total(y, y))

    tensors |= {"kernels." + name: value for name, value in {
        "features": features, "other_features": others, "a": a, "b": b, "a_centred": h @ a @ h,
        "alignment": table(cosine, a, b), "cka": table(lambda k, l: cka(k, l, biased_hsic), a, b),
        "cka_debiased": table(lambda k, l: cka(k, l, unbiased_hsic), a, b),
        "cka_within": table(lambda k, l: cka(k, l, biased_hsic), a, a),
        "minibatch_cka": table(over_batches, features, others),
        "classes": labels(classes), "values": values}.items()}
    document["hsic"] = {"biased": [biased_hsic(a[0], b[0]), biased_hsic(a[0], a[0])],
                        "unbiased": [unbiased_hsic(a[0], b[0]), unbiased_hsic(a[0], a[0])]}
    document["minibatch_cka"] = {"minibatch": size, "minibatches": len(batches), "left_out": points % size}
    targets = {"classes": np.eye(3)[classes], "values": values}
    found = {}
    for name, y in targets.items():
        ideal = y @ y.T
        found[name] = [cosine(k, ideal) for k in a]
        found[name + "_centred"] = [cosine(h @ k @ h, h @ ideal @ h) for k in a]
    document["kernel_target_alignment"] = found


def attention_maps(rng, tensors):
    """Transformers of `architectures.py` whose attention is written out, with its probabilities."""
    maps = []

    def attention(x, heads, causal, scale):
        q, k, v = (p.transpose(1, 2) for p in x.view(*x.shape[:2], 3, heads, -1).unbind(2))
        scores = q @ k.transpose(-1, -2) * (scale or 1 / math.sqrt(q.shape[-1]))
        if causal:
            hidden = torch.triu(torch.ones(scores.shape[-2:], dtype=torch.bool), 1)
            scores = scores.masked_fill(hidden, -math.inf)
        maps.append(scores.softmax(-1))
        y = (maps[-1] @ v).transpose(1, 2).reshape(*x.shape[:2], -1)
        assert torch.allclose(y, whole(x, heads, causal, scale), rtol=1e-12, atol=1e-12)
        return y

    whole, architectures.attention = architectures.attention, attention
    base = architectures.GPT2
    cases = {
        "learned": (architectures.transformer, base | architectures.TOKENS),
        "rope": (architectures.transformer, base | architectures.TOKENS | dict(
            heads=2, activation="silu", bias=False, norm="rms", positions="rope", qk_norm=True, scale="1/d")),
        "vit": (architectures.vit, base | architectures.IMAGE | dict(patch=(4, 4), pool="class_token", activation="gelu")),
    }
    for name, (network, settings) in cases.items():
        p = architectures.Params(rng)
        maps.clear()
        x = torch.from_numpy(rng.standard_normal((2, 3, 8, 12)) if name == "vit" else rng.integers(0, settings["vocab"], (2, 5)))
        network(p, x, **settings)
        tensors[f"attention.{name}.x"] = array(x.double())
        tensors |= {f"attention.{name}.params.{path}": array(value) for path, value in p.all.items()}
        tensors |= {f"attention.{name}.maps.{i}": array(m) for i, m in enumerate(maps)}
    architectures.attention = whole


def distances(rng, tensors):
    a, b = (special.softmax(1.5 * rng.standard_normal((members, 2, 3, 4, 4)), axis=-1) for members in (2, 3))
    a[0, 0, 0] = np.tril(np.ones((4, 4))) / np.arange(1, 5)[:, None]  # rows with zeros
    rows = lambda x, y: spatial.distance.jensenshannon(x, y, axis=-1).mean()

    def matched(x, y):
        costs = np.array([[rows(x[:, i], y[:, j]) for j in range(3)] for i in range(3)])
        order = optimize.linear_sum_assignment(costs)
        return costs[order].mean(), order[1]

    pairs = [[matched(x, y) for y in b] for x in a]
    tensors |= {"maps.a": a, "maps.b": b,
                "maps.matched": array([[p[0] for p in row] for row in pairs]),
                "maps.heads": array([[p[1] for p in row] for row in pairs]),
                "maps.averaged": array([[rows(x.mean(1), y.mean(1)) for y in b] for x in a]),
                "maps.entropy": stats.entropy(a, axis=-1).mean((1, 3))}


def assignments(rng, tensors):
    found = {}
    for name, shape in {"square": (9, 9), "wide": (5, 12)}.items():
        costs = rng.standard_normal(shape)
        tensors[f"assignment.{name}"] = costs
        found[name] = optimize.linear_sum_assignment(costs)[1].tolist()
    return found


def spectra(rng, tensors):
    x = rng.standard_normal((2, 6, 3, 4)) + 0.5
    forms = {"plain": x.reshape(2, 6, 12), "rows": x.reshape(2, 18, 4)}
    forms["centred"] = forms["plain"] - forms["plain"].mean(1, keepdims=True)
    tensors["spectra.x"] = x
    for name, matrix in forms.items():
        s = np.linalg.svd(matrix, compute_uv=False)
        p = s / s.sum(1, keepdims=True)
        tensors |= {f"spectra.{name}.singular_values": s,
                    f"spectra.{name}.effective_rank": np.exp(special.entr(p).sum(1)),
                    f"spectra.{name}.stable_rank": np.linalg.norm(matrix, axis=(1, 2)) ** 2 / np.linalg.norm(matrix, 2, axis=(1, 2)) ** 2,
                    f"spectra.{name}.participation_ratio": (s**2).sum(1) ** 2 / (s**4).sum(1)}


def marchenko_pastur_median(ratio):
    low, high = (1 - math.sqrt(ratio)) ** 2, (1 + math.sqrt(ratio)) ** 2
    density = lambda x: math.sqrt((high - x) * (x - low)) / (2 * math.pi * ratio * x)
    share = lambda x: integrate.quad(density, x, high, epsabs=1e-12, epsrel=1e-12, limit=200)[0]
    return optimize.brentq(lambda x: share(x) - 0.5, low + 1e-3, high - 1e-9, xtol=1e-13)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--out", default="representations")
    args = parser.parse_args()
    rng = repeatable(args.seed)
    tensors = {}
    document = {"source": "numpy, scipy, torch", "versions": versions(scipy, torch), "settings": {"seed": args.seed}}
    document["samples"] = samples(rng, tensors)
    lambdas = [0.15, 0.3, 0.7, 1.0, 1.5, 3.0]
    document["kolmogorov"] = {"lambda": lambdas, "p_value": special.kolmogorov(lambdas).tolist()}
    document["densities"] = densities(rng, tensors)
    moments(rng, tensors)
    kernels(rng, tensors, document)
    attention_maps(rng, tensors)
    distances(rng, tensors)
    document["assignment"] = assignments(rng, tensors)
    spectra(rng, tensors)
    ratios = [0.02, 0.25, 0.5, 0.9, 1.0]
    document["marchenko_pastur"] = {"ratio": ratios, "median": [marchenko_pastur_median(r) for r in ratios]}
    save(args.out, plain(document), {name: array(x) if x.dtype != np.uint32 else x for name, x in tensors.items()})


if __name__ == "__main__":
    main()
