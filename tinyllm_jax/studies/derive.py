"""The corpus that a cell learns from, made from its task's: a policy, the control, a fraction."""

import hashlib
import random

from etils import epath

from tinyllm_jax.corpus import store
from tinyllm_jax.corpus.schema import Row
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.selection.select import select
from tinyllm_jax.studies.study import PERMUTED, ZERO_SHOT, Cell, Study


def corpus_of(study: Study, cell: Cell, root: epath.Path) -> Corpus:
    """The corpus of a cell; what is made is kept under `root` and made once.

    Args:
      study: the study.
      cell: one of its cells.
      root: where derived corpora lie.

    Raises:
      UserError: the task's corpus cannot be read, or a policy cannot judge it.
    """
    corpus = Corpus(study.corpus(cell), task=cell.task)
    if cell.fraction < 1:
        corpus = _fraction(corpus, cell, root)
    method = study.methods[cell.method]
    policy, threshold = method.policy, method.threshold
    if policy in ("", ZERO_SHOT):
        return corpus
    # The readers are shared by all policies of a corpus, so their directory does not name one.
    name = f"{_name(cell)}-s{cell.seed}"
    out = root / f"{name}-{policy}{f'{threshold:+g}' if policy == 'helpful' else ''}"
    if not out.exists():
        if policy == PERMUTED:
            _permute(corpus, cell, out)
        else:
            select(corpus, policy, out, study.reader(cell), root / f"{name}-readers", threshold)
    return Corpus(out, task=cell.task)


def _name(cell: Cell) -> str:
    """What the derived corpora of a cell have in their names, whatever its method."""
    parts = [cell.task, cell.student.replace("/", "_")]
    parts += [f"{cell.fraction:g}" if cell.fraction < 1 else ""]
    return "-".join(part for part in parts if part)


def _fraction(corpus: Corpus, cell: Cell, root: epath.Path) -> Corpus:
    """A share of the training questions, chosen by their content: a smaller one is a subset."""
    out = root / f"{cell.task}-{cell.fraction:g}-{corpus.fingerprint[:12]}"
    if not out.exists():
        splits = {split: corpus.rows(split) for split in corpus.splits}
        splits["train"] = [row for row in splits["train"] if _place(row) < cell.fraction]
        report = {"fraction": cell.fraction, "made from": corpus.fingerprint}
        source = f"{corpus.manifest.source}, {cell.fraction:g} of it"
        store.write_corpus(out, corpus.task, corpus.teachers, splits, report, source)
    return Corpus(out, task=cell.task)


def _place(row: Row) -> float:
    """A question's place in [0, 1), by a hash of its content."""
    digest = hashlib.sha256(row.question.key.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _permute(corpus: Corpus, cell: Cell, out: epath.Path) -> None:
    """Writes the corpus with each training question's rationales put to another question."""
    splits = {split: corpus.rows(split) for split in corpus.splits}
    rationales = [row.rationales for row in splits["train"]]
    random.Random(cell.seed).shuffle(rationales)
    splits["train"] = [
        Row(row.question, other) for row, other in zip(splits["train"], rationales, strict=True)
    ]
    report = {"permuted": cell.seed, "made from": corpus.fingerprint}
    source = f"{corpus.manifest.source}, permuted"
    store.write_corpus(out, corpus.task, corpus.teachers, splits, report, source)
