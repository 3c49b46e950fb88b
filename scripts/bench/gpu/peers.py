"""PyTorch on the works of scripts/bench, on the GPU if there is one: result lines as `widthwise bench --json` has them.

peers.py CASE [--seconds S] [--only VARIANT…] [--deadline T] [--tf32]      peers.py --list

Every variant starts from the same weights; its value (fourth loss, kernel's diagonal, eigenvalue) must agree with
that of the first variant, else its line is an error. Variants that fail, or that would begin after the deadline
(seconds of the epoch), print a line with `error`, which `widthwise bench` leaves out.

eager: as in any tutorial; fused: fused optimizer; compile: torch.compile of the loss, fused optimizer; graph: a
whole step captured by torch.cuda.graph (GPU only); compile_graph: both; cl: channels last, fused.
W2: loop over 16 models, vmap of torch.func over stacked parameters. W5: full (all Jacobians at once), perout (one
output at a time), structured (contraction by hand, MLP only). W6: double backward, fwdrev (forward over reverse).
BF16, RESNET, GPT: parameters in f32, computed in bf16 by torch.autocast; chip: a product of two bf16 matrices of 8,192
rows, in steps of the MLP of as many operations. MEMBERS: W2 of more members.
Data stay on the device, batches of a step are views or, for graphs, one copy on the device.
"""
import argparse
import json
import os
import resource
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, grad_and_value, jacrev, jvp, stack_module_state, vmap

from models import Decoder, ResNet18, mlp, token_loss

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
# sizes for trying out on a CPU, as `large=small` in large.rhai
SMALL = "--small" in sys.argv


def sync():
    if CUDA:
        torch.cuda.synchronize()


# --- Steps -------------------------------------------------------------------------------------------
# A work is a function of the variant that gives `step(i)`, which returns a value that variants are
# compared by.

def compiled(function, variant):
    return torch.compile(function, dynamic=False) if "compile" in variant else function


def captured(step, xs, ys, state):
    """`step` on fixed buffers as one CUDA graph; the state is put back to what it was before warming up."""
    x, y = xs[0].clone(), ys[0].clone()
    before = [t.detach().clone() for t in state()]
    known = len(before)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step(x, y)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        value = step(x, y)
    with torch.no_grad():
        for i, t in enumerate(state()):
            # what the optimizer made while warming up (momentum, step) begins at 0
            t.copy_(before[i]) if i < known else t.zero_()

    def replay(i):
        x.copy_(xs[i % len(xs)])
        y.copy_(ys[i % len(ys)])
        graph.replay()
        return value

    return replay


def in_bf16(function):
    """The function with products in bf16; without autocast's cache, which a captured graph cannot have."""
    if SMALL:
        return function

    def run(*args):
        with torch.autocast(DEVICE.type, torch.bfloat16, cache_enabled=False):
            return function(*args)

    return run


def training(variant, models, losses, optimizers, xs, ys):
    """Steps of some models one after the other on the same batches."""
    def step(x, y):
        values = []
        for loss_of, optimizer in zip(losses, optimizers):
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(x, y)
            loss.backward()
            optimizer.step()
            values.append(loss.detach())
        return torch.stack(values).sum()

    if "graph" not in variant:
        return lambda i: step(xs[i % len(xs)], ys[i % len(ys)])

    def state():
        kept = [p for m in models for p in m.parameters()]
        for optimizer in optimizers:
            kept += [t for s in optimizer.state.values() for t in s.values() if torch.is_tensor(t)]
        return kept

    return captured(step, xs, ys, state)


def fused(variant):
    return {} if variant in ("eager", "loop") else {"fused": True}


def vectors(batches=32, size=128):
    return ([torch.randn(size, 3072, device=DEVICE) for _ in range(batches)],
            [torch.randint(0, 10, (size,), device=DEVICE) for _ in range(batches)])


def w1(variant, width):
    xs, ys = vectors()
    model = mlp(width).to(DEVICE)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, **fused(variant))
    loss = compiled(lambda x, y: F.cross_entropy(model(x), y), variant)
    return training(variant, [model], [loss], [optimizer], xs, ys)


def w2(variant, width):
    return members(variant, width, [0.002 * 1.25**e for e in range(16)])


def many(variant, size):
    count, width = size
    return members(variant, width, [0.002 * 25 ** (e / (count - 1)) for e in range(count)])


def members(variant, width, rates):
    xs, ys = vectors()
    models = [mlp(width).to(DEVICE) for _ in rates]
    if variant.startswith("loop"):
        optimizers = [torch.optim.SGD(m.parameters(), lr=lr, momentum=0.9, **fused(variant)) for m, lr in zip(models, rates)]
        losses = [lambda x, y, m=m: F.cross_entropy(m(x), y) for m in models]
        return training(variant, models, losses, optimizers, xs, ys)

    params = {n: p.detach() for n, p in stack_module_state(models)[0].items()}
    momentum = {n: torch.zeros_like(p) for n, p in params.items()}
    rates = torch.tensor(rates, device=DEVICE)
    one = lambda p, x, y: F.cross_entropy(functional_call(models[0], p, (x,)), y)
    gradients = vmap(grad_and_value(one), in_dims=(0, None, None))

    def update(params, momentum, x, y):
        grads, losses = gradients(params, x, y)
        for n, p in params.items():
            momentum[n].mul_(0.9).add_(grads[n])
            p.sub_(momentum[n] * rates.view((-1,) + (1,) * (p.dim() - 1)))
        return losses.sum()

    update = compiled(update, variant)
    step = lambda x, y: update(params, momentum, x, y)
    if "graph" in variant:
        return captured(step, xs, ys, lambda: list(params.values()) + list(momentum.values()))
    return lambda i: step(xs[i % len(xs)], ys[i % len(ys)])


def w3(variant, width):
    xs = [torch.randn(32, 3, 32, 32, device=DEVICE) for _ in range(8)]
    ys = [torch.randint(0, 10, (32,), device=DEVICE) for _ in range(8)]
    model = ResNet18(width).to(DEVICE)
    if variant.startswith("cl"):
        model = model.to(memory_format=torch.channels_last)
        xs = [x.contiguous(memory_format=torch.channels_last) for x in xs]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, **fused(variant))
    loss = compiled(lambda x, y: F.cross_entropy(model(x), y), variant)
    return training(variant, [model], [loss], [optimizer], xs, ys)


def w4(variant, width):
    xs = [torch.randint(0, 256, (8, 128), device=DEVICE) for _ in range(32)]
    ys = [x.roll(-1, 1) for x in xs]
    model = Decoder(width).to(DEVICE)
    # a captured step cannot read the count of steps on the CPU
    how = dict(fused(variant), capturable="graph" in variant)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0003, **how)
    loss = compiled(lambda x, y: token_loss(model(x), y), variant)
    return training(variant, [model], [loss], [optimizer], xs, ys)


# --- Large ones ---

def bf16(variant, size):
    width, batch, depth = size
    if variant == "chip":
        n = 512 if SMALL else 8192
        a, b = (torch.randn(n, n, device=DEVICE, dtype=torch.float32 if SMALL else torch.bfloat16) for _ in range(2))
        # forward, and backward but for the first layer's inputs
        flops = 2 * batch * (2 * 256 * width + 3 * ((depth - 2) * width * width + 10 * width))
        calls = max(1, round(flops / (2 * n**3)))
        share = flops / (calls * 2 * n**3)

        def products(_):
            for _ in range(calls):
                a @ b

        products.share = share
        return products
    xs = [torch.randn(batch, 256, device=DEVICE) for _ in range(4)]
    ys = [torch.randint(0, 10, (batch,), device=DEVICE) for _ in range(4)]
    model = mlp(width, 256, depth).to(DEVICE)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, **fused(variant))
    loss = compiled(in_bf16(lambda x, y: F.cross_entropy(model(x), y)), variant)
    return training(variant, [model], [loss], [optimizer], xs, ys)


def resnet(variant, size):
    width, batch = size
    xs = [torch.randn(batch, 3, 32, 32, device=DEVICE).contiguous(memory_format=torch.channels_last) for _ in range(8)]
    ys = [torch.randint(0, 10, (batch,), device=DEVICE) for _ in range(8)]
    model = ResNet18(width).to(DEVICE).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, **fused(variant))
    loss = compiled(in_bf16(lambda x, y: F.cross_entropy(model(x), y)), variant)
    return training(variant, [model], [loss], [optimizer], xs, ys)


def gpt(variant, size):
    width, depth, context, batch, vocab = size
    xs = [torch.randint(0, vocab, (batch, context), device=DEVICE) for _ in range(8)]
    ys = [x.roll(-1, 1) for x in xs]
    model = Decoder(width, vocab, context, depth).to(DEVICE)
    how = dict(fused(variant), capturable="graph" in variant)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0003, **how)
    loss = compiled(in_bf16(lambda x, y: token_loss(model(x), y)), variant)
    return training(variant, [model], [loss], [optimizer], xs, ys)


# --- Kernels and curvatures --------------------------------------------------------------------------

def w5(variant, _):
    model = mlp(256).to(DEVICE)
    x = torch.randn(256, 3072, device=DEVICE)
    params = {n: p.detach() for n, p in model.named_parameters()}
    outputs = lambda p, xi: functional_call(model, p, (xi.unsqueeze(0),)).squeeze(0)

    def contract(jacobian):
        total = 0
        for j in jacobian.values():
            j = j.flatten(1)
            total = total + j @ j.T
        return total

    def full(params, x):
        return contract(vmap(jacrev(outputs), (None, 0))(params, x))

    def one_output(params, x, one_hot):
        return contract(vmap(grad(lambda p, xi: outputs(p, xi) @ one_hot), (None, 0))(params, x))

    one_output = compiled(one_output, variant)

    def perout(params, x):
        return sum(one_output(params, x, row) for row in torch.eye(10, device=DEVICE))

    def structured(_, x):
        # Gram matrix of each layer's inputs times that of the signals that come back to it
        inputs, before, h = [], [], x
        for layer in model:
            if isinstance(layer, torch.nn.Linear):
                inputs.append(h.detach())
                h = layer(h)
                before.append(h)
            else:
                h = layer(h)
        grams = [0] * len(before)
        for k in range(10):
            signals = torch.autograd.grad(h[:, k].sum(), before, retain_graph=True)
            grams = [g + s @ s.T for g, s in zip(grams, signals)]
        return sum(g * (a @ a.T + 1) for g, a in zip(grams, inputs))

    kernel = {"full": full, "perout": perout, "structured": structured}[variant.split("_")[0]]
    if variant == "full_compile":
        kernel = compiled(kernel, variant)
    # its mean diagonal; a sum over 256 points would lose digits
    return lambda i: kernel(params, x).diagonal().mean()


def w6(variant, _):
    model = mlp(256).to(DEVICE)
    x, y = torch.randn(1000, 3072, device=DEVICE), torch.randint(0, 10, (1000,), device=DEVICE)
    params = dict(model.named_parameters())
    start = {n: torch.randn_like(p) for n, p in params.items()}
    dot = lambda a, b: sum((a[n] * b[n]).sum() for n in a)

    def power(product):
        v = start
        for _ in range(20):
            norm = dot(v, v).sqrt()
            v = {n: t / norm for n, t in v.items()}
            hv = product(v)
            value, v = dot(v, hv), hv
        return value

    def double():
        loss = F.cross_entropy(model(x), y)
        gradient = torch.autograd.grad(loss, list(params.values()), create_graph=True)
        product = lambda v: torch.autograd.grad(gradient, list(params.values()), list(v.values()), retain_graph=True)
        return power(lambda v: dict(zip(params, product(v))))

    detached = {n: p.detach() for n, p in params.items()}
    gradient = grad(lambda p: F.cross_entropy(functional_call(model, p, (x,)), y))
    product = compiled(lambda v: jvp(gradient, (detached,), (v,))[1], variant)
    run = double if variant.startswith("double") else lambda: power(product)
    if "graph" in variant:
        # nothing is trained: the inputs are the same every time, and so is the state
        none = [torch.zeros(1, device=DEVICE)]
        return captured(lambda a, b: run().detach(), none, none, list)
    return lambda i: run().detach()


# --- Measuring ---------------------------------------------------------------------------------------

# name of the case: work, its function, width, variants; what is fast without compiling comes first, so that
# little is lost where time runs out
TRAIN = ["eager", "fused", "graph", "compile", "compile_graph"]
CASES = {f"W1-{n}": ("W1", w1, n, TRAIN) for n in (64, 256, 1024)}
for n in (64, 128):
    CASES[f"W2-{n}"] = ("W2", w2, n, ["loop", "loop_fused", "loop_graph", "vmap", "vmap_graph", "vmap_compile", "vmap_compile_graph"])
for n in (16, 64):
    CASES[f"W3-{n}"] = ("W3", w3, n, ["eager", "graph", "cl", "cl_graph", "compile", "compile_graph"])
for n in (128, 256):
    CASES[f"W4-{n}"] = ("W4", w4, n, TRAIN)
CASES["W5-mlp"] = ("W5", w5, 256, ["full", "perout", "structured", "perout_compile", "full_compile"])
CASES["W6"] = ("W6", w6, 256, ["double", "double_graph", "fwdrev", "fwdrev_graph", "fwdrev_compile", "fwdrev_compile_graph"])
for size in [(64, 32, 3)] if SMALL else [(1024, 8192, 10), (4096, 4096, 6)]:
    CASES[f"BF16-{size[0]}"] = ("BF16", bf16, size, ["eager", "chip", "graph", "compile", "compile_graph"])
for size in [(8, 4)] if SMALL else [(64, 512)]:
    CASES[f"RESNET-{size[0]}"] = ("RESNET", resnet, size, ["eager", "graph", "compile", "compile_graph"])
for size in [(128, 2, 32, 2, 256)] if SMALL else [(768, 12, 1024, 8, 50304)]:
    CASES[f"GPT-{size[0]}"] = ("GPT", gpt, size, ["eager", "fused", "compile", "compile_graph"])
for size in [(4, 64)] if SMALL else [(16, 256), (64, 64), (64, 256)]:
    CASES[f"MEMBERS-{size[0]}-{size[1]}"] = ("MEMBERS", many, size, ["loop", "vmap", "vmap_compile", "vmap_compile_graph"])
# allowed distance of the values from those of the first variant, over 1 + |x|
AGREE = {"W1": 1e-3, "W2": 1e-3, "W3": 1e-2, "W4": 1e-3, "W5": 1e-2, "W6": 2e-2,
         "BF16": 2e-2, "RESNET": 2e-2, "GPT": 2e-2, "MEMBERS": 1e-3}
# what is trained; of the others every call is the same
TRAINED = {"W1", "W2", "W3", "W4", "BF16", "RESNET", "GPT", "MEMBERS"}


def rates(step, seconds, first, warmup, stretch=0.1):
    """Calls a second over stretches that each end with waiting for the device."""
    begin, i = time.perf_counter(), first
    while time.perf_counter() - begin < warmup or i < first + 3:
        step(i)
        sync()
        i += 1
    one = (time.perf_counter() - begin) / (i - first)
    calls = max(1, round(stretch / one))
    found, begin = [], time.perf_counter()
    while time.perf_counter() - begin < seconds or len(found) < 3:
        start = time.perf_counter()
        for _ in range(calls):
            step(i)
            i += 1
        sync()
        found.append(calls / (time.perf_counter() - start))
    return found


def measure(case, variant, seconds, expected, prepare):
    """The result line of a variant, and its first value."""
    work, function, width, _ = CASES[case]
    torch.manual_seed(0)
    torch._dynamo.reset()
    if CUDA:
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    step = function(variant, width)
    values = [step(0)]
    sync()
    begun = time.perf_counter() - start
    # the fourth loss has seen three updates
    values += [step(i) for i in range(1, 4)] if work in TRAINED and not prepare else []
    share = getattr(step, "share", None)
    value = expected if share else float(values[-1])
    if value is not None and expected is not None and not abs(value - expected) <= AGREE[work] * (1 + abs(expected)):
        raise ValueError(f"its value is {value:.6g}, not {expected:.6g}")
    if prepare:
        return None, value
    found = [r / (share or 1) for r in rates(step, seconds, 4, min(1.0, seconds / 2))]
    if work in ("W5", "W6"):
        metric, found = "seconds", [1 / r for r in found]
    elif work in ("W2", "MEMBERS"):
        count = width[0] if work == "MEMBERS" else 16
        metric, found = "member_steps_per_s", [count * r for r in found]
    else:
        metric = "steps_per_s"
    line = dict(metric=metric, median=statistics.median(found), lo=min(found), hi=max(found), n=len(found),
                maxrss_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
                width=width, value=value, start_s=round(begun, 2))
    if CUDA:
        line["gpu_mb"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return line, value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="?", choices=CASES, metavar="CASE")
    parser.add_argument("--list", action="store_true", help="print the cases")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--only", nargs="*", help="some variants")
    parser.add_argument("--deadline", type=float, default=float("inf"), help="no variant begins after it")
    parser.add_argument("--tf32", action="store_true", help="matrix products and convolutions may round to TF32")
    parser.add_argument("--small", action="store_true", help="the large cases at small sizes and in f32")
    parser.add_argument("--prepare", action="store_true", help="only compile, so that TORCHINDUCTOR_CACHE_DIR has it")
    args = parser.parse_args()
    if args.list:
        print("\n".join(CASES))
        return
    if args.case is None:
        parser.error("CASE is missing; --list prints them")
    torch.backends.cuda.matmul.allow_tf32 = args.tf32
    torch.backends.cudnn.allow_tf32 = args.tf32
    torch.backends.cudnn.benchmark = True

    work, _, _, variants = CASES[args.case]
    expected = None
    for variant in variants:
        if args.only and variant not in args.only:
            continue
        # a graph captures the same compiled code
        if args.prepare and not variant.endswith("compile"):
            continue
        name = variant + ("_tf32" if args.tf32 else "")
        line = dict(peer="torch", work=work, variant=name, group=args.case)
        try:
            if time.time() > args.deadline:
                raise TimeoutError("skipped: no time left")
            if "graph" in variant and not CUDA:
                raise RuntimeError("skipped: CUDA graphs need a GPU")
            result, value = measure(args.case, variant, args.seconds, expected, args.prepare)
            expected = value if expected is None else expected
            line.update(result or {})
        except Exception as e:
            # a variant that PyTorch cannot do must not end the others
            line["error"] = f"{type(e).__name__}: {e}"[:300]
        line.update(device=torch.cuda.get_device_name() if CUDA else "cpu", torch=torch.__version__)
        if not args.prepare:
            print(json.dumps(line), flush=True)
        elif "error" in line:
            print(f"{args.case} {name}: {line['error']}", file=sys.stderr)
    # threads that still compile would keep the process
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
