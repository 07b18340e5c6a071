"""Batches of packed rows, for training and for evaluation, in NumPy; knows of no model and no run.

    rows.py      which units share a row, and how long a row is
    epochs.py    which questions share a batch, epoch by epoch, and the batches' static shapes
    arrays.py    rows of token ids as arrays; all units of an evaluation in batches

The words that are used here:

    unit      an input and the targets that are decoded from it; a question is one or several units
    row       a sequence of fixed length on the encoder's side and one on the decoder's, which holds
              the inputs and the targets of one or several units
    segment   one input, or one target, within a row. Segment ids number them from 1, and 0 is
              padding. Nothing attends to another segment (`student.model.hidden`), so that packing
              changes no result
    shape     the rows of a batch and their lengths. A shape is compiled once
    bucket    one of the shapes that a run may have; `lengths.buckets` is the most of them
    class     questions of like length, whose batches have rows of the same lengths
"""
