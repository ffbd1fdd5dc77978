"""What a training is judged by, at its end and in between: by labels, or by the features alone."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from harness.data.module import DataModule
from harness.distributed import DistContext
from harness.evaluate.average_precision import detect
from harness.evaluate.classification import accuracy, classify
from harness.evaluate.features import LabelledFeatures, eval_mode, extract, spread
from harness.evaluate.knn import knn_accuracy
from harness.evaluate.segmentation import batch_size, segment
from harness.methods import Objective
from harness.models.vit import VisionTransformer
from harness.precision import autocast
from harness.train.config import TrainConfig

NEIGHBOURS = 20


class Validation:
    """Looks at the networks of an objective, as they are now, on the images that judge."""

    def __init__(
        self, config: TrainConfig, data: DataModule, objective: Objective, dist: DistContext
    ) -> None:
        self.method, self.recipe = config.method, config.recipe
        self.data, self.objective, self.dist = data, objective, dist
        self.right: dict[str, Tensor] = {}  # by metric, which images were told right the last time

    def metrics(self) -> dict[str, float]:
        """Of the network that the training leaves, and of what the method wants judged beside."""
        model = self.objective.final_model
        assert isinstance(model, VisionTransformer)
        with autocast(self.recipe.precision, self.data.setup.device):
            if self.method.uses_labels:
                metrics = {f"val/{name}": value for name, value in self._judged(model).items()}
            else:
                metrics = self._of_features(model)
        return metrics | self._of_extra_predictors()

    def _judged(self, model: VisionTransformer) -> Mapping[str, float]:
        """By what is known of the images."""
        if self.data.labelling == "masks":
            return segment(model, self.data.val(batch_size(model, self.data)))
        if self.data.labelling == "boxes":
            return detect(model, self.data.val(self.data.eval_batch))
        scores = classify(model, self.data.val(self.data.eval_batch))
        self.right["val/top1"] = scores.right
        return scores.metrics

    def _of_features(self, model: VisionTransformer) -> dict[str, float]:
        """Whether they tell images apart; where a curve is asked for, k-NN among the images that
        are trained on too.
        """
        found = self._gathered(extract(model, self.data.val(self.data.eval_batch)))
        metrics = spread(found.features)
        if self.recipe.evaluate_every is not None:
            bank = self._gathered(extract(model, self.data.train_eval(self.data.eval_batch)))
            accuracies = knn_accuracy(bank, found, ks=(NEIGHBOURS,), classes=self.data.classes)
            metrics |= {f"val/knn{k}_top1": top1 for k, top1 in accuracies.items()}
        return metrics

    def _gathered(self, found: LabelledFeatures) -> LabelledFeatures:
        """With those of all processes."""
        gather = self.dist.all_gather
        return LabelledFeatures(gather(found.features), gather(found.labels))

    def _of_extra_predictors(self) -> dict[str, float]:
        """`val/teacher_top1` and so on, for what the method wants evaluated beside the student."""
        predictors = self.objective.extra_predictors()
        if not predictors:
            return {}
        metrics: dict[str, float] = {}
        precision = autocast(self.recipe.precision, self.data.setup.device)
        with eval_mode(self.objective.modules["student"]), precision:
            for name, predict in predictors.items():
                scores = accuracy(predict, self.data.val(self.data.eval_batch))
                metrics |= {f"val/{name}_{key}": value for key, value in scores.metrics.items()}
                self.right[f"val/{name}_top1"] = scores.right
        return metrics | self.objective.evaluated()
