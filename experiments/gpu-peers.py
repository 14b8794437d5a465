#!/usr/bin/env python3
"""GraphSAGE-mean by PyTorch and by PyG on a GPU, beside Flipbook's: full batches and sampled ones.

  gpu-peers.py make FOLDER [--nodes N] [--edges E]     a graph, where no other is at hand
  gpu-peers.py train FOLDER [--hidden 128] [--epochs 30] [--impl NAME…]
  gpu-peers.py sampled FOLDER [--hidden 128] [--epochs 4] [--impl NAME…]

FOLDER holds indptr.npy, indices.npy (in-neighbours, the graph symmetric), features.npy, labels.npy,
split.npy (0 train, 1 validation, 2 test), and edges.tsv for `flipbook import`.

  torch-csr       torch.sparse CSR products of the normalised adjacency by hand; where the output is
                  narrower than the input the weights come first
  torch-csr-pre   the same, the first aggregation taken once before training
  pyg-csr         SAGEConv on a torch.sparse CSR adjacency
  pyg-edge        SAGEConv on an edge_index sorted by target

Sampled (1024 seeds, fanouts 10 and 10, features and graph where they serve each best):

  pyg-sampled     NeighborLoader of --workers processes on the host, features on the GPU, SAGEConv on the
                  sampled edges of each layer alone; its sampler is pyg-lib's or torch_sparse's
  pyg-sampled-csr the same edges as CSR blocks
  torch-sampled   draws with replacement, renumbering and CSR blocks on the GPU, by hand

Two layers, ReLU, dropout 0.5, Adam 0.01, fp32. One JSON line each: the median epoch by CUDA events
(sampled, or on a CPU: by the clock), the largest memory that PyTorch's allocator held, test
accuracy.
"""
import argparse
import json
import os
import resource
import statistics
import time
import warnings

import numpy as np


def make(a):
    """A skewed graph with planted classes, both directions of each edge, no loops, none twice."""
    rng = np.random.default_rng(a.seed)
    label = rng.integers(0, a.classes, a.nodes).astype(np.int32)
    popular = (np.arange(a.nodes) + 20.0) ** -0.77
    popular = rng.permutation(popular / popular.sum())
    members = [np.flatnonzero(label == c) for c in range(a.classes)]
    pick = np.searchsorted(np.cumsum(popular), rng.random(int(a.edges * 0.7)))
    source = np.minimum(pick, a.nodes - 1)
    target = np.minimum(np.searchsorted(np.cumsum(popular), rng.random(len(source))), a.nodes - 1)
    inside = rng.random(len(source)) < 0.6
    for c, who in enumerate(members):
        here = np.flatnonzero(inside & (label[source] == c))
        target[here] = rng.choice(who, len(here))
    keep = source != target
    key = np.unique(np.minimum(source, target)[keep] * np.int64(a.nodes) + np.maximum(source, target)[keep])
    key = rng.permutation(key)[: a.edges // 2]
    u, v = key // a.nodes, key % a.nodes
    source, target = np.concatenate((u, v)), np.concatenate((v, u))
    order = np.lexsort((source, target))
    source, target = source[order], target[order]
    features = rng.standard_normal((a.nodes, a.features), dtype=np.float32)
    features += (rng.standard_normal((a.classes, a.features)) * 0.12).astype(np.float32)[label]
    os.makedirs(a.folder, exist_ok=True)
    arrays = dict(
        indptr=np.concatenate(([0], np.cumsum(np.bincount(target, minlength=a.nodes)))).astype(np.int64),
        indices=source.astype(np.int32), features=features, labels=label,
        split=rng.choice(np.array([0, 1, 2], np.uint8), a.nodes, p=[0.6, 0.2, 0.2]))
    for name, array in arrays.items():
        np.save(os.path.join(a.folder, name + ".npy"), array)
    with open(os.path.join(a.folder, "edges.tsv"), "w") as file:
        for first in range(0, len(source), 500_000):
            pairs = zip(source[first:first + 500_000].tolist(), target[first:first + 500_000].tolist())
            file.write("".join(f"{s}\t{t}\n" for s, t in pairs))


class Graph:
    """The folder's arrays on the device."""

    def __init__(self, folder, torch, device):
        load = lambda name: torch.from_numpy(np.load(os.path.join(folder, name + ".npy")))
        self.indptr, self.indices = load("indptr").to(device), load("indices").long().to(device)
        self.x, self.y = load("features").to(device), load("labels").long().to(device)
        split = load("split").to(device)
        self.train, self.test = (split == 0).nonzero().flatten(), (split == 2).nonzero().flatten()
        self.n, self.classes = len(self.y), int(self.y.max()) + 1
        self.degree = self.indptr[1:] - self.indptr[:-1]


def by_hand(g, hidden, torch, once):
    """mean(x) W + x U + b with A = D^-1 A as CSR, forward, and its transpose, backward."""
    nn = torch.nn
    inverse = 1 / g.degree.clamp(min=1).float()
    of = lambda values: torch.sparse_csr_tensor(g.indptr, g.indices, values, size=(g.n, g.n))
    mean, back = of(torch.repeat_interleave(inverse, g.degree)), of(inverse[g.indices])

    class Mean(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return mean @ x

        @staticmethod
        def backward(ctx, gradient):
            return back @ gradient.contiguous()

    class Layer(nn.Module):
        def __init__(self, before, after):
            super().__init__()
            self.own, self.near = nn.Linear(before, after), nn.Linear(before, after, bias=False)
            self.narrows = after < before

        def forward(self, x, taken):
            if taken is not None:
                return self.own(x) + self.near(taken)
            return self.own(x) + (Mean.apply(self.near(x)) if self.narrows else self.near(Mean.apply(x)))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = Layer(g.x.shape[1], hidden), Layer(hidden, g.classes)
            self.taken = mean @ g.x if once else None

        def forward(self):
            h = torch.relu(self.first(g.x, self.taken))
            return self.second(nn.functional.dropout(h, 0.5, self.training), None)

    return Model()


def by_pyg(g, hidden, torch, csr):
    from torch_geometric.nn import SAGEConv
    nn = torch.nn
    if csr:
        graph = torch.sparse_csr_tensor(g.indptr, g.indices, torch.ones(len(g.indices), device=g.x.device), size=(g.n, g.n))
    else:
        target = torch.repeat_interleave(torch.arange(g.n, device=g.x.device), g.degree)
        graph = torch.stack((g.indices, target))

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = SAGEConv(g.x.shape[1], hidden, aggr="mean")
            self.second = SAGEConv(hidden, g.classes, aggr="mean")

        def forward(self):
            h = torch.relu(self.first(g.x, graph))
            return self.second(nn.functional.dropout(h, 0.5, self.training), graph)

    return Model()


IMPLEMENTATIONS = {
    "torch-csr": lambda g, hidden, torch: by_hand(g, hidden, torch, False),
    "torch-csr-pre": lambda g, hidden, torch: by_hand(g, hidden, torch, True),
    "pyg-csr": lambda g, hidden, torch: by_pyg(g, hidden, torch, True),
    "pyg-edge": lambda g, hidden, torch: by_pyg(g, hidden, torch, False),
}


def epoch(model, optimiser, g, torch):
    model.train()
    optimiser.zero_grad(set_to_none=True)
    loss = torch.nn.functional.cross_entropy(model()[g.train], g.y[g.train])
    loss.backward()
    optimiser.step()
    return loss


def timed(run, cuda, torch):
    """Milliseconds of run()."""
    if not cuda:
        start = time.perf_counter()
        run()
        return (time.perf_counter() - start) * 1e3
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end)


def measure(name, g, a, torch, cuda):
    torch.manual_seed(a.seed)
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    model = IMPLEMENTATIONS[name](g, a.hidden, torch).to(g.x.device)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    run = lambda: epoch(model, optimiser, g, torch)
    for _ in range(3):
        run()
    times = [timed(run, cuda, torch) for _ in range(a.epochs - 3)]
    loss = run().item()
    peak = torch.cuda.max_memory_reserved() / 1e6 if cuda else float("nan")
    model.eval()
    with torch.no_grad():
        accuracy = (model()[g.test].argmax(1) == g.y[g.test]).float().mean().item()
    return dict(peer=name, hidden=a.hidden, seconds_per_epoch=statistics.median(times) / 1e3,
                fastest_epoch=min(times) / 1e3, loss=loss, accuracy=accuracy,
                peak_gpu_mb=round(peak) if cuda else None)


def each(a, rows, measured):
    """One JSON line for each row asked for."""
    import torch
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    where = torch.cuda.get_device_name() if cuda else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = False
    warnings.simplefilter("ignore")  # sparse CSR tensors call themselves beta
    g = Graph(a.folder, torch, device)
    for name in a.impl or rows:
        try:
            row = measured(name, g, a, torch, cuda)
        except Exception as error:  # a peer that fails is a row that says so
            row = dict(peer=name, hidden=a.hidden, words=str(error).replace('"', "'").split("\n")[0][:200])
        print(json.dumps(dict(row, torch=torch.__version__, device=where)), flush=True)


# ---- sampled batches ----

def inner_hop(out):
    """Of PyG's sampled graph, edges in the order of their targets: nodes and edges of the inner hop."""
    if out.get("num_sampled_nodes") is not None:
        nodes, edges = out["num_sampled_nodes"], out["num_sampled_edges"]
        return nodes[0] + nodes[1], edges[0]
    source, target = out.edge_index
    edges = int((target < out.batch_size).sum())
    return max(int(source[:edges].max()) + 1 if edges else 0, out.batch_size), edges


def block(source, target, n_dst, n_src, torch):
    """Edges in the order of their targets as a CSR matrix."""
    ptr = torch.zeros(n_dst + 1, dtype=torch.long, device=source.device)
    torch.cumsum(torch.bincount(target, minlength=n_dst), 0, out=ptr[1:])
    ones = torch.ones(len(source), device=source.device)
    return torch.sparse_csr_tensor(ptr, source, ones, size=(n_dst, n_src), check_invariants=False)


def pyg_batches(g, a, torch):
    """(nodes, edges of the outer hop, of the inner, seeds) of each batch, on the GPU."""
    from torch_geometric.data import Data
    from torch_geometric.loader import NeighborLoader
    indptr, indices = g.indptr.cpu(), g.indices.cpu()
    target = torch.repeat_interleave(torch.arange(g.n), indptr[1:] - indptr[:-1])
    data = Data(edge_index=torch.stack((indices, target)), num_nodes=g.n)
    loader = NeighborLoader(data, num_neighbors=[10, 10], batch_size=1024, shuffle=True, is_sorted=True,
                            input_nodes=g.train.cpu(), num_workers=a.workers, persistent_workers=a.workers > 0)

    def batches():
        for out in loader:
            near, edges = inner_hop(out)
            pair = out.edge_index.to(g.x.device, non_blocking=True)
            yield out.n_id.to(g.x.device, non_blocking=True), pair, pair[:, :edges], near, out.batch_size
    return batches


def drawn(g, nodes, torch):
    """Ten neighbours of each node, with replacement, in the order of the nodes; its number of each."""
    degree = g.degree[nodes]
    at = (torch.rand(len(nodes), 10, device=nodes.device) * degree[:, None]).long()
    at = torch.minimum(at, (degree - 1).clamp(min=0)[:, None]) + g.indptr[nodes][:, None]
    there = (degree > 0)[:, None].expand(-1, 10)
    target = torch.arange(len(nodes), device=nodes.device)[:, None].expand(-1, 10)[there]
    return g.indices[at[there]], target


def own_batches(g, torch):
    """The same, all on the GPU: a node's number in the batch is where it comes first."""
    number = torch.full((g.n,), -1, dtype=torch.long, device=g.x.device)

    def grow(nodes, first):
        """Hop beyond nodes[first:], whose own numbers stand in `number`."""
        source, target = drawn(g, nodes[first:], torch)
        fresh = torch.unique(source[number[source] < 0])
        number[fresh] = torch.arange(len(fresh), device=g.x.device) + len(nodes)
        return torch.cat((nodes, fresh)), torch.stack((number[source], target + first))

    def batches():
        order = g.train[torch.randperm(len(g.train), device=g.x.device)]
        for seeds in order.split(1024):
            number[seeds] = torch.arange(len(seeds), device=g.x.device)
            near, inner = grow(seeds, 0)
            nodes, outer = grow(near, len(seeds))
            yield nodes, torch.cat((inner, outer), 1), inner, len(near), len(seeds)
            number[nodes] = -1
    return batches


class OfBatches:
    """A model of two layers over batches' blocks; whole graphs by full()."""

    def __init__(self, g, hidden, csr, torch):
        from torch_geometric.nn import SAGEConv
        self.g, self.csr, self.torch = g, csr, torch
        self.conv = torch.nn.ModuleList((SAGEConv(g.x.shape[1], hidden, aggr="mean"),
                                         SAGEConv(hidden, g.classes, aggr="mean"))).to(g.x.device)

    def edges(self, pair, n_dst, n_src):
        return block(pair[0], pair[1], n_dst, n_src, self.torch) if self.csr else pair

    def loss(self, batch):
        nodes, outer, inner, near, seeds = batch
        drop = self.torch.nn.functional.dropout
        x = self.g.x[nodes]
        h = self.conv[0]((x, x[:near]), self.edges(outer, near, len(nodes)))
        h = drop(self.torch.relu(h), 0.5, True)
        h = self.conv[1]((h, h[:seeds]), self.edges(inner, seeds, near))
        return self.torch.nn.functional.cross_entropy(h, self.g.y[nodes[:seeds]])

    def full(self):
        g, torch = self.g, self.torch
        whole = torch.sparse_csr_tensor(g.indptr, g.indices, torch.ones(len(g.indices), device=g.x.device),
                                        size=(g.n, g.n))
        return self.conv[1](torch.relu(self.conv[0](g.x, whole)), whole)


SAMPLED = {"pyg-sampled": False, "pyg-sampled-csr": True, "torch-sampled": True}  # by CSR blocks


def measure_sampled(name, g, a, torch, cuda):
    torch.manual_seed(a.seed)
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    batches = own_batches(g, torch) if name.startswith("torch") else pyg_batches(g, a, torch)
    model = OfBatches(g, a.hidden, SAMPLED[name], torch)
    optimiser = torch.optim.Adam(model.conv.parameters(), lr=0.01)

    def run(train=True):
        start, used, n = time.perf_counter(), time.process_time(), 0
        for batch in batches():
            n += 1
            if not train:
                continue
            optimiser.zero_grad(set_to_none=True)
            model.loss(batch).backward()
            optimiser.step()
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start, time.process_time() - used, n

    run()
    times, used, _ = zip(*(run() for _ in range(a.epochs - 1)))
    peak = torch.cuda.max_memory_reserved() / 1e6 if cuda else float("nan")
    alone_here = a.workers == 0 or name.startswith("torch")  # what other processes take is not seen
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    alone, _, n = run(False)
    with torch.no_grad():
        accuracy = (model.full()[g.test].argmax(1) == g.y[g.test]).float().mean().item()
    return dict(peer=name, hidden=a.hidden, seconds_per_epoch=statistics.median(times), fastest_epoch=min(times),
                cpu_seconds_per_epoch=statistics.median(used) if alone_here else None, sampling_alone=alone, batches=n, accuracy=accuracy, peak_gpu_mb=round(peak) if cuda else None, peak_rss_mb=round(rss * 1.024) if alone_here else None,
                sampler=sampler() if name.startswith("pyg") else "by hand")


def sampler():
    import torch_geometric.typing as typing
    return "pyg-lib" if typing.WITH_PYG_LIB else "torch_sparse" if typing.WITH_TORCH_SPARSE else "none"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    m = kinds.add_parser("make")
    m.add_argument("--nodes", type=int, default=200_000)
    m.add_argument("--edges", type=int, default=4_000_000)
    m.add_argument("--features", type=int, default=128)
    m.add_argument("--classes", type=int, default=32)
    m.set_defaults(run=make)
    t = kinds.add_parser("train")
    t.add_argument("--hidden", type=int, default=128)
    t.add_argument("--epochs", type=int, default=30)
    t.add_argument("--impl", nargs="*", choices=list(IMPLEMENTATIONS))
    t.set_defaults(run=lambda a: each(a, IMPLEMENTATIONS, measure))
    b = kinds.add_parser("sampled")
    b.add_argument("--hidden", type=int, default=128)
    b.add_argument("--epochs", type=int, default=4)
    b.add_argument("--workers", type=int, default=8)
    b.add_argument("--impl", nargs="*", choices=list(SAMPLED))
    b.set_defaults(run=lambda a: each(a, SAMPLED, measure_sampled))
    for p in (m, t, b):
        p.add_argument("folder")
        p.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    a.run(a)


if __name__ == "__main__":
    main()
