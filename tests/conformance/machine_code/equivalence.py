"""Is the machine code of the pure functions equal to the specification's terms, for every input?

usage: equivalence.py LIBRARY TERMS

LIBRARY is the release build of the package machine_code; TERMS is what Coq prints for Terms.v. Each function is
executed symbolically on free 64-bit arguments. Then z3 is asked for an input on which a path's result differs from
the term, and for an input that no path covers. Both must have none. The planted mistake must be found.
"""

import logging
import re
import sys

logging.disable(logging.ERROR)  # angr warns at import that its optional emulator is missing

import angr
import claripy
import z3

RETURN = 0xDEAD0000
EXPECTED = 8


def terms(path):
    """The triples (function, condition on inputs, value) that Coq printed."""
    text = re.sub(r"\s+", " ", open(path).read())
    return re.findall(r'\("(\w+)", \("([^"]*)", "([^"]*)"\)\)', text)


def paths(project, name, arguments):
    """The end states of every path of the function."""
    symbol = project.loader.find_symbol(name)
    if symbol is None:
        sys.exit(f"{name}: no such symbol")
    state = project.factory.call_state(symbol.rebased_addr, *arguments, ret_addr=RETURN)
    manager = project.factory.simgr(state)
    manager.run(
        until=lambda m: not m.active,
        step_func=lambda m: m.move("active", "done", lambda s: s.addr == RETURN),
    )
    lost = {k: len(v) for k, v in manager.stashes.items() if v and k != "done"}
    if manager.errored or lost:
        sys.exit(f"{name}: {len(manager.errored)} paths failed, others were left over: {lost}")
    return manager.stashes["done"]


def compare(project, name, condition, term):
    """None if equal for every input; else what differs."""
    count = 2
    variables = [claripy.BVS(f"v{i}", 64, explicit_name=True) for i in range(count)]
    done = paths(project, name, variables)
    convert = claripy.backends.z3.convert
    context = convert(variables[0]).ctx
    declarations = "".join(f"(declare-const v{i} (_ BitVec 64))" for i in range(count))
    text = f"{declarations}(declare-const out (_ BitVec 64))(assert {condition})(assert (= out {term}))"
    premise = list(z3.parse_smt2_string(text, ctx=context))
    out = z3.BitVec("out", 64, ctx=context)
    conditions = []
    for state in done:
        constraints = [convert(c) for c in state.solver.constraints]
        path = z3.And(*constraints) if constraints else z3.BoolVal(True, ctx=context)
        conditions.append(path)
        solver = z3.Solver(ctx=context)
        solver.add(*premise, path, convert(state.regs.rax) != out)
        if solver.check() != z3.unsat:
            return f"differs: {solver.model() if solver.check() == z3.sat else solver.reason_unknown()}"
    solver = z3.Solver(ctx=context)
    solver.add(*premise, z3.Not(z3.Or(*conditions)))
    if solver.check() != z3.unsat:
        return "the paths do not cover every input"
    return None


def main():
    library, printed = sys.argv[1:]
    project = angr.Project(library, auto_load_libs=False)
    found = terms(printed)
    if len(found) != EXPECTED:
        sys.exit(f"{printed}: {len(found)} terms, expected {EXPECTED}")
    failed = False
    for name, condition, term in found:
        difference = compare(project, name, condition, term)
        print(f"{name}: {difference or 'equal for every input'}")
        failed |= difference is not None
        if name == "hardware_selector":
            difference = compare(project, "planted", condition, term)
            found_it = difference is not None and "v0 = 5887557692" in difference
            print(f"planted mistake: {'found' if found_it else 'NOT FOUND'}: {difference}")
            failed |= not found_it
    sys.exit(1 if failed else 0)


main()
