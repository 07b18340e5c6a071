"""The rationale corpus: questions joined with what each teacher wrote about them, on disk.

The files of this folder are the format and the storage. They import no jax, torch or tensorflow.

    schema      the records in memory: a `Row` is a question and its rationales by teacher
    codec       a row as bytes (a `tf.train.Example`) and back
    tfrecord    the file format: framed records, every checksum checked
    manifest    manifest.json: what a corpus holds, and a hash of each of its files
    store       writes a corpus directory, and opens one for reading
    verify      checks every byte of a corpus on disk
    logrow      one row of a rationale log, which teachers write and a build reads

The sub-packages use them:

    joining/    makes a corpus from questions, rationale logs, files of rationales, other corpora
    judging/    says what is wrong with a rationale, and counts it
    importing/  reads rationales that others wrote, in their own formats
    exporting/  writes a corpus as Parquet files, for those who do not have this program
    showing/    shows a corpus's report and a sample of its rows, as text and as a page

Training and evaluation read a corpus through `store` and know nothing of the sub-packages.
"""
