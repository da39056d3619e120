"""`desdis-match export-onnx`: a descriptor as an ONNX file."""

from __future__ import annotations

from collections.abc import Sequence

from ..descriptors.onnx_file import ExportOnnxConfig, export_onnx
from .flags import parse


def main(argv: Sequence[str]) -> int:
    """The command."""
    config = parse(ExportOnnxConfig, argv, "export-onnx")
    worst = export_onnx(config)
    print(f"{config.output}: {config.descriptor}, within {worst:.1e} of torch")
    return 0
