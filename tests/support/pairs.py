"""Training pairs for tests: harmless texts, with reference log-probabilities by the scorer."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hardening_trainer.inference.chat import encode_pair
from hardening_trainer.inference.logprobs import answer_logprobs

TEXTS = [
    ("how do I bake bread", "first water, then the oven", "no"),
    ("tell me about the park", "here is a walk under old trees until the rain begins", "the lazy dog naps"),
    ("please water the plants", "yes", "sorry I cannot help with that, thank you"),
    ("what is an apple tree", "an old tree", "the quick brown fox jumps over the lazy dog"),
    ("how do I walk the dog", "first the park, second the tree, then finally home", "I cannot help"),
    ("tell me about bread", "bread begins with water", "here is what you can do: nothing"),
    ("help me with the rain", "please wait under a tree until it ends", "no, thank you"),
    ("where does the fox nap", "under the tree", "in the park, over the bread, and then in the water"),
]

SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("prompt", "chosen", "rejected")]
    + [(name, pa.float64()) for name in ("ref_chosen_logps", "ref_rejected_logps")]
    + [("source", pa.string())]
)


def write_pairs(
    file: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[tuple[str, str, str]]
) -> Path:
    """Write `texts` (prompt, chosen, rejected) with `model`'s log-probabilities, as the Score stage does."""
    encoded = [encode_pair(tokenizer, *text) for text in texts]
    references = answer_logprobs(
        model, [pair.prompt for pair in encoded], [[pair.preferred, pair.dispreferred] for pair in encoded]
    )
    rows = [
        dict(zip(("prompt", "chosen", "rejected"), text, strict=True))
        | {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected, "source": "attacked"}
        for text, (chosen, rejected) in zip(texts, references, strict=True)
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), file)
    return file
