"""Is the machine code of Vpmu::write what the specification's Step.v says, for every register and every value?

usage: step.py LIBRARY STEPS TERMS

LIBRARY is the release build of the package machine_code; STEPS and TERMS are what Coq prints for Step.v and Terms.v.
For each geometry of Step.v a vPMU is made by the library's own code. Its control registers, the value written, the word
of the filter's table, the permitted fields and the hardware's status are then free 64-bit variables. For each
register's MSR number, and for all other numbers at once, z3 is asked for an input on which the answer, what is
written to the hardware, the pair that the kernel may repeat, or any word of the vPMU afterwards differs from the
specification, and for one that no path covers. Both must have none. The planted mistake must be found.
"""

import re
import sys

import claripy
import symbolic
import z3

TABLE, SETUP, PORT, VPMU = 0x10000, 0x20000, 0x21000, 0x22000
PORT_END = PORT + 48
WORD = 0x23000  # where the free word of the table is put
SELECTOR, FIXED_CONTROL = 0x186, 0x38D
STACK = 0x1000
CONTROL, DENIED, DATA, FAULT = range(4)
PLANTED = 0x5EED3C
EXPECTED = 76


def steps(path):
    """By geometry: MSR number -> (values accepted, the hardware's register, its value), as Coq printed it."""
    pattern = r'\("([\d ]+)", \("(\d+)", \("([^"]*)", \("(\d+)", "([^"]*)"\)\)\)\)'
    found = {}
    for geometry, msr, condition, target, term in re.findall(pattern, symbolic.printed(path)):
        geometry = tuple(int(x) for x in geometry.split())
        found.setdefault(geometry, {})[int(msr)] = (condition, int(target), term)
    return found


def table_index(path):
    """The specification's term for the place of the table's word."""
    return re.search(r'\("table_index", \("true", "([^"]*)"\)\)', symbolic.printed(path)).group(1)


def store(state, address, value, size=8):
    state.memory.store(address, value, size=size, endness="Iend_LE")


def load(state, address):
    return state.memory.load(address, 8, endness="Iend_LE", inspect=False)


def concrete(project, name, *arguments, base):
    """The one end of a call without free variables, and its result."""
    found = symbolic.ends(project, symbolic.call(project, name, *arguments, base=base), name)
    if len(found) != 1:
        sys.exit(f"{name}: {len(found)} ends without a free variable")
    return found[0], found[0].solver.eval(found[0].regs.rax)


class Bench:
    """A vPMU of one geometry, and where its control registers are."""

    def __init__(self, project, geometry, index):
        self.project, self.geometry, self.index, self.context = project, geometry, index, symbolic.context()
        _, general, _, fixed, _, self.tsx, _ = geometry
        self.start, size = self.setup(0)
        self.words = [VPMU + 8 * i for i in range(size // 8)]
        # A control register is the one word that a write of a value to it changes.
        self.control = {SELECTOR + i: self.changed(SELECTOR + i, 0x3C) for i in range(general)}
        if fixed:
            self.control[FIXED_CONTROL] = self.changed(FIXED_CONTROL, 0x3)
        places = set(self.control.values())
        if len(places) != len(self.control):
            sys.exit(f"{geometry}: two control registers in one word")
        self.free = {address: symbolic.variable(f"s{address:x}") for address in places}
        for address, value in self.free.items():
            store(self.start, address, value)
        if fixed:
            store(self.start, self.fields(), symbolic.variable("v1"))
        store(self.start, PORT, symbolic.variable("v2"))
        store(self.start, WORD, symbolic.variable("v1"))

    def setup(self, permitted):
        """The state with a vPMU whose filter permits these fixed counters, and its size."""
        version, general, width, fixed, fixed_width, tsx, full_width = self.geometry
        # What is not stored is 0: so the table permits nothing.
        state = self.project.factory.blank_state(add_options={"ZERO_FILL_UNCONSTRAINED_MEMORY"})
        # CPUID leaf 0AH. The hardware has global registers, whatever its guest has.
        store(state, SETUP, max(version, 4) | general << 8 | width << 16 | 8 << 24, 4)
        # The map of the fixed counters; before version 5 there is only the count of those below its first gap.
        store(state, SETUP + 8, fixed, 4)
        store(state, SETUP + 12, (~fixed & fixed + 1).bit_length() - 1 | fixed_width << 5, 4)
        for i, word in enumerate([full_width << 13, version, tsx, permitted]):
            store(state, SETUP + 16 + 8 * i, word)
        state, size = concrete(self.project, "vpmu_setup", VPMU, TABLE, SETUP, base=state)
        if size == 0 or size % 8:
            sys.exit(f"{self.geometry}: no vPMU (size {size})")
        return state, size

    def value(self, state, address):
        return state.solver.eval(load(state, address))

    def different(self, one, other):
        """The words of the vPMU that are not the same in both states."""
        return [a for a in self.words if self.value(one, a) != self.value(other, a)]

    def fields(self):
        """The word with 0xF for each permitted fixed counter: the one that depends on which are permitted."""
        places = set()
        for permitted, fields in [(0x5, 0x0F0F), (0xA, 0xF0F0), (0xF, 0xFFFF)]:
            state, _ = self.setup(permitted)
            different = self.different(state, self.start)
            places.update(different)
            if [self.value(state, a) for a in different] != [fields]:
                sys.exit(f"{self.geometry}: fixed counters {permitted:#x} give {len(different)} words, not {fields:#x}")
        return places.pop()

    def changed(self, msr, value):
        after, _ = concrete(self.project, "vpmu_write", VPMU, PORT, msr, value, base=self.start)
        different = self.different(after, self.start)
        if [self.value(after, a) for a in different] != [value]:
            sys.exit(f"MSR {msr:#x}: {len(different)} words of the vPMU change")
        return different[0]

    def read_table(self, state):
        """A read at an address that depends on v0: it must be the specification's word of the table."""
        address = state.inspect.mem_read_address
        if "v0" not in address.variables:
            return
        (place,) = symbolic.parse(self.context, f"(assert (= place {self.index}))", ["v0", "place"])
        there = z3.BitVec("place", 64, ctx=self.context) * 8 + TABLE
        other = symbolic.convert(address) != there
        found = symbolic.unsatisfiable(self.context, symbolic.path(state, self.context), place, other)
        if found is not None or state.solver.eval(state.inspect.mem_read_length) != 8:
            sys.exit(f"a read at {address} is not of the table's word: {found}")
        state.inspect.mem_read_address = claripy.BVV(WORD, 64)

    def write_memory(self, state):
        """What is written besides the vPMU and the port must be the function's own stack."""
        address = state.inspect.mem_write_address
        if state.solver.symbolic(address):
            sys.exit(f"a write at {address}")
        place = state.solver.eval(address)
        if not (VPMU <= place < VPMU + 8 * len(self.words) or PORT + 8 <= place < PORT_END or self.stack - STACK <= place < self.stack):
            sys.exit(f"a write at {place:#x}")

    def run(self, function, msr, conditions=()):
        state = symbolic.call(self.project, function, VPMU, PORT, msr, symbolic.variable("v0"), base=self.start)
        for condition in conditions:
            state.solver.add(condition)
        self.stack = state.solver.eval(state.regs.rsp)
        state.inspect.b("mem_read", when="before", action=self.read_table)
        state.inspect.b("mem_write", when="before", action=self.write_memory)
        return symbolic.ends(self.project, state, function)

    def compare(self, function, msr, step, premise=()):
        """None if the function does what `step` says, or faults where that is None; else what differs."""
        ctx, number = self.context, msr if isinstance(msr, int) else None
        value = z3.BitVec("v0", 64, ctx=ctx)
        before = {a: symbolic.convert(load(self.start, a)) for a in self.words}
        known, accepted = [], z3.BoolVal(False, ctx=ctx)
        if step is not None:
            condition, target, term = step
            out = z3.BitVec("out", 64, ctx=ctx)
            names = ["v0", "v1", "v2", "out"]
            known = symbolic.parse(ctx, f"(assert (= out {term}))", names)
            (accepted,) = symbolic.parse(ctx, f"(assert {condition})", names)
        paths = []
        for end in self.run(function, msr, premise):
            got = lambda address: symbolic.convert(load(end, address))
            answer = symbolic.convert(end.regs.rax)
            fault = [answer == FAULT, got(PORT + 8) == 0, *(got(a) == before[a] for a in self.words)]
            done = []
            if step is not None:
                after = dict(before)
                if number in self.control:
                    after[self.control[number]] = value
                    done.append(answer == z3.If(out == value, z3.BitVecVal(CONTROL, 64, ctx), z3.BitVecVal(DENIED, 64, ctx)))
                    # The kernel's table takes 32 bits.
                    done += [got(PORT + 32) == 0] if self.tsx else [got(PORT + 32) == 1, got(PORT + 40) == value]
                else:
                    done += [answer == DATA, got(PORT + 32) == 0]
                done += [got(PORT + 8) == 1, got(PORT + 16) == target, got(PORT + 24) == out]
                done += [got(a) == after[a] for a in self.words]
            good = z3.If(accepted, z3.And(*done), z3.And(*fault)) if done else z3.And(*fault)
            path = symbolic.path(end, ctx)
            paths.append(path)
            found = symbolic.unsatisfiable(ctx, *known, path, z3.Not(good))
            if found is not None:
                return f"differs: {found}"
        every = [symbolic.convert(c) for c in premise]
        if symbolic.unsatisfiable(ctx, *every, z3.Not(z3.Or(*paths))) is not None:
            return "the paths do not cover every input"
        return None


def compare(project, geometry, registers, index):
    """The differences of one geometry."""
    bench = Bench(project, geometry, index)
    for msr, step in registers.items():
        yield f"{msr:#x}", bench.compare("vpmu_write", msr, step)
    msr = symbolic.variable("msr")
    others = [claripy.And(*(msr[31:0] != m for m in registers))]
    yield "every other MSR", bench.compare("vpmu_write", msr, None, others)


def main():
    library, printed, terms = sys.argv[1:]
    project, found, index = symbolic.load(library), steps(printed), table_index(terms)
    if sum(len(registers) for registers in found.values()) != EXPECTED:
        sys.exit(f"{printed}: {[len(r) for r in found.values()]} registers, expected {EXPECTED}")
    failed = False
    for geometry, registers in found.items():
        count = 0
        for what, difference in compare(project, geometry, registers, index):
            count += 1
            if difference is not None:
                print(f"write, geometry {geometry}, {what}: {difference}")
                failed = True
        print(f"write, geometry {geometry}: {count} cases compared for every value")
    geometry, registers = next(iter(found.items()))
    difference = Bench(project, geometry, index).compare("vpmu_write_planted", 0x187, registers[0x187])
    found_it = difference is not None and f"v0 = {PLANTED}" in difference
    print(f"planted mistake: {'found' if found_it else 'NOT FOUND'}: {difference}")
    sys.exit(1 if failed or not found_it else 0)


main()
