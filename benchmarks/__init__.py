"""The measurements behind every number in the documentation: one module for each subject, run by `python -m benchmarks`."""
