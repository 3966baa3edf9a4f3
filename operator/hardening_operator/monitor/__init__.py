"""`HardeningMonitor`: when to check a promoted or served model, what a check's figures mean, and what follows."""
