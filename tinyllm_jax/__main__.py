"""`python -m tinyllm_jax COMMAND` is `tinyllm COMMAND`."""

from tinyllm_jax.cli import main

if __name__ == "__main__":
    main()
