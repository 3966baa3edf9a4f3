"""Files: the workspace, Parquet tables, manifests, and the stores and credentials behind them."""
