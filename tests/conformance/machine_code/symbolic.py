"""Symbolic execution of the library's functions, and questions to z3 about their ends."""

import logging
import re
import sys

logging.disable(logging.ERROR)  # angr warns at import that its optional emulator is missing

import angr
import claripy
import z3

RETURN = 0xDEAD0000


def load(library):
    return angr.Project(library, auto_load_libs=False)


def printed(path):
    """What Coq printed, on one line."""
    return re.sub(r"\s+", " ", open(path).read())


def variable(name):
    return claripy.BVS(name, 64, explicit_name=True)


def convert(expression):
    return claripy.backends.z3.convert(expression)


def context():
    return convert(variable("v0")).ctx


def call(project, name, *arguments, base=None):
    """A state at the start of the function."""
    symbol = project.loader.find_symbol(name)
    if symbol is None:
        sys.exit(f"{name}: no such symbol")
    options = {"ret_addr": RETURN}
    if base is not None:
        options["base_state"] = base
    return project.factory.call_state(symbol.rebased_addr, *arguments, **options)


def ends(project, state, what):
    """The end states of every path."""
    manager = project.factory.simgr(state)
    manager.run(
        until=lambda m: not m.active,
        step_func=lambda m: m.move("active", "done", lambda s: s.addr == RETURN),
    )
    lost = {k: len(v) for k, v in manager.stashes.items() if v and k != "done"}
    if manager.errored or lost:
        sys.exit(f"{what}: {len(manager.errored)} paths failed, others were left over: {lost}")
    return manager.stashes["done"]


def path(state, ctx):
    """The condition under which this end is reached."""
    constraints = [convert(c) for c in state.solver.constraints]
    return z3.And(*constraints) if constraints else z3.BoolVal(True, ctx=ctx)


def parse(ctx, text, names):
    """Assertions over 64-bit variables."""
    declarations = "".join(f"(declare-const {name} (_ BitVec 64))" for name in names)
    return list(z3.parse_smt2_string(declarations + text, ctx=ctx))


def unsatisfiable(ctx, *assertions):
    """None if there is no such input; else one."""
    solver = z3.Solver(ctx=ctx)
    solver.add(*assertions)
    result = solver.check()
    if result == z3.unsat:
        return None
    return str(solver.model()) if result == z3.sat else solver.reason_unknown()
