"""Errors of potentials on labelled data: how far predictions are from what they were to be."""

from molgen.evaluation.errors import LabelErrors, Measured
from molgen.evaluation.evaluation import Evaluation, evaluate
from molgen.evaluation.writing import write_evaluation

__all__ = ["Evaluation", "LabelErrors", "Measured", "evaluate", "write_evaluation"]
