"""What bench.py measures: one module a subject, each with `add_options(parser)` and `measure(options)`."""
