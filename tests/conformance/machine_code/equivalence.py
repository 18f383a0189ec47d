"""Is the machine code of the pure functions equal to the specification's terms, for every input?

usage: equivalence.py LIBRARY TERMS

LIBRARY is the release build of the package machine_code; TERMS is what Coq prints for Terms.v. Each function is
executed symbolically on free 64-bit arguments. Then z3 is asked for an input on which a path's result differs from
the term, and for an input that no path covers. Both must have none. The planted mistake must be found.
"""

import re
import sys

import symbolic
import z3

EXPECTED = 8


def terms(path):
    """The triples (function, condition on inputs, value) that Coq printed."""
    return re.findall(r'\("(\w+)", \("([^"]*)", "([^"]*)"\)\)', symbolic.printed(path))


def compare(project, name, condition, term):
    """None if equal for every input; else what differs."""
    names = ["v0", "v1"]
    state = symbolic.call(project, name, *(symbolic.variable(n) for n in names))
    ctx = symbolic.context()
    text = f"(assert {condition})(assert (= out {term}))"
    premise = symbolic.parse(ctx, text, [*names, "out"])
    out = z3.BitVec("out", 64, ctx=ctx)
    conditions = []
    for end in symbolic.ends(project, state, name):
        path = symbolic.path(end, ctx)
        conditions.append(path)
        found = symbolic.unsatisfiable(ctx, *premise, path, symbolic.convert(end.regs.rax) != out)
        if found is not None:
            return f"differs: {found}"
    if symbolic.unsatisfiable(ctx, *premise, z3.Not(z3.Or(*conditions))) is not None:
        return "the paths do not cover every input"
    return None


def main():
    library, printed = sys.argv[1:]
    project = symbolic.load(library)
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
