"""Imports the rationale files that the TinyLLM authors released.

For the task T they are called `DIR/T/llm/{train,valid,test}_CoT_{0,1,…}.json`. A file is a JSON
list of texts. Each holds in one string FLAN-T5-xl's rationale, the answer that it states, the
question again, and (not for every task) LLaMA-2's rationale:

    Sun is responsible for plants sprouting. Thus, the answer is (d) plants sprouting, blooming and
    wilting

    Q: The sun is responsible for
    Answer Choices:
    (a) puppies learning new tricks
    … llama rationale: Let's think step by step.
    If the sun is not there, …

An entry belongs to the question whose text and choices stand in it, white space aside; its row
number decides nothing.

These things are repaired and counted:

    - the stated answer is cut off FLAN-T5's rationale, as in the authors' own code;
    - "Let's think step by step.", the end of the prompt, is cut off the beginning of every
      rationale and off the end of the question;
    - a rationale that is the text "nan", which an empty cell of a table becomes, is missing.

Everything else that is not as above is reported with its file and index.
"""

import collections
import dataclasses
import json
import os
import re
from collections.abc import Container, Iterator, Sequence

from etils import epath

from tinyllm_jax import directories, storage
from tinyllm_jax.corpus import store
from tinyllm_jax.corpus.joining.policy import weight_of
from tinyllm_jax.corpus.judging import quality
from tinyllm_jax.corpus.judging.plain import normalize
from tinyllm_jax.corpus.judging.statistics import mark_duplicates, statistics
from tinyllm_jax.corpus.manifest import Manifest
from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.errors import UserError, unknown
from tinyllm_jax.tasks.question import Question
from tinyllm_jax.tasks.released_questions import FILE_SPLITS, parse_rows
from tinyllm_jax.tasks.released_questions import path as questions_path

T5, LLAMA = "flan-t5-xl", "llama-2-7b-chat"
MODELS = {T5: "google/flan-t5-xl", LLAMA: "meta-llama/Llama-2-7b-chat-hf"}
STATES = "Thus, the answer is"
OPENING = "Let's think step by step."

_QUESTION = re.compile(r"\n\s*Q:")
_LLAMA = re.compile(r"\sllama rationale:")
_PROMPT_END = re.compile(r"\s+A:\s*" + re.escape(OPENING) + r"\s*$")


@dataclasses.dataclass
class Tally:
    """What an import repaired (counts) and could not use (one line each, with file and index)."""

    repairs: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    problems: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One text of a rationale file, taken apart.

    Attributes:
      content: the question and choices in it, as `_content` spells them.
      t5, llama: the two rationales; None where there is none.
      stated: the answer that FLAN-T5 states, e.g. "(d) plants sprouting".
      wrong: why `t5` could not be read; "" when it could.
    """

    content: str
    t5: str | None
    stated: str
    llama: str | None
    wrong: str


def import_released(directory: str | os.PathLike, task: str, out: str | os.PathLike) -> Manifest:
    """Makes a corpus of the released files of one task.

    Args:
      directory: DIR, which holds `T/T_train.json` and `T/llm/train_CoT_0.json` for the task T.
      task: T.
      out: the corpus to write; absent or an empty directory.

    Returns:
      The corpus's manifest; its `report` is what `report.format_report` prints.

    Raises:
      UserError: there are no such files, a question file is not JSON, or `out` is not free.
    """
    directories.require_free(out)
    root = storage.path(directory)
    tally = Tally()
    rows = {}
    for split in FILE_SPLITS:
        if questions_path(str(root), task, split).is_file():
            rows[split] = _read_split(root, task, split, tally)
    if not rows:
        raise _no_questions(root, task)
    if not any(row.rationales for part in rows.values() for row in part):
        raise UserError(
            f"no rationale of any question of task '{task}' in {root / task / 'llm'}; the "
            f"first thing wrong is: {tally.problems[0]}"
        )
    report = statistics(rows, tuple(MODELS)) | {
        "repairs": dict(tally.repairs),
        "problems": tally.problems,
    }
    return store.write_corpus(
        out, task, tuple(MODELS), rows, report, "released files of the TinyLLM authors"
    )


def _no_questions(directory: epath.Path, task: str) -> UserError:
    """The error for a directory that has no questions of the task."""
    names = [folder.name for folder in directory.iterdir()] if directory.is_dir() else []
    tasks = [name for name in names if questions_path(str(directory), name, "train").exists()]
    if tasks and task not in tasks:
        return unknown(f"task in {directory}", task, tasks)
    absent = questions_path(str(directory), task, "train")
    return UserError(
        f"no released questions of task '{task}': {absent} does not exist; give the directory that "
        f"holds {task}/"
    )


def _read_split(directory: epath.Path, task: str, split: str, tally: Tally) -> list[Row]:
    """The rows of one split: its questions, each with the rationales that belong to it."""
    file = questions_path(str(directory), task, split)
    good, bad = parse_rows(file, task, split)
    tally.problems += [f"{task}/{file.name}: row {index}: {wrong}" for index, wrong in bad]
    found = _join(good, _texts(directory, task, split, tally), tally)
    for teacher in MODELS:
        if good and not any(teacher in rationales for rationales in found.values()):
            tally.problems.append(
                f"{task} {split}: no rationale of {teacher} for any of {len(good)} questions"
            )
    return mark_duplicates([Row(question, found[index]) for index, question in good])


def _texts(
    directory: epath.Path, task: str, split: str, tally: Tally
) -> Iterator[tuple[str, int, str]]:
    """Yields every entry of a split's rationale files that is a text.

    Yields:
      (where it stands, the number of entries before it in the split, the text).
    """
    folder, stem = directory / task / "llm", f"{FILE_SPLITS[split]}_CoT_"
    numbers = []
    for path in folder.iterdir() if folder.is_dir() else ():
        number = path.stem.removeprefix(stem)
        if path.name == f"{stem}{number}.json" and number.isdecimal():
            numbers.append(int(number))
    numbers.sort()
    absent = sorted(set(range(max(numbers, default=0) + 1)) - set(numbers))
    tally.problems += [f"{task}/llm/{stem}{number}.json: no such file" for number in absent]
    before = 0
    for number in numbers:
        name = f"{task}/llm/{stem}{number}.json"
        entries = _load(directory / name, name, tally)
        for index, text in enumerate(entries):
            where = f"{name}: entry {index}"
            if not isinstance(text, str):
                tally.problems.append(f"{where}: not a text: {str(text)[:40]!r}")
            elif re.search("[\ud800-\udfff]", text):
                tally.problems.append(f"{where}: not valid Unicode: half of a surrogate pair")
            else:
                yield where, before + index, text
        before += len(entries)


def _load(path: epath.Path, name: str, tally: Tally) -> list:
    """The entries of one rationale file; none where it is no JSON list, which is reported."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        tally.problems.append(f"{name}: not readable as JSON, all its entries left out: {error}")
        return []
    if isinstance(entries, list):
        return entries
    tally.problems.append(f"{name}: not a JSON list, left out")
    return []


def _join(
    good: Sequence[tuple[int, Question]], texts: Iterator[tuple[str, int, str]], tally: Tally
) -> dict[int, dict[str, Rationale]]:
    """Each question's rationales, by the question's index in its file."""
    found: dict[int, dict[str, Rationale]] = {index: {} for index, _ in good}
    owners = collections.defaultdict(list)
    for index, question in good:
        owners[_content(question)].append((index, question))
    longest = max(map(len, owners), default=0)
    taken: set[int] = set()
    shift = 0  # rows between where the entries stand and where they belong
    for where, position, text in texts:
        entry = parse_entry(text, owners, longest, tally.repairs)
        if isinstance(entry, str):
            tally.problems.append(f"{where}: {entry}")
            continue
        owner = _owner(owners[entry.content], entry, taken, position + shift)
        if isinstance(owner, str):
            tally.problems.append(f"{where}: {owner}")
            continue
        index, question = owner
        if index - position != shift:
            shift = index - position
            if shift:  # one line where a shift begins, not one for each entry that shares it
                tally.problems.append(
                    f"{where}: misaligned: from here entries belong {shift:+d} rows from where "
                    f"they stand; this one to row {index}; joined by content"
                )
        tally.repairs["rows joined across a misalignment"] += shift != 0
        taken.add(index)
        found[index] = _rationales(where, question, entry, tally)
    return found


def _owner(
    candidates: list[tuple[int, Question]], entry: Entry, taken: set[int], expected: int
) -> tuple[int, Question] | str:
    """The question that an entry belongs to, or why there is none.

    Among equal questions any is right: the one at the expected row is taken, else the first without
    an entry.
    """
    if len({question.answer for _, question in candidates}) > 1:
        candidates = [one for one in candidates if _states_gold(entry, one[1])]
        if not candidates:
            return (
                "ambiguous: its question occurs with several gold answers, and it states none of "
                "them"
            )
    free = [candidate for candidate in candidates if candidate[0] not in taken]
    if not free:
        return f"a second entry for row {candidates[-1][0]} of the questions; the first was kept"
    for candidate in free:
        if candidate[0] == expected:
            return candidate
    return free[0]


def _states_gold(entry: Entry, question: Question) -> bool:
    stated = _stated_choice(entry.stated, question)
    return stated is not None and question.choices[stated] == question.answer


def _content(question: Question) -> str:
    """A question as an entry shows it, with single spaces."""
    parts = [question.context, question.question, "Answer Choices:", *question.lettered]
    return " ".join(" ".join(parts).split())


def parse_entry(
    text: str, known: Container[str], longest: int, repairs: collections.Counter
) -> Entry | str:
    """Takes an entry apart around the question in it.

    A rationale may itself hold a marker ("Q:", "llama rationale:"). So every stretch between two
    markers is tried, and the one that is a known question is the question.

    Args:
      text: the entry.
      known: the contents of the split's questions.
      longest: the length of the longest of them, in characters.
      repairs: where to count the repairs that were made.

    Returns:
      The entry, or what is wrong with it.
    """
    starts = list(_QUESTION.finditer(text))
    if not starts:
        return 'malformed: no "Q:" part'
    # Where the question may end, and where LLaMA's rationale begins behind it; None: nowhere.
    ends: list[tuple[int, int | None]] = [(len(text), None)]
    ends += [(match.start(), match.end()) for match in _LLAMA.finditer(text)]

    hits = []
    for start in starts:
        for end, rest in ends:
            if 0 <= end - start.end() <= 2 * longest + 100:
                block = text[start.end() : end]
                asked = _PROMPT_END.sub("", block)
                content = " ".join(asked.split())
                if content in known:
                    hits.append((start.start(), rest, content, asked != block))
    if not hits:
        return "unmatched: the question in it is none of the split's"
    if len(hits) > 1:
        return f"ambiguous: {len(hits)} parts of it are questions of the split"

    t5_end, llama_start, content, prompt_end_cut = hits[0]
    repairs["end of the prompt cut off the question"] += prompt_end_cut
    llama = None if llama_start is None else text[llama_start:].strip()
    t5, *stated = text[:t5_end].split(STATES)
    if len(stated) != 1:
        wrong = (
            f'malformed: {len(stated)} times "{STATES}" before the question; no {T5} rationale read'
        )
        return Entry(content, t5=None, stated="", llama=llama, wrong=wrong)
    return Entry(content, t5=t5.strip(), stated=stated[0].strip(), llama=llama, wrong="")


def _rationales(where: str, question: Question, entry: Entry, tally: Tally) -> dict[str, Rationale]:
    """The rationales of an entry by teacher; reports and counts what is wrong with them."""
    rationales = {}
    if entry.wrong:
        tally.problems.append(f"{where}: {entry.wrong}")
    if entry.t5 is not None:
        stated = _stated_choice(entry.stated, question)
        tally.repairs[f"stated answer cut off {T5}'s rationale"] += 1
        if stated is None:
            tally.problems.append(
                f"{where}: the answer that {T5} states is none of the choices: "
                f"{entry.stated[:60]!r}"
            )
        rationales[T5] = _rationale(T5, entry.t5, question, stated, tally)
    if entry.llama is not None:
        rationales[LLAMA] = _rationale(LLAMA, entry.llama, question, None, tally)
    written = {
        teacher: rationale for teacher, rationale in rationales.items() if rationale.text != "nan"
    }
    tally.repairs["'nan' taken for a missing rationale"] += len(rationales) - len(written)
    return written


def _rationale(
    teacher: str, written: str, question: Question, stated: int | None, tally: Tally
) -> Rationale:
    text = _without_opening(written)
    tally.repairs[f"end of the prompt cut off {teacher}'s rationale"] += text != written
    flags = quality.flags_of(text, question, stated=stated)
    return Rationale(text, teacher, model=MODELS[teacher], weight=weight_of(flags), flags=flags)


def _stated_choice(stated: str, question: Question) -> int | None:
    """The index of the choice that is stated, by its letter if there is one, else by its text.

    An example of what is stated is "(d) plants sprouting".
    """
    letter = re.match(r"\(([a-z])\)", stated)
    if letter and ord(letter[1]) - ord("a") < len(question.choices):
        return ord(letter[1]) - ord("a")
    text = normalize(stated)
    choices = [normalize(choice) for choice in question.choices]
    return choices.index(text) if text in choices else None


def _without_opening(text: str) -> str:
    """The text without the prompt's last line; a text cut inside that line is empty."""
    return "" if OPENING.startswith(text) else text.removeprefix(OPENING).strip()
