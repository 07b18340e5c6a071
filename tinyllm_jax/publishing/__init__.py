"""A run's student for those who do not have this program.

    export   a workdir's checkpoint as a Hugging Face directory, or as a PEFT adapter
    card     its model card: how to ask it, how right it is, where it comes from
    hub      uploads a directory to the Hugging Face hub

The files themselves are written by `student/export.py`, which knows no workdirs; a corpus is
exported by `corpus/exporting`.
"""
