"""Benchmarks of descriptors, matches and reconstructions: `desdis-match evaluate TASK`.

Each task is a module with a frozen config, a function `evaluate_<task>(config) -> TaskResult` and nothing
printed; `metrics` and `geometry` are pure functions over arrays; `results` turns a `TaskResult` into tables,
JSON, Markdown and plots; `cache` keeps predictions, so that a stopped run goes on and scoring is cheap.
"""
