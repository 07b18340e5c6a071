"""What is counted in a compiled program's text."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from tinyllm_jax.training import hlo

# As XLA's TPU compiler writes: loops by a comparison, a collective spread over fusions.
TEXT = """
HloModule jit_step

%gathered.1 (p: f32[8,16]) -> f32[8,64] {
  %p = f32[8,16]{1,0:T(8,128)} parameter(0)
  ROOT %g = f32[8,64]{1,0:T(8,128)} all-gather(%p), channel_id=3, dimensions={1}
}

%body (c: (s32[], bf16[8,16])) -> (s32[], bf16[8,16]) {
  %c = (s32[]{:T(128)}, bf16[8,16]{1,0:T(8,128)(2,1)}) parameter(0)
  %start = f32[8,64]{1,0} fusion(%x), kind=kCustom, calls=%gathered.1
  %f = bf16[8,16]{1,0} fusion(%c), calls=%fused, backend_config={"estimated_cycles":"100"}
  %done = f32[8,64]{1,0} fusion(%start), kind=kCustom, calls=%gathered.1
  ROOT %t = (s32[], bf16[8,16]) tuple(%i, %f)
}

%condition (c: (s32[], bf16[8,16])) -> pred[] {
  %n = s32[]{:T(128)} constant(6)
  %i = s32[] get-tuple-element(%c), index=0
  ROOT %less = pred[] compare(%i, %n), direction=LT
}

ENTRY %main (p: bf16[8,16]) -> bf16[8,16] {
  %loop = (s32[], bf16[8,16]) while(%init), condition=%condition, body=%body
  %r = (f32[4]{0}, f32[2,2]{1,0}) all-reduce(%a, %b), channel_id=1, to_apply=%add
  ROOT %last = bf16[8,16]{1,0} fusion(%y), calls=%g, backend_config={"estimated_cycles":"7"}
}
"""


def test_cycles_of_a_loop_count_as_often_as_it_runs():
    assert hlo.cycles(TEXT) == 6 * 100 + 7


def test_an_asynchronous_collective_counts_once_a_round():
    assert hlo.collectives(TEXT) == {
        "all-gather": hlo.Moved(6, 6 * 4 * 8 * 64),
        "all-reduce": hlo.Moved(1, 4 * 4 + 4 * 4),
    }


def test_collectives_of_one_channel_are_told_apart():
    one = "%r = (f32[4]{0}, f32[2,2]{1,0}) all-reduce(%a, %b), channel_id=1, to_apply=%add"
    other = one.replace("%r", "%s").replace("(%a, %b)", "(%c, %d)")
    moved = hlo.collectives(TEXT.replace(one, f"{one}\n  {other}"))
    assert moved["all-reduce"] == hlo.Moved(2, 2 * (4 * 4 + 4 * 4))


def test_collectives_of_a_real_program():
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("data",))
    split, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())

    def step(x):
        def body(total, _):
            return jax.lax.with_sharding_constraint(jnp.sin(total + x).sum(0), whole), None

        return jax.lax.scan(body, jnp.zeros(32), None, length=5)[0]

    x = jax.ShapeDtypeStruct((16, 32), jnp.float32, sharding=split)
    text = jax.jit(step, out_shardings=whole).lower(x).compile().as_text()
    assert hlo.collectives(text) == {"all-reduce": hlo.Moved(5, 5 * 4 * 32)}
