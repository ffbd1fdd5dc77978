"""Gradients of two processes, added up in buckets: the bits that one message gives."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import torch
from torch import nn

from harness.distributed import DistContext, process_group
from harness.train.gradients import BUCKET_BYTES, FEWEST_BUCKETS, GradientSum, cut


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(24, 24) for _ in range(12)), nn.Linear(24, 3))


def slice_of(rank: int, part: int) -> torch.Tensor:
    return torch.randn(8, 24, generator=torch.Generator().manual_seed(10 * rank + part))


def gradients(ranks: DistContext, *, way: str) -> tuple[list[torch.Tensor], list[str]]:
    """Of two micro-batches, and what happened in which order."""
    model = network()
    events: list[str] = []
    unused = nn.Parameter(torch.ones(5))  # has no part in the loss
    parameters = [unused, *model.parameters()]
    reduce = torch.distributed.all_reduce

    def told(tensor: torch.Tensor, **options: object) -> object:
        events.append("sent")
        return reduce(tensor, **options)

    torch.distributed.all_reduce = told  # type: ignore[assignment]
    summed = GradientSum(parameters, ranks, overlap=way == "overlap")
    model[0].weight.register_hook(lambda grad: events.append("first layer"))
    for part in range(2):
        loss = model(slice_of(ranks.rank, part)).square().mean()
        if part == 0:
            loss.backward()
            assert events == ["first layer"]  # nothing is sent of what is not whole
            continue
        with summed.last_backward():
            loss.backward()
    extra = torch.tensor(float(ranks.rank + 1))
    if way == "one message":
        ranks.all_reduce_sum_([p.grad for p in parameters if p.grad is not None])
        ranks.all_reduce_sum_([extra])
    else:
        summed.finish([extra])
    summed.close()
    torch.distributed.all_reduce = reduce
    assert extra == 3.0
    assert unused.grad is None
    return [p.grad for p in parameters if p.grad is not None], events


def _one(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = torch.distributed.FileStore(str(folder / "meeting"), 2)  # type: ignore[attr-defined]
    ranks = DistContext(rank, 2)
    with process_group(ranks, store, torch.device("cpu")):
        found = {way: gradients(ranks, way=way) for way in ("one message", "in turn", "overlap")}
    torch.save(found, folder / f"{rank}.pt")


def test_buckets_have_the_bits_of_one_message_and_leave_before_the_backward_pass_ends(
    tmp_path: Path,
) -> None:
    forking = multiprocessing.get_context("forkserver")
    processes = [forking.Process(target=_one, args=(rank, tmp_path)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(600)
        assert process.exitcode == 0
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    expected = first["one message"][0]
    assert len(expected) == 26
    for found in (first, second):
        for way in ("in turn", "overlap"):
            assert all(map(torch.equal, found[way][0], expected))
    sent = first["overlap"][1][1:]  # after the first micro-batch
    assert sent.count("sent") >= FEWEST_BUCKETS
    assert sent.index("first layer") >= FEWEST_BUCKETS - 1
    assert first["in turn"][1][1] == "first layer"
    # both networks and one after the other: the closed form of the sum
    model = network()
    for rank in range(2):
        for part in range(2):
            model(slice_of(rank, part)).square().mean().backward()
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


def test_parameters_are_cut_from_the_last_to_the_first() -> None:
    small = [nn.Parameter(torch.zeros(10)) for _ in range(20)]
    parts = cut(small)
    assert len(parts) == FEWEST_BUCKETS
    assert [id(p) for part in parts for p in part] == [id(p) for p in reversed(small)]
    large = [nn.Parameter(torch.zeros(2**20, device="meta")) for _ in range(100)]  # of 4 MiB
    sizes = [sum(p.numel() * 4 for p in part) for part in cut(large)]
    assert all(BUCKET_BYTES <= size < BUCKET_BYTES + 2**22 for size in sizes[:-1])
    assert sum(sizes) == 100 * 2**22


def test_one_process_sends_nothing_and_listens_to_nothing() -> None:
    model = network()
    summed = GradientSum(list(model.parameters()), DistContext())
    with summed.last_backward():
        model(slice_of(0, 0)).sum().backward()
    summed.finish()
    assert not any(p._post_accumulate_grad_hooks for p in model.parameters())
