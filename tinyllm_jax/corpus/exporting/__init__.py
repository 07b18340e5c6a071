"""Writes a corpus for those who do not have this program.

parquet  Parquet files and a dataset card, as `datasets.load_dataset` and the hub read them
"""
