//! The compiler's part of the build.

use crate::Variant;
use crate::configuration::Config;
use crate::error::Error;
use crate::{Kernel, source};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Include folders of the source, in the order of the kernel's own makefile.
const INCLUDES: &[&str] = &[
    "include",
    "include/64",
    "include/arch/x86",
    "include/arch/x86/arch/64",
    "include/plat/pc99",
    "include/plat/pc99/plat/64",
];

const DEFINES: &[&str] = &[
    "-DHAVE_AUTOCONF",
    "-DFASTPATH",
    "-DARCH_X86",
    "-DX86_64",
    "-DCONFIG_X86_64=y",
    "-D__KERNEL_64__",
    "-DKERNEL_64=y",
    "-D__X86_64__=y",
];

const FLAGS: &[&str] = &[
    "-nostdinc",
    "-m64",
    "-O2",
    "-std=gnu99",
    "-ffreestanding",
    "-nostdlib",
    "-fno-pic",
    "-fno-pie",
    "-mcmodel=kernel",
    "-mno-red-zone",
    "-mno-mmx",
    "-mno-sse",
    "-mno-sse2",
    "-mno-3dnow",
    "-fno-asynchronous-unwind-tables",
    "-fno-stack-protector",
    "-fcf-protection=none",
    "-Wall",
    "-Werror",
    "-Wno-address-of-packed-member",
    "-Wno-array-bounds",
];

const LINK_FLAGS: &[&str] =
    &["-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none", "-Wl,-n", "-Wl,-z,noexecstack"];

const ASSEMBLY: &[&str] = &[
    "src/arch/x86/64/head.S",
    "src/arch/x86/64/machine_asm.S",
    "src/arch/x86/64/traps.S",
    "src/arch/x86/multiboot.S",
];

/// Folders with C code of other machines.
const FOREIGN: &[&str] = &["src/arch/arm", "src/arch/x86/32"];

const LINKER_SCRIPT: &str = "src/plat/pc99/linker.lds";

/// The place and kind of one build.
pub struct Step<'a> {
    /// The output folder.
    pub out: &'a Path,
    /// The copy of the source.
    pub tree: &'a Path,
    /// Debug or release.
    pub config: Config,
    /// Mended and extended, or not.
    pub variant: Variant,
}

impl Step<'_> {
    /// The folder of generated headers, absolute.
    pub fn generated(&self) -> PathBuf {
        self.out.join("generated")
    }

    /// Writes `autoconf.h`.
    pub fn configure(&self) -> Result<(), Error> {
        let folder = self.generated();
        fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        let file = folder.join("autoconf.h");
        fs::write(&file, self.config.header()).map_err(Error::io(&file))
    }

    /// The preprocessor with our includes and defines, run in the source tree.
    pub fn cpp(&self) -> Command {
        let mut command = Command::new("cpp");
        command.current_dir(self.tree).arg("-nostdinc").args(self.defines());
        self.includes(&mut command);
        command
    }

    /// The compiler with our includes, defines and flags, run in the source tree.
    pub fn gcc(&self) -> Command {
        let mut command = Command::new("gcc");
        // Absolute paths would make the result depend on where the target folder is.
        let map = |from: &Path, to: &str| format!("-ffile-prefix-map={}={to}", from.display());
        command.current_dir(self.tree).args(FLAGS).args(self.defines());
        command.arg(map(self.tree, ".")).arg(map(self.out, "build"));
        self.includes(&mut command);
        command
    }

    fn defines(&self) -> Vec<&'static str> {
        let debug = (self.config == Config::Debug).then_some("-DDEBUG");
        DEFINES.iter().copied().chain(debug).collect()
    }

    fn includes(&self, command: &mut Command) {
        // First, because the published source has an autoconf.h too.
        command.arg("-I").arg(self.generated());
        command.args(INCLUDES.iter().map(|folder| format!("-I{folder}")));
    }

    /// The files that `bitfield_gen.py` searches to see which accessors are used.
    pub fn prunes(&self) -> Result<Vec<PathBuf>, Error> {
        let mut files = source::files(&self.tree.join("include"))?;
        files.retain(|file| file.extension().is_some_and(|e| e == "h"));
        files.retain(|file| !file.starts_with(self.tree.join("include/arch/arm")));
        files.extend(self.c_files()?);
        files.extend(ASSEMBLY.iter().map(|file| self.tree.join(file)));
        Ok(files)
    }

    /// The C files of this configuration, sorted: the order in which they are concatenated.
    fn c_files(&self) -> Result<Vec<PathBuf>, Error> {
        let mut files = source::files(&self.tree.join("src"))?;
        files.retain(|file| {
            let relative = file.strip_prefix(self.tree).unwrap_or(file);
            let foreign = FOREIGN.iter().any(|folder| relative.starts_with(folder))
                || (relative.starts_with("src/plat") && !relative.starts_with("src/plat/pc99"));
            !foreign && file.extension().is_some_and(|e| e == "c")
        });
        Ok(files)
    }

    /// Compiles and links; writes the two ELF files.
    pub fn kernel(&self, kernel: &Kernel) -> Result<(), Error> {
        let all = self.out.join("kernel_all.c");
        fs::write(&all, self.concatenate()?).map_err(Error::io(&all))?;
        let mut objects = vec![self.out.join("kernel.o")];
        run(
            "gcc kernel_all.c",
            self.gcc().args(self.lenience()).arg("-c").arg(&all).arg("-o").arg(&objects[0]),
        )?;
        for file in ASSEMBLY {
            let stem = Path::new(file).with_extension("o");
            let object = self.out.join(stem.file_name().unwrap_or_default());
            run(&format!("gcc {file}"), self.gcc().args(["-c", file, "-o"]).arg(&object))?;
            objects.push(object);
        }
        let script = self.out.join("linker.lds");
        run("cpp linker.lds", self.cpp().args(["-P", LINKER_SCRIPT, "-o"]).arg(&script))?;
        let mut link = Command::new("gcc");
        link.args(LINK_FLAGS).arg("-T").arg(&script).args(&objects).arg("-o").arg(&kernel.elf);
        run("linking the kernel", &mut link)?;
        run("objcopy", Command::new("objcopy").args(["-O", "elf32-i386"]).arg(&kernel.elf).arg(&kernel.elf32))
    }

    /// The published code is not free of warnings; ours is.
    fn lenience(&self) -> &'static [&'static str] {
        match self.variant {
            Variant::Extended => &[],
            Variant::Published => &["-Wno-error"],
        }
    }

    /// All C files with marks of where they come from: seL4 is compiled as one unit.
    fn concatenate(&self) -> Result<String, Error> {
        let mut text = String::new();
        for file in self.c_files()? {
            let relative = file.strip_prefix(self.tree).unwrap_or(&file);
            let source = fs::read_to_string(&file).map_err(Error::io(&file))?;
            let _ = writeln!(text, "#line 1 \"{}\"", relative.display());
            text += &source;
        }
        Ok(text)
    }
}

/// Runs `command`; its output is in the error if it fails.
pub fn run(what: &str, command: &mut Command) -> Result<(), Error> {
    output(what, command).map(drop)
}

/// Runs `command` and returns its standard output.
pub fn output(what: &str, command: &mut Command) -> Result<String, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| Error::Missing(program, error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let lines: Vec<&str> = text.lines().take(20).collect();
    Err(Error::Failed(what.to_owned(), lines.join("\n")))
}

/// The first line of `gcc --version`.
pub fn compiler_version() -> Result<String, Error> {
    output("gcc --version", Command::new("gcc").arg("--version"))
        .map(|text| text.lines().next().unwrap_or_default().to_owned())
}

/// Bytes of a section of an ELF file.
pub fn section_size(elf: &Path, section: &str) -> Result<u64, Error> {
    let text = output("objdump", Command::new("objdump").arg("-h").arg(elf))?;
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|words| words.get(1) == Some(&section))
        .and_then(|words| words.get(2).and_then(|size| u64::from_str_radix(size, 16).ok()))
        .ok_or_else(|| Error::Abi(format!("{} has no section {section}", elf.display())))
}

/// Whether the function executes `instruction`, or calls a function of that name.
pub fn function_has(elf: &Path, function: &str, instruction: &str) -> Result<bool, Error> {
    let mut objdump = Command::new("objdump");
    objdump.args(["-d", "--no-show-raw-insn"]).arg(format!("--disassemble={function}")).arg(elf);
    let text = output("objdump", &mut objdump)?;
    if !text.contains(&format!("<{function}>:")) {
        return Err(Error::Abi(format!("{} has no function {function}", elf.display())));
    }
    Ok(text.contains(instruction))
}
