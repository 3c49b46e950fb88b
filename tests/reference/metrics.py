"""Metrics over members, from numpy and scipy: losses, ensembles, agreement, decompositions, statistics.

python metrics.py --members 5 --other-members 4 --points 23 --classes 7 --seed 3 --out metrics
"""

import argparse

import numpy as np
import scipy
from scipy import optimize, special, stats

from common import array, labels, repeatable, save, versions


def nll(log_probabilities, classes):
    """Cross-entropy per point."""
    return -np.take_along_axis(log_probabilities, np.broadcast_to(classes, log_probabilities.shape[:-1])[..., None], -1)[..., 0]


def accuracy(logits, classes):
    return (logits.argmax(-1) == classes).mean(-1)


def per_set(logits, classes, values):
    """What is measured on one set of logits [members, points, classes]."""
    log_p = special.log_softmax(logits, axis=-1)
    mean_logits = logits.mean(0)
    mean_p = special.softmax(logits, axis=-1).mean(0)
    pbar = special.softmax(mean_logits, axis=-1)
    members = len(logits)

    ce = nll(log_p, classes).mean(-1)
    ce_ensemble = nll(special.log_softmax(mean_logits, axis=-1), classes).mean()
    kl = np.array([stats.entropy(pbar, np.exp(p), axis=-1).mean() for p in log_p])  # KL(pbar || p_e)
    mse = ((logits - values) ** 2).mean((-2, -1))
    mse_ensemble = ((mean_logits - values) ** 2).mean()
    variance = logits.var(0, ddof=1).mean()

    true = np.take_along_axis(logits, np.broadcast_to(classes, logits.shape[:-1])[..., None], -1)[..., 0]
    others = logits.copy()
    np.put_along_axis(others, np.broadcast_to(classes, logits.shape[:-1])[..., None], -np.inf, -1)
    centred = logits - logits.mean(-1, keepdims=True)
    return {
        "cross_entropy": ce.tolist(),
        "mse": mse.tolist(),
        "accuracy": accuracy(logits, classes).tolist(),
        "ensemble": {
            "logits": {"cross_entropy": ce_ensemble, "accuracy": accuracy(mean_logits, classes), "mse": mse_ensemble},
            "probabilities": {
                "cross_entropy": nll(np.log(mean_p), classes).mean(),
                "accuracy": accuracy(mean_p, classes),
            },
        },
        "mse_decomposition": {
            "single": mse.mean(),
            "ensemble": mse_ensemble,
            "variance": variance,
            "ensemble_infinite": mse_ensemble - variance / members,
        },
        "cross_entropy_decomposition": {
            "single": ce.mean(),
            "ensemble": ce_ensemble,
            "variance": kl.mean(),
            "second_order": second_order(logits),
            "per_member_kl": kl.tolist(),
        },
        "true_class_logit": array(true),
        "true_class_logit_centred": array(np.take_along_axis(centred, np.broadcast_to(classes, logits.shape[:-1])[..., None], -1)[..., 0]),
        "margin": array(true - others.max(-1)),
    }


def second_order(logits):
    """(1/2) tr[Cov(z) (diag(pbar) - pbar pbar^T)], with the covariance over these members (1/E)."""
    p = special.softmax(logits.mean(0), axis=-1)
    total = 0.0
    for point in range(logits.shape[1]):
        z = logits[:, point] - logits[:, point].mean(0)
        covariance = z.T @ z / len(z)
        total += 0.5 * np.trace(covariance @ (np.diag(p[point]) - np.outer(p[point], p[point])))
    return total / logits.shape[1]


def agreement(f, reference):
    """Two functions on the same points, each [points, classes]; `reference` is what f is measured against."""
    centre = lambda x: x - x.mean(-1, keepdims=True)
    log_p, log_r = special.log_softmax(f, axis=-1), special.log_softmax(reference, axis=-1)
    return {
        "mean_squared_distance": ((f - reference) ** 2).mean(),
        "relative_squared_distance": ((f - reference) ** 2).sum() / (reference**2).sum(),
        "centred_mean_squared_distance": ((centre(f) - centre(reference)) ** 2).mean(),
        "centred_relative_squared_distance": ((centre(f) - centre(reference)) ** 2).sum() / (centre(reference) ** 2).sum(),
        "correlation": stats.pearsonr(f.ravel(), reference.ravel()).statistic,
        "centred_correlation": stats.pearsonr(centre(f).ravel(), centre(reference).ravel()).statistic,
        "top1_agreement": (f.argmax(-1) == reference.argmax(-1)).mean(),
        "total_variation": 0.5 * np.abs(np.exp(log_p) - np.exp(log_r)).sum(-1).mean(),
        "kl": (np.exp(log_r) * (log_r - log_p)).sum(-1).mean(),  # KL(p_reference || p_f)
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--other-members", type=int, default=4)
    parser.add_argument("--points", type=int, default=23)
    parser.add_argument("--classes", type=int, default=7)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--out", default="metrics")
    args = parser.parse_args()
    rng = repeatable(args.seed)

    shape = (args.points, args.classes)
    function = 2 * rng.standard_normal(shape) + 0.5
    narrow = 0.8 * function + 0.7 * rng.standard_normal((args.members, *shape))
    wide = function + 0.3 * rng.standard_normal((args.other_members, *shape))
    classes = np.where(rng.random(args.points) < 0.7, function.argmax(-1), rng.integers(0, args.classes, args.points))
    values = function + 0.2 * rng.standard_normal(shape)
    tensors = {"narrow": array(narrow), "wide": array(wide), "classes": labels(classes), "values": array(values)}

    document = {"source": "numpy and scipy", "versions": versions(scipy),
                "settings": {k: v for k, v in vars(args).items() if k != "out"}, "sets": {}}
    for name, logits in [("narrow", narrow), ("wide", wide)]:
        found = per_set(logits, classes, values)
        for key in ("true_class_logit", "true_class_logit_centred", "margin"):
            tensors[f"{name}.{key}"] = found.pop(key)
        document["sets"][name] = found

    pairs = [[agreement(f, r) for r in wide] for f in narrow]
    for key in pairs[0][0]:
        tensors[f"pairs.{key}"] = array([[p[key] for p in row] for row in pairs])
    within = [[agreement(f, r) for r in narrow] for f in narrow]
    for key in within[0][0]:
        tensors[f"within.{key}"] = array([[p[key] for p in row] for row in within])
    document["ensemble_means"] = agreement(narrow.mean(0), wide.mean(0))
    variances = [x.var(0, ddof=1).mean() for x in (narrow, wide)]
    distance = ((narrow.mean(0) - wide.mean(0)) ** 2).mean()
    document["squared_bias"] = {
        "distance": distance,
        "variance": variances,
        "value": distance - variances[0] / len(narrow) - variances[1] / len(wide),
    }

    x = np.array([16.0, 32, 64, 128, 256, 512])
    y = 3 * x**-0.9 * np.exp(0.1 * rng.standard_normal(len(x)))
    sample = rng.standard_normal(11)
    fit, log_fit = stats.linregress(x, y), stats.linregress(np.log(x), np.log(y))
    as_dict = lambda r: {"slope": r.slope, "intercept": r.intercept, "correlation": r.rvalue,
                         "slope_error": r.stderr, "intercept_error": r.intercept_stderr}
    levels = [0.0, 0.1, 0.25, 0.5, 0.9, 1.0]
    document["statistics"] = {
        "sample": sample.tolist(),
        "mean": sample.mean(),
        "std": sample.std(ddof=1),
        "standard_error": stats.sem(sample),
        "levels": levels,
        "quantiles": np.quantile(sample, levels).tolist(),
        "x": x.tolist(),
        "y": y.tolist(),
        "correlation": stats.pearsonr(x, y).statistic,
        "linear_fit": as_dict(fit),
        "log_log_fit": as_dict(log_fit),
    }
    document["width_fit"] = width_fit()
    document = plain(document)
    save(args.out, document, tensors)


def width_fit():
    """Fits y = limit + amplitude * n^-exponent by scipy's curve_fit, with and without errors of the values."""
    n = np.array([32.0, 64, 128, 256, 512, 1024])
    noise = np.array([0.8, -1.1, 0.4, 0.9, -0.6, 0.2])
    errors = 0.02 * (32 / n) ** 0.5
    y = 0.4 + 9 * n**-0.8 + errors * noise
    law = lambda n, limit, amplitude, exponent: limit + amplitude * n**-exponent
    inverse = lambda n, limit, amplitude: limit + amplitude / n
    found = {"widths": n.tolist(), "values": y.tolist(), "errors": errors.tolist()}
    for name, model, start in [("free", law, (0.4, 9, 0.8)), ("inverse", inverse, (0.4, 9))]:
        for suffix, sigma in [("", None), ("_with_errors", errors)]:
            best, covariance = optimize.curve_fit(
                model, n, y, p0=start, sigma=sigma, absolute_sigma=sigma is not None, ftol=1e-15, xtol=1e-15, gtol=1e-15
            )
            found[name + suffix] = {"values": best.tolist(), "errors": np.sqrt(np.diag(covariance)).tolist()}
    return found


def plain(value):
    """numpy's numbers as Python's."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value


if __name__ == "__main__":
    main()
