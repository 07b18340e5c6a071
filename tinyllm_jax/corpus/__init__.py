"""The rationale corpus: questions joined with what each teacher wrote, on disk.

Teachers append to logs; `build` joins questions with logs (`logs` reads them, `choose` picks among
samples) and with other corpora (`beside`); `released` imports the authors' own files; training
reads nothing but the corpus. On disk it is a valid TFDS directory of TFRecord shards with a
manifest of ours; `store` writes and reads it without TensorFlow and checks every checksum, `verify`
checks every byte. `quality` says what is wrong with a rationale, `policy` turns that into weights,
`inspect`, `report` and `page` show it. Nothing here imports jax, torch or tensorflow.
"""
