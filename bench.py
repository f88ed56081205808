"""Measured, side by side: a table with the ratio to the limit and to the peers, and `bench/SUBJECT.json`.

    python bench.py ablation --data data/openmoji    what each choice of the recipe is worth, on the test split
    python bench.py peers --data data/openmoji       other trainers' recipes and networks, at equal epochs and equal time
    python bench.py published --data data/openmoji   the recipe of 2021, with the errors of its code put back
    python bench.py stability --data data/openmoji   few or many tags, images, images a step, pixels
    python bench.py labels --data data/openmoji      wrong labels before and after cleaning; a student and its teacher
    python bench.py transfer --data data/openmoji data/openclipart   a trunk taken over, beside training from scratch
    python bench.py teach --data data/openmoji       tags taught from 50 pictures each, beside full training
    python bench.py input --data data/openmoji       batches a second: the decoder alone, the pipeline of 2021
    python bench.py step --preset base               training steps: the device's peak, ResNet-50
    python bench.py noise                            the noise layer: exact against samples
    python bench.py head                             parameters and time against the number of tags
    python bench.py predict                          tagging new pictures
    python bench.py folder --run RUN PICTURES        test.py on a folder, beside a process that has begun
    python bench.py memory --data data/openmoji      resident memory of an hour's training
    python bench.py metrics                          every figure of eval.py on 50,000 images and 10,000 tags
    python bench.py select                           reading an export of six million posts and choosing from it
    python bench.py pointing --run runs/openmoji     which heat maps point at the right place
    python bench.py search                           the nearest of 100,000 vectors: compared one by one, and a graph
    python bench.py frontends --run FILE.onnx PICTURES   an export in other programs' hands: the tags they give
    python bench.py serve --run FILE.onnx PICTURES   64 clients beside batches without a server
    python bench.py fuzz --run FILE.onnx PICTURES    10,000 requests that are wrong

`step`, `noise`, `head`, `predict` and `search` use synthetic data and need no TensorFlow: KERAS_BACKEND=jax python
bench.py step.
"""

import argparse
import importlib
import sys

from command import Parser, import_quietly, run, use_cpu

SUBJECTS = (
    "ablation",
    "peers",
    "published",
    "stability",
    "labels",
    "transfer",
    "teach",
    "input",
    "step",
    "noise",
    "head",
    "predict",
    "folder",
    "memory",
    "metrics",
    "select",
    "pointing",
    "search",
    "frontends",
    "serve",
    "fuzz",
)  # a module each in benchmarks/


def main() -> None:
    """Measure the subject asked for."""
    parser = Parser(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("subject", choices=SUBJECTS, help="what to measure; SUBJECT --help says how it can be changed")
    if len(sys.argv) < 2 or sys.argv[1] not in SUBJECTS:
        parser.parse_args()
    if "--cpu" in sys.argv:
        use_cpu()
    import_quietly("keras")
    subject = importlib.import_module(f"benchmarks.{sys.argv[1]}")
    parser.add_argument("--cpu", action="store_true", help="measure on the CPU, even where there is a GPU")
    subject.add_options(parser)
    subject.measure(parser.parse_args())


if __name__ == "__main__":
    run(main, when_interrupted="Runs that are finished are kept under runs/bench/: the same command goes on.")
