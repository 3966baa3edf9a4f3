"""What the watch streams bring: which extract an object is kept as, and whose run must be looked at for it.

One module a kind of resource; `main.py` binds them to kopf.
"""
