"""TRL's DPOTrainer, given the reference's log-probabilities instead of computing them."""

from __future__ import annotations

from typing import Any

from datasets import Dataset
from peft import LoraConfig
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_callback import PrinterCallback
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from hardening_trainer.dpo.packed import add_packed_forward
from hardening_trainer.dpo.pairs import TokenPairs


class CachedReferenceTrainer(DPOTrainer):
    """DPOTrainer on `TokenPairs`: no reference model is loaded and no reference pass is made.

    Loss, metrics, optimizer and checkpoints are TRL's. The forward pass runs on packed rows where the model can.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        args: DPOConfig,
        pairs: TokenPairs,
        tokenizer: PreTrainedTokenizerBase,
        adapter: LoraConfig | None = None,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        super().__init__(
            model=model,
            args=args,
            train_dataset=Dataset.from_list(pairs.rows),
            processing_class=tokenizer,
            peft_config=adapter,
            callbacks=callbacks,
        )
        self.precompute_ref_logps = True  # the loss reads the columns; said here, a LoRA training hashes no weights
        self.remove_callback(PrinterCallback)
        trained: Any = self.model
        add_packed_forward(trained.get_base_model() if adapter else trained)

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset  # tokens already

    def _precompute_ref_logps(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset  # the Score stage's columns

    def _send_telemetry(self) -> None:
        pass  # what is trained here is nobody else's business

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """Write none into checkpoints; the Promote stage writes the model's card."""
