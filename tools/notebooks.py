"""Run notebooks and store them with their outputs, small enough to be committed.

    python tools/notebooks.py                           # all of notebooks/
    python tools/notebooks.py notebooks/05_retrieval.ipynb

What went to the error stream and interactive figures are not kept; pictures are cut to PNGs of LARGEST bytes
by fewer colours, then by a smaller size; a path of this machine in an output is an error.
"""

import base64
import io
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import nbclient
import nbformat
from PIL import Image

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
LARGEST = 95_000
"""Bytes of a PNG."""


def main(paths: list[Path]) -> None:
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as work:
            os.environ["TMPDIR"] = work
            started, before = time.perf_counter(), cpu_seconds()
            place = {"metadata": {"path": work}}
            nbclient.NotebookClient(notebook, timeout=900, kernel_name="python3", resources=place).execute()
            seconds, cpu = time.perf_counter() - started, cpu_seconds() - before
            for number, cell in enumerate(cell for cell in notebook.cells if cell.cell_type == "code"):
                cell.metadata.clear()
                cell.execution_count = number + 1
                cell.outputs = [small(output) for output in cell.outputs if kept(output)]
            notebook.metadata["language_info"] = {"name": "python"}
            text = nbformat.writes(notebook)
            for private in (work, str(Path.home()), str(NOTEBOOKS.parent)):
                if len(private) > 1 and private in text:
                    raise SystemExit(f"{path.name} has the path {private} in an output")
        path.write_text(text + "\n")
        print(f"{path.name}: {seconds:.0f} s, {cpu:.0f} s of CPU, {path.stat().st_size:,} bytes")


def cpu_seconds() -> float:
    """Of kernels that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def kept(output: nbformat.NotebookNode) -> bool:
    if output.output_type == "stream":
        return output.name == "stdout"
    return "image/png" in output.data or list(output.data) == ["text/plain"]


def small(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The output with its picture cut, and no number of execution, which the cell has."""
    if output.output_type == "execute_result":
        output.execution_count = None
    if "data" in output and "image/png" in output.data:
        png = base64.b64decode(output.data["image/png"])
        output.data = nbformat.NotebookNode({"image/png": base64.b64encode(cut(png)).decode()})
    return output


def cut(png: bytes) -> bytes:
    """A PNG of no more than LARGEST bytes: 256, 128, 64 colours, then smaller and smaller."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for scale in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5):
        size = (round(picture.width * scale), round(picture.height * scale))
        shrunk = picture if scale == 1 else picture.resize(size, Image.Resampling.LANCZOS)
        for colours in (256, 128, 64, 40):
            stream = io.BytesIO()
            shrunk.quantize(colours, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
            if stream.tell() <= LARGEST:
                return stream.getvalue()
    raise SystemExit("a picture does not get small enough; draw it smaller")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("*.ipynb")))
