"""transformers reads a GGUF file through the gguf package, again for each of tokenizer, config and weights.

Seen with transformers 5.23.0 and gguf 0.19.0: loading SmolLM2-135M parses the file three times, for 3 s each, and
builds the table of tensor names, which is the same for the whole model, for each of its 397 modules. The loader's
rework (https://github.com/huggingface/transformers/pull/47779) has a reader of its own, so far for few architectures.
To remove when `transformers.modeling_gguf_pytorch_utils.load_gguf_checkpoint` is gone.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import gguf


@contextmanager
def parsed_once() -> Iterator[None]:
    """While this holds, a GGUF file is parsed once, and its table of names is built once.

    transformers imports both names from the package each time it loads, so it is the package that is changed.
    """
    reader, table = gguf.GGUFReader, gguf.get_tensor_name_map
    gguf.GGUFReader = functools.cache(reader)  # type: ignore[misc, assignment]  # for this block only
    gguf.get_tensor_name_map = functools.cache(table)
    try:
        yield
    finally:
        gguf.GGUFReader = reader  # type: ignore[misc]
        gguf.get_tensor_name_map = table
