"""Teachers write rationales into append-only logs; a corpus is built from the logs.

`job.teach` runs a task's questions through teachers. Each teacher has a log file of its own, which
keeps every finished rationale, whatever happens to the process. This package never imports jax or
flax, so that it runs in the teachers' own environment; it meets the rest of the program only in
the log.

A job, from its start to its end:

    config.py               the fields of a teacher, their defaults and the checks on them
    weights.py              which weights a teacher's model has, and the revision that names them
    prompts.py              what a teacher is asked: templates and in-context examples
    plan.py                 which requests a teacher is sent, and the log row of each result
    remaining.py            which of these requests the logs do not answer yet
    job.py                  the job itself
    reply.py                what a model's reply says: a rationale, or why there is none
    log.py                  the append-only log
    totals.py               what a log's rows add up to: rows, tokens, time, failures
    signals.py              SIGTERM and Ctrl-C let what is in flight finish

Engines, which answer the requests:

    engine.py               what an engine is: requests in, results out
    vllm_engine.py          vLLM in this process
    transformers_engine.py  Hugging Face transformers, for encoder-decoder models too
    openai_engine.py        any server with OpenAI's interface
    openai_reply.py         what such a server's refusals mean
    ray_engine.py           vLLM on a Ray cluster
    scripted.py             the teachers of the made-up things
    prompt_tokens.py        the tokens of a prompt that fits a local model's window
    process_group.py        keeps an engine's processes from Ctrl-C, and from outliving the job

`templates/` and `examples/` hold the package's own prompt templates and in-context examples.
"""
