"""The one training loop of all methods."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from harness.batch_plan import BatchPlan
from harness.batch_slice import BatchSlice
from harness.data.mixing import soft_targets
from harness.data.module import DataModule, open_data
from harness.data.prefetch import prefetched
from harness.device import cpu_has_bf16
from harness.distributed import DistContext, process_group
from harness.errors import Interrupted, RunFailed, StoppedAlone, WeightsError
from harness.evaluate.collapse import COLLAPSED
from harness.evaluate.right import RIGHT, write_right
from harness.methods import Batch, Objective, Step
from harness.models.build import ARTIFACT, freeze_all_but_head, save_model
from harness.models.layers import replace_drop_path, set_batch_slice
from harness.models.vit import VisionTransformer
from harness.precision import autocast, float32_products
from harness.run import RunContext
from harness.seeding import generator, seed_unnamed, stream
from harness.train.checkpoint import (
    DamagedCheckpoint,
    read_checkpoint,
    starting_over,
    write_checkpoint,
)
from harness.train.compiled import as_written, compile_blocks, compiling
from harness.train.config import TrainConfig
from harness.train.gradients import GradientSum
from harness.train.loss_log import Meters, OpenLine
from harness.train.macs import image_macs
from harness.train.narration import Narrator
from harness.train.networks import build_networks, pick_device
from harness.train.optimizer import build_optimizer
from harness.train.peaks import peak_flops
from harness.train.pipeline import PipelinePlace, RemoteTeacher, teach
from harness.train.schedule import learning_rate, total_steps
from harness.train.speed import KEY as SPEED
from harness.train.speed import Speedometer
from harness.train.validation import Validation
from harness.transfer import HostCopy, to_device

LOGS_PER_EPOCH = 10
SUMMARIES = 8  # of a method's own state over a training, at least; long trainings have one an epoch
FLAG_STEPS = 10  # between looks, on a GPU, at whether several processes are to stop


def train(config: TrainConfig, context: RunContext) -> dict[str, float]:
    """Train `config`'s student to the end, resuming where the run directory's checkpoint stands;
    the final metrics.

    Raises RunFailed when the loss stops being finite, and Interrupted (with a checkpoint saved)
    when asked to stop.
    """
    device = pick_device(context.resources.device)
    compiled = config.recipe.compile == "blocks"
    with float32_products(config.recipe.precision, device), compiling(compiled):
        if context.resources.pipeline is None:
            with process_group(context.dist, context.rendezvous_store, device):
                return _Training(config, context).run()
        return _train_in_pipeline(config, context, device)


def _train_in_pipeline(
    config: TrainConfig, context: RunContext, device: torch.device
) -> dict[str, float]:
    """As a student, or as the teacher of one, whose metrics are none."""
    assert context.rendezvous_store is not None
    place = PipelinePlace.of(context.dist)
    with place.channel(context.rendezvous_store, device) as channel:
        if place.teaches:
            # all networks are built, for a random teacher is drawn after the student
            teacher = build_networks(config, context.dependencies, device).teacher
            assert teacher is not None
            teach(config, teacher, channel, context.should_stop)
            return {}
        with process_group(place.students, context.rendezvous_store, device):
            return _Training(config, context, place.students, RemoteTeacher(channel)).run()


def _rows(values: Tensor, chosen: Sequence[int]) -> Tensor:
    """Some rows; a range of them is not copied."""
    if isinstance(chosen, range):
        return values[chosen.start : chosen.stop]
    return values.index_select(0, to_device(torch.tensor(chosen), values.device))


class _Training:
    def __init__(
        self,
        config: TrainConfig,
        context: RunContext,
        dist: DistContext | None = None,
        remote: RemoteTeacher | None = None,
    ) -> None:
        self.config, self.context = config, context
        self.recipe = config.recipe
        self.device = pick_device(context.resources.device)
        self.dist = dist or context.dist  # the processes that train
        self.remote = remote  # None: this process computes the teacher
        self.data = self._open_data()
        context.before_result(self.data.changed)
        self.plan = self._plan_batch()
        self._warn_of_class_order()
        self._warn_of_slow_bf16()
        self.frozen: list[VisionTransformer]  # teacher and saliency model, watched
        self.objective = self._build_objective()
        if self.recipe.compile == "blocks":
            students = self.objective.modules.values()
            compile_blocks(
                [*self.frozen, *(one for one in students if isinstance(one, VisionTransformer))],
                self.device,
            )
        self.optimizer = build_optimizer(
            self.objective.modules, self.recipe, decay_tokens=self.objective.decays_tokens
        )
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=self.recipe.precision == "fp16"
        )
        self.per_epoch = self.data.steps_per_epoch
        self.total = total_steps(self.recipe, self.per_epoch)
        self.log_every = max(1, self.per_epoch // LOGS_PER_EPOCH)
        self.summarise_every = min(self.per_epoch, math.ceil(self.total / SUMMARIES))
        self.meters = Meters({})
        self.open_line: OpenLine | None = None
        self.warned: set[str] = set()
        self.validation = Validation(config, self.data, self.objective, self.dist)
        self.saved_at = time.monotonic()
        self.gradients = GradientSum(self._parameters(), self.dist)
        self.stop_flag: HostCopy | None = None
        self.speed = self._speedometer()

    def _plan_batch(self) -> BatchPlan:
        """RunFailed where a piece of the batch would not have whole groups."""
        plan = BatchPlan(
            batch=self.data.batch,
            group_size=self.config.method.group_size,
            processes=self.dist.size,
            micro_batch=self.context.resources.micro_batch,
            pieces=self.context.resources.pipeline,
            whole=self.config.method.needs_whole_batch,
        )
        wrong = plan.why_not_computable()
        if wrong is not None:
            raise RunFailed(wrong)
        return plan

    def _warn_of_class_order(self) -> None:
        """Where a classifier came from elsewhere and the data's classes are numbered."""
        order = self.data.class_order
        for what, model in (("student", self.config.student), ("teacher", self.config.teacher)):
            if order is None or model is None or model.weights.head == "new":
                continue
            if model.weights.hub is not None or model.weights.file is not None:
                self.context.log(f"warning: the {what}'s weights come from elsewhere; {order}")

    def _warn_of_slow_bf16(self) -> None:
        precisions = self.recipe.precision, self.recipe.teacher_precision
        if self.device.type == "cpu" and "bf16" in precisions and cpu_has_bf16() is False:
            key = "precision" if precisions[0] == "bf16" else "teacher_precision"
            self.context.log(
                f"warning: `recipe.{key}: bf16` is slower than fp32 here: this CPU has no bf16"
            )

    def _open_data(self) -> DataModule:
        return open_data(
            self.config.data,
            self.recipe.augment,
            image_size=self.config.student.shape.image_size,
            batch_size=self.recipe.batch_size,
            eval_crop=self.recipe.eval_crop,
            seed=self.config.seed,
            device=self.device,
            workers=self.context.resources.workers,
            dist=self.dist,
            stopping=self.context.should_stop,
        )

    def _build_objective(self) -> Objective:
        networks = build_networks(self.config, self.context.dependencies, self.device, self.data)
        self.frozen = [one for one in (networks.teacher, networks.saliency_model) if one]
        self.depths = replace_drop_path(networks.student)
        if self.config.student.trained == "head":
            freeze_all_but_head(networks.student)
        if self.remote is not None:
            assert networks.teacher is not None
            networks = self.remote.instead_of(networks)
        return self.config.method.build(networks)

    def run(self) -> dict[str, float]:
        start = self._restore()
        self.narrator = Narrator(
            self.context.log,
            start=start,
            total=self.total,
            per_epoch=self.per_epoch,
            batch=self.recipe.batch_size,
        )
        batches = prefetched(self._batches(start), self.device)
        self.speed.take()  # what came before is no step
        try:
            for step in range(start, self.total):
                self._train_step(step, batches)
                self._after_step(step + 1)
        finally:
            self.gradients.close()
        result = self._evaluate(self.total)
        if not math.isfinite(result.get("val/loss", 0.0)):  # no training loss sees the last update
            raise RunFailed(f"the validation loss is {result['val/loss']} after the last step")
        model = self.objective.final_model
        assert isinstance(model, VisionTransformer)
        self.context.save_artifact(ARTIFACT, lambda path: save_model(model, path))
        for name, write in self.objective.artifacts().items():
            self.context.save_artifact(name, write)
        if right := self.validation.right:
            self.context.save_artifact(RIGHT, lambda path: write_right(path, right))
        return result

    def _parameters(self) -> list[nn.Parameter]:
        """What is trained, in the order of the networks' layers."""
        modules = self.objective.modules.values()
        every = (p for module in modules for p in module.parameters() if p.requires_grad)
        return list(dict.fromkeys(every))

    def _speedometer(self) -> Speedometer:
        peak = None
        if self.device.type == "cuda":  # the higher peak, where the teacher has another precision
            card = torch.cuda.get_device_name(self.device)
            peak = peak_flops(card, self.recipe.taught_in)
        return Speedometer(
            self.device,
            images=self.plan.batch,
            flops_per_image=2 * image_macs(self.config),
            peak=None if peak is None else peak * self.context.dist.size,
        )

    def _batches(self, start: int) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        """All views of the images, and soft targets."""
        crops = self.config.method.multicrop
        if crops is None:
            for images, targets in self.data.train(start):
                yield (images,), targets
            return
        for pictures, labels in self.data.train_crops(crops, start):
            yield pictures, soft_targets(labels, classes=self.data.classes, smoothing=0.0)

    def _restore(self) -> int:
        path = self.context.restore_checkpoint()
        has_checkpoint = self.dist.rank == 0 and path is not None  # the first process decides
        if not self.dist.any_rank(has_checkpoint)[0] or path is None:
            return 0
        try:
            step, meters = read_checkpoint(
                path, objective=self.objective, optimizer=self.optimizer, scaler=self.scaler
            )
        except DamagedCheckpoint as error:
            what = starting_over(path) if self.dist.rank == 0 else "the first process moves it away"
            raise WeightsError(f"{error}: {what}") from error
        self.meters = Meters(
            {name: value.to(self.device) for name, value in meters["sums"].items()}, meters["steps"]
        )
        self.context.log(f"resuming at step {step} of {self.total}")
        return step

    def _train_step(self, index: int, batches: Iterator[tuple[tuple[Tensor, ...], Tensor]]) -> None:
        rate = learning_rate(self.recipe, index, self.per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        with self.speed.waiting():
            views, targets = self._next(index, batches)
        summed: dict[str, Tensor] = {}
        with self._autocast():
            self.objective.before_losses(self._pieces(index, views, targets))
        computed = 0
        begun = self._begun(index, views, targets)
        for batch, step, rest in begun if self.remote is None else list(begun):  # noqa: B007
            with self._autocast():
                losses = rest()
            weight = len(batch.images) / self.plan.batch
            computed += len(batch.images)
            whole = computed == len(views[0])
            with self.gradients.last_backward() if whole else nullcontext():
                self.scaler.scale(losses["total"] * weight).backward()  # type: ignore[no-untyped-call]
            for name, value in losses.items():
                summed[name] = (
                    summed.get(name, torch.zeros((), device=self.device)) + value.detach() * weight
                )
        if self.remote is not None:
            self.remote.settle()
        self._sum_over_processes(index, summed)
        self._update(step)
        self.objective.after_step(step)
        self.meters.add(summed)
        self.speed.step()

    def _begun(
        self, index: int, views: tuple[Tensor, ...], targets: Tensor
    ) -> Iterator[tuple[Batch, Step, Callable[[], dict[str, Tensor]]]]:
        """Each micro-batch with what is left to do for its losses, when it is asked for."""
        for batch, step in self._pieces(index, views, targets):
            with self._autocast():
                rest = self.objective.begin(batch, step)
            yield batch, step, rest

    def _sum_over_processes(self, index: int, losses: dict[str, Tensor]) -> None:
        """The gradients, the losses, and whether one of the processes is asked to stop.

        That goes with the gradients: it takes no message of its own.
        """
        if self.dist.size == 1:
            return
        asked = torch.full((), float(self._should_stop()), device=self.device)
        self.gradients.finish([*losses.values(), asked])
        if self.device.type == "cpu" or index % FLAG_STEPS == 0:
            self.stop_flag = HostCopy(asked)

    def _should_stop(self) -> bool:
        """Whether this process was asked, or the one that computes its teacher."""
        asked = self.remote is not None and self.remote.asked_to_stop
        return asked or self.context.should_stop()

    def _asked_to_stop(self, done: int) -> bool:
        """The same in all processes, after the same step. A GPU is asked every `FLAG_STEPS` steps,
        for what it knew a step before.
        """
        if self.dist.size == 1:
            return self._should_stop()
        flag = self.stop_flag
        if flag is None or not (flag.immediate or (done - 1) % FLAG_STEPS == 1):
            return False
        self.stop_flag = None
        return bool(flag.get() > 0)

    def _pieces(
        self, index: int, views: tuple[Tensor, ...], targets: Tensor
    ) -> Iterator[tuple[Batch, Step]]:
        """This process's micro-batches, each with its own draws set up."""
        images = views[0]
        batch_slice = self.dist.batch_slice(self.plan.batch)
        for chosen in self.plan.micro_batches(batch_slice, len(images)):
            batch = Batch(
                images=_rows(images, chosen),
                targets=_rows(targets, chosen),
                views=tuple(_rows(view, chosen) for view in views),
            )
            yield batch, self._step(index, batch_slice.subset(chosen, len(images)))

    def _next(
        self, done: int, batches: Iterator[tuple[tuple[Tensor, ...], Tensor]]
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        try:
            return next(batches)
        except StoppedAlone as stopped:  # nothing of the step has begun
            self._save(done)
            raise StoppedAlone(f"at step {done} of {self.total}, {stopped}") from None

    def _step(self, index: int, batch_slice: BatchSlice) -> Step:
        """Every draw is a function of seed and step: a resumed run draws the same, and so do the
        parts of a batch, each of which takes its own images' draws.
        """
        seed_unnamed(stream(self.config.seed, "forward", index), self.device)
        set_batch_slice(self.depths, batch_slice)
        return Step(
            index=index,
            total=self.total,
            generator=generator(self.config.seed, "method", index),
            per_epoch=self.per_epoch,
            batch_slice=batch_slice,
        )

    def _autocast(self) -> AbstractContextManager[object]:
        return autocast(self.recipe.precision, self.device)

    def _update(self, step: Step) -> None:
        self.scaler.unscale_(self.optimizer)
        self.objective.before_update(step, self.optimizer)
        if self.recipe.clip_norm is not None:
            parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self.recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def _after_step(self, done: int) -> None:
        self.context.progress(done, self.total)
        self._write_line()  # what was to be logged a step ago: the device has it by now
        if done % self.log_every == 0 or done == self.total:
            self._begin_line(done)
        if done % self.summarise_every == 0 or done == self.total:
            self._summarise(done)
        if self._evaluation_is_due(done):
            with self.speed.paused():
                self.narrator.evaluated(done, self._evaluate(done))
        stop = self._asked_to_stop(done) and done < self.total
        old = time.monotonic() - self.saved_at > self.context.resources.checkpoint_seconds
        if stop or (old and done < self.total):
            with self.speed.paused():
                self._save(done)
        if stop:
            raise Interrupted(f"at step {done} of {self.total}")

    def _begin_line(self, done: int) -> None:
        """Have the losses since the last line come from the device. On a CPU they are here."""
        nan_flags = [one.nan_flag for one in self.frozen if one.nan_flag is not None]
        self.open_line = self.meters.close(done, nan_flags, self.speed.take())
        if self.open_line.numbers.immediate:
            self._write_line()

    def _write_line(self) -> None:
        line, self.open_line = self.open_line, None
        if line is None:
            return
        means, nan_flags = line.read()
        self._check_finite(means["loss/total"], nan_flags, line.done)
        rate = learning_rate(self.recipe, line.done - 1, self.per_epoch)
        where = self._where(line.done)
        self.context.metric({**where, "lr": rate, **means, SPEED: line.interval.record()})
        self.narrator.losses(line.done, loss=means["loss/total"], rate=rate)

    def _summarise(self, done: int) -> None:
        self._write_line()
        extra = self.objective.summary()
        if extra:
            self.context.metric({**self._where(done), **extra})
        for sign, text in self.objective.warnings(extra).items():
            if sign not in self.warned:
                self.warned.add(sign)
                self.context.log(f"warning at step {done}: {text}")

    def _evaluation_is_due(self, done: int) -> bool:
        if self.recipe.evaluate_every is None or done == self.total:  # the end is evaluated anyway
            return False
        every = self.recipe.evaluate_every * self.per_epoch
        return math.floor(done / every) > math.floor((done - 1) / every)

    def _evaluate(self, done: int) -> dict[str, float]:
        self._write_line()
        with as_written(self.recipe.compile == "blocks"):
            metrics = self.validation.metrics()
        self._warn_of_collapse(metrics, done)
        self.context.metric({**self._where(done), **metrics})
        return metrics

    def _warn_of_collapse(self, metrics: Mapping[str, float], done: int) -> None:
        std = metrics.get("features/std")
        if std is not None and std < COLLAPSED:
            self.context.log(
                f"collapsed at step {done}: features/std is {std:.2g}, all images look the same to "
                "the network; see teacher_entropy and mean_entropy in metrics.jsonl"
            )

    def _where(self, done: int) -> dict[str, float]:
        return {
            "step": done,
            "epoch": done / self.per_epoch,
            "images": done * self.recipe.batch_size,
        }

    def _check_finite(self, loss: float, nan_flags: Sequence[float], done: int) -> None:
        if not all(map(math.isfinite, nan_flags)):
            raise RunFailed(
                f"the teacher or saliency model computed numbers that are not finite, by step "
                f"{done} of {self.total}: use precision fp32 or bf16, or look at its weights"
            )
        if not math.isfinite(loss):
            raise RunFailed(
                f"the loss is {loss} at step {done} of {self.total}; "
                "lower `recipe.lr`, lengthen `recipe.warmup_epochs`, or use precision fp32 or bf16"
            )

    def _save(self, done: int) -> None:
        self._write_line()
        if "total" in self.meters.sums:
            nan_flags = [float(one.nan_flag) for one in self.frozen if one.nan_flag is not None]
            self._check_finite(float(self.meters.sums["total"]), nan_flags, done)
        self.context.save_checkpoint(
            lambda path: write_checkpoint(
                path,
                step=done,
                objective=self.objective,
                optimizer=self.optimizer,
                scaler=self.scaler,
                meters=self.meters.state(),
            )
        )
        self.saved_at = time.monotonic()
