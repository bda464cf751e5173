"""A tile of q · k in the processor's registers: the one piece that is written in LLVM's own language.

A loop in Python compiles to products that wait for memory; here a tile of scores stays in registers while it is summed
up over the numbers of a head, which makes it three times as fast.
"""

from typing import Any

import llvmlite.binding as llvm
import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def processor() -> tuple[str, str]:
    """Its name and its instruction sets, as numba compiles for them: NUMBA_CPU_NAME and NUMBA_CPU_FEATURES, or its own."""
    settings: Any = numba.config
    name, features = settings.CPU_NAME, settings.CPU_FEATURES
    return (
        llvm.get_host_cpu_name() if name is None else name,
        llvm.get_host_cpu_features().flatten() if features is None else features,
    )


def _shape() -> tuple[int, int, int]:
    """Numbers in a register, rows of a tile, and registers beside each other in a row: as many as there is room for."""
    on = set(processor()[1].split(","))
    if "+avx512f" in on:
        return 16, 6, 4
    return (8 if "+avx" in on else 4), 6, 2


LANES, ROWS, ACROSS = _shape()
COLUMNS = LANES * ACROSS


@intrinsic
def score_tile(typing, queries, keys, scores, query_at, key_at, score_at, width, size):  # pyright: ignore
    """scores[score_at + r · width + c] = Σ_d queries[query_at + d · ROWS + r] · keys[key_at + d · COLUMNS + c].

    `queries`, `keys`, `scores`: flat arrays, fp32. `size`: how many d there are.
    """
    place = types.intp
    signature = types.void(queries, keys, scores, place, place, place, place, place)

    def generate(context, builder, signature, arguments):
        arrays = [
            cgutils.create_struct_proxy(kind)(context, builder, value).data
            for kind, value in zip(signature.args[:3], arguments[:3], strict=True)
        ]
        places, (width, size) = arguments[3:6], arguments[6:]
        query, key, score = (builder.gep(array, [at]) for array, at in zip(arrays, places, strict=True))
        vector, integer = ir.VectorType(ir.FloatType(), LANES), size.type
        none, first = ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)

        def lanes(base, column):
            return builder.bitcast(builder.gep(base, [integer(column * LANES)]), vector.as_pointer())

        before, loop, after = builder.block, builder.append_basic_block(), builder.append_basic_block()
        builder.branch(loop)
        builder.position_at_end(loop)
        step = builder.phi(integer)
        step.add_incoming(integer(0), before)
        sums = [[builder.phi(vector) for _ in range(ACROSS)] for _ in range(ROWS)]
        key_here = builder.gep(key, [builder.mul(step, integer(COLUMNS))])
        query_here = builder.gep(query, [builder.mul(step, integer(ROWS))])
        key_lanes = [builder.load(lanes(key_here, column), align=4) for column in range(ACROSS)]
        kind = ir.FunctionType(vector, [vector] * 3)
        multiply_add = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
        for row, line in enumerate(sums):
            number = builder.load(builder.gep(query_here, [integer(row)]))
            spread = builder.insert_element(none, number, ir.IntType(32)(0))
            spread = builder.shuffle_vector(spread, none, first)
            for column, known in enumerate(line):
                line[column] = builder.call(multiply_add, [spread, key_lanes[column], known])
                known.add_incoming(ir.Constant(vector, [0.0] * LANES), before)
                known.add_incoming(line[column], loop)
        following = builder.add(step, integer(1))
        step.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, size), loop, after)
        builder.position_at_end(after)
        for row, line in enumerate(sums):
            here = builder.gep(score, [builder.mul(width, integer(row))])
            for column, total in enumerate(line):
                builder.store(total, lanes(here, column), align=4)
        return context.get_dummy_value()

    return signature, generate
