"""One module per stage; each has `run(context) -> StageResult`."""
