"""The rationale corpus: questions joined with what each teacher wrote, on disk.

Teachers append to logs, `build` joins logs and questions into a corpus (`released` imports the authors' own files), and
training reads nothing else. On disk it is a valid TFDS directory of TFRecord shards with a manifest of ours; `store`
writes and reads it without TensorFlow and checks every checksum, `verify` checks every byte, `quality` says what is wrong
with a rationale, `inspect` and `report` show it. Nothing here imports jax, torch or tensorflow.
"""
