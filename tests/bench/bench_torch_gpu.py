"""PyTorch 2 on the same GPU, for comparison with bench_gpu: channels_last_3d, bfloat16 autocast, torch.compile where it works.

usage: bench_torch_gpu.py step XxYxZ BATCH REPEATS [FILTERS]
       bench_torch_gpu.py scan XxYxZ REPEATS [FILTERS]     windows of 112x112x80 at a stride of 18x18x4, one, nine or fifteen at once
step: the dual V-Net's training step with a teacher: forward pass of the teacher on the unlabelled half, forward and backward pass of the student, SGD, average. The
loss is Dice and mean squared errors between outputs; dbisl's own, which has two distance transforms more, is not there in PyTorch, which is to PyTorch's advantage.
Prints one JSON line of the fastest way; "variant" says whether torch.compile was used, and how many windows were taken at once.
"""
import itertools
import json
import statistics
import sys
import time

import torch
from torch import nn


def layer(inputs, outputs, kind):
    if kind == "up":
        convolution = nn.ConvTranspose3d(inputs, outputs, 2, stride=2)
    elif kind == "down":
        convolution = nn.Conv3d(inputs, outputs, 2, stride=2)
    else:
        convolution = nn.Conv3d(inputs, outputs, 3, padding=1)
    return nn.Sequential(convolution, nn.BatchNorm3d(outputs), nn.ReLU(inplace=True))


def stage(channels, depth, first=None):
    return nn.Sequential(*[layer(first if first and i == 0 else channels, channels, "same") for i in range(depth)])


class Net(nn.Module):
    def __init__(self, filters, channels=1, classes=1):
        super().__init__()
        widths, depths = [filters << i for i in range(5)], [1, 2, 3, 3, 3]
        self.enc = nn.ModuleList(stage(w, d, channels if i == 0 else None) for i, (w, d) in enumerate(zip(widths, depths)))
        self.down = nn.ModuleList(layer(w, 2 * w, "down") for w in widths[:4])
        self.up = nn.ModuleList(layer(2 * w, w, "up") for w in reversed(widths[:4]))
        self.dec = nn.ModuleList(stage(w, d) for w, d in zip(reversed(widths[:4]), reversed(depths[:4])))
        self.drop = nn.Dropout3d(0.5)
        self.sdf, self.seg = nn.Conv3d(filters, classes, 1), nn.Conv3d(filters, classes, 1)

    def forward(self, x):
        skips = []
        for enc, down in zip(self.enc, self.down):
            x = enc(x)
            skips.append(x)
            x = down(x)
        x = self.drop(self.enc[4](x))
        for up, dec, skip in zip(self.up, self.dec, reversed(skips)):
            x = dec(up(x) + skip)
        x = self.drop(x)
        return torch.tanh(self.sdf(x)), self.seg(x)


def make_net(filters):
    return Net(filters).cuda().to(memory_format=torch.channels_last_3d)


def step_function(shape, batch, filters, compiled):
    student, teacher = make_net(filters), make_net(filters)
    for p in teacher.parameters():
        p.requires_grad_(False)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, foreach=True)
    run_student, run_teacher = (torch.compile(student), torch.compile(teacher)) if compiled else (student, teacher)
    host = torch.randn(batch, 1, *shape).pin_memory()
    half = batch // 2
    label = (torch.rand(half, 1, *shape, device="cuda") > 0.7).float()

    def step():
        x = host.to("cuda", non_blocking=True).to(memory_format=torch.channels_last_3d)
        with torch.autocast("cuda", torch.bfloat16):
            with torch.no_grad():
                r_t, s_t = run_teacher(x[half:])
            r, s = run_student(x)
        r, s, r_t, p_t = r.float(), s.float(), r_t.float(), torch.sigmoid(s_t.float())
        p = torch.sigmoid(s)
        a = torch.sigmoid(40 * r)

        def dice(q, y):
            return 1 - (2 * (q * y).sum() + 1e-5) / ((q * q).sum() + (y * y).sum() + 1e-5)

        loss = dice(p[:half], label) + dice(a[:half], label) + ((p - a) ** 2).mean() + dice(p[half:], p_t) + dice(a[half:], p_t) + ((r[half:] - r_t) ** 2).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 0.01)
        return loss

    return step


def scan_function(shape, filters, compiled, at_once):
    window, stride = (112, 112, 80), (18, 18, 4)
    net = make_net(filters).eval()
    run = torch.compile(net) if compiled else net
    scan = torch.randn(1, 1, *shape, device="cuda").to(memory_format=torch.channels_last_3d)
    starts = [sorted({min(i, max(n - w, 0)) for i in range(0, max(n - w, 0) + s, s)}) for n, w, s in zip(shape, window, stride)]
    places = [tuple(slice(o, o + w) for o, w in zip(corner, window)) for corner in itertools.product(*starts)]

    def predict():
        with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
            score, count = torch.zeros(shape, device="cuda"), torch.zeros(shape, device="cuda")
            for first in range(0, len(places), at_once):
                some = places[first : first + at_once]
                batch = torch.cat([scan[(..., *at)] for at in some]).to(memory_format=torch.channels_last_3d)
                for at, answer in zip(some, torch.sigmoid(run(batch)[1].float())):
                    score[at] += answer[0]
                    count[at] += 1
            return ((score / count) > 0.5).cpu()

    return predict


def measure(function, repeats):
    for _ in range(3):
        function()
    torch.cuda.synchronize()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return times


def main(what, shape, *rest):
    sizes = tuple(int(n) for n in shape.split("x"))
    torch.backends.cudnn.benchmark = True
    rest = [int(n) for n in rest]
    batch = rest.pop(0) if what == "step" else 1
    repeats, filters = rest[0], rest[1] if len(rest) > 1 else 16
    best = None
    for compiled, at_once in itertools.product((False, True), (1,) if what == "step" else (1, 9, 15)):
        try:
            torch.manual_seed(0)
            make = step_function(sizes, batch, filters, compiled) if what == "step" else scan_function(sizes, filters, compiled, at_once)
            times = measure(make, repeats)
        except Exception as error:  # torch.compile needs what not every machine has
            print(f"{'torch.compile' if compiled else 'PyTorch'}: {error}", file=sys.stderr)
            continue
        if best is None or statistics.median(times) < best["median_s"]:
            best = {"what": f"torch {torch.__version__} {what} {shape}", "median_s": statistics.median(times), "min_s": min(times),
                    "variant": ("torch.compile" if compiled else "eager") + (f", {at_once} at once" if at_once > 1 else ""), "gpu": torch.cuda.get_device_name()}
    if best is None:
        sys.exit("nothing could be timed")
    print(json.dumps(best))


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) > 3 else sys.exit(__doc__)
