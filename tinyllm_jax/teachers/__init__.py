"""Teachers write rationales into append-only logs; a corpus is built from the logs.

`job.teach` runs a task's questions through teachers, one log file each: `prompts.py` says what a
teacher is asked, an engine answers (`engine.py`: what an engine is; `scripted.py`: the teachers of
the made-up things), and `log.py` keeps every finished rationale, whatever happens to the process.
This package never imports jax or flax, so that it runs in the teachers' own environment; it meets
the rest of the program only in the log.
"""
