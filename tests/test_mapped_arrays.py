"""Large arrays are in files: they give the same figures, and their memory is given back."""

from pathlib import Path

import numpy as np
import pytest

from common import mapped_arrays
from evaluation.metrics import all_metrics, bootstrap, calibration, micro_counts
from evaluation.report import findings, tag_table


def resident_bytes() -> int:
    """Memory of this process now, on Linux."""
    [line] = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def in_file(values: np.ndarray, folder: Path) -> np.ndarray:
    array = mapped_arrays.zeros(values.shape, values.dtype, folder)
    array[:] = values
    return array


def test_figures_of_arrays_in_files_equal_those_in_memory_to_the_last_digit(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    labels, groups = random.random((600, 50)) < 0.1, np.arange(600) // 2
    probability = (1 / (1 + np.exp(2 - 3 * labels - random.standard_normal(labels.shape)))).astype(np.float32)
    variance, thresholds = random.integers(0, 255, labels.shape, np.uint8), np.full(50, 0.4)
    weights = bootstrap.group_weights(groups, 50)[:, :20]

    def found(*arrays: np.ndarray) -> list:
        figures = all_metrics.compute(*arrays[:2], thresholds, 0.3, weights, arrays[2])
        fitted = calibration.fit(*arrays[:2], groups, calibration.Target("f1"))
        figures_by_name = [figures.values, figures.by_tag, figures.by_image]
        named = [values for by_name in figures_by_name for values in by_name.values()]
        intervals = bootstrap.tag_intervals(figures.by_tag["f1"], arrays[0], groups)
        report = [tag_table.score_histograms(*arrays[:2]), findings.confusions(*arrays[:2], thresholds, 9)]
        mistakes = findings.confident_mistakes(*arrays[:2], groups, 9)
        return [*named, figures.reliability, fitted.thresholds, fitted.temperature, intervals, *report, mistakes]

    in_memory = found(labels, probability, variance)
    monkeypatch.setattr(mapped_arrays, "MEMORY_BYTES", 0)
    monkeypatch.setattr(micro_counts, "BLOCK_PAIRS", 3000)
    monkeypatch.setattr(micro_counts, "COLUMN_PAIRS", 7000)
    for one, other in zip(
        in_memory, found(*(in_file(each, tmp_path) for each in (labels, probability, variance))), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert not list(tmp_path.iterdir())  # the files have no names


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of the process from Linux's /proc")
def test_an_array_in_a_file_keeps_its_values_when_its_memory_is_given_back(tmp_path):
    array = mapped_arrays.zeros((2**8, 2**21), np.uint8, tmp_path)
    before = resident_bytes()
    for row in range(len(array)):
        (part,) = mapped_arrays.read_rows(slice(row, row + 1), array[:, 1:])
        part[:] = row
    assert resident_bytes() - before < 2**26 and array[200, 1:].min() == array[200].max() == 200
