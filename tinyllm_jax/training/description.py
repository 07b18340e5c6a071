"""What a run says of itself before it begins."""

import math

import jax

from tinyllm_jax.training import sharding


def devices() -> str:
    """What the run computes on, in a few words."""
    first, count, processes = jax.devices()[0], jax.device_count(), jax.process_count()
    kind = "" if first.device_kind == first.platform else f"  {first.device_kind}"
    return (
        f"{first.platform}{kind}  {count} device{'s' * (count > 1)}  "
        f"{processes} process{'es' * (processes > 1)}"
    )


def describe(say, run, corpus, student, tokens, batches, validation, mesh) -> None:
    """Says what the run trains, on what, and how much of its rows is padding."""
    useful = batches.useful_tokens()
    size = sum(math.prod(x.shape) for x in jax.tree.leaves(student.params))
    weights = run.student.weights or "random weights"
    say(f"student   {run.student.name}  {size:,} parameters  {weights}  {student.config.dtype}")
    say(
        f"corpus    {corpus.task}  {len(tokens):,} training questions, "
        f"{tokens.report['unknown_in_questions']:,} with words that the tokenizer does not know  "
        f"teachers {', '.join(corpus.teachers) or 'none'}"
    )
    weight_of = run.objective.terms
    for name, count in tokens.report["terms"].items():
        say(
            f"term      {name}  weight {weight_of[name]:g}  {count['targets']:,} targets  "
            f"{count['missing_or_weightless']:,} missing  "
            f"{count['contexts_cut']:,} contexts cut to {count['input_length']}  "
            f"{count['targets_cut']:,} targets cut to {tokens.report['target_length']}  "
            f"{count['unknown_in_targets']:,} targets with words that the tokenizer does not know"
        )
    parts = f" in {run.accumulate} microbatches" if run.accumulate > 1 else ""
    shapes = ", ".join(
        " + ".join(f"{rows} × {length}" for rows, length in shape) for shape in batches.shapes()
    )
    say(
        f"batches   {run.batch_size} questions{parts}  "
        f"{'packed' if run.lengths.packing else 'one target'} a row  shapes {shapes}  "
        f"useful tokens {100 * useful['input']:.0f} % of inputs, "
        f"{100 * useful['target']:.0f} % of targets  mesh {dict(mesh.shape)}"
    )
    without = ""
    if validation.without:
        without = f"  no rationale of {', '.join(validation.without)}: no held-out loss of it"
    say(
        f"validate  {validation.count:,} questions  at most {validation.longest:,} tokens  "
        f"{validation.unknown:,} with words that the tokenizer does not know  "
        f"{validation.choices.alike:,} with choices that it cannot tell apart{without}"
    )


def lengths(say, run, student, rows, left_out, batches, mesh) -> None:
    """Says which questions are left out, and what the longest of the others costs."""
    if left_out:
        longest = sorted(left_out, key=lambda id: -left_out[id])
        named = [f"{id} ({left_out[id]:,} tokens)" for id in longest[:5]]
        more = ", …" if len(left_out) > len(named) else ""
        say(
            f"left out  {len(left_out):,} questions of more than {run.lengths.most_input:,} tokens "
            f"(config.lengths.most_input): {', '.join(named)}{more}"
        )
    question, tokens, shape = batches.longest()
    # Attention keeps a score in float32 for each head and each pair of positions of a row.
    count, length = shape.inputs
    rows_there = count / run.accumulate / sharding.row_shards(mesh)
    scores = 4 * rows_there * student.config.num_heads * length**2
    say(
        f"longest   question {rows[question].question.id}  {tokens:,} tokens: its batch has "
        f"{count:,} rows of {length:,}, whose attention takes {scores / 2**20:,.0f} MiB a layer "
        "and device"
    )
