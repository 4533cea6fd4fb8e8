//! A tracer: runs a program and watches, kills or fails it at its disk-changing system calls.
//!
//! ```ignore
//! let watched = trace(&program, Act::Watch);
//! for n in 1..=watched.calls.len() {
//!     let killed = trace(&program, Act::KillBefore(n));
//! }
//! ```
//!
//! The calls of all threads are counted in the order in which they are made. Programs that the traced one
//! starts are not followed. Needs nothing but `ptrace(2)`, which a process may use on its own children
//! wherever it is not forbidden altogether; then the test fails and says so. x86-64 only.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Longest path read from the traced program, in bytes: `PATH_MAX`.
const PATH_BYTES_MAX: usize = 4096;

/// The descriptor that stands for the current directory, as a register holds it.
const CURRENT_DIRECTORY: u64 = low_half(libc::AT_FDCWD.cast_unsigned() as u64);

/// What is done to the program. Calls are counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing.
    Watch,
    /// The whole process is killed before this call happens.
    KillBefore(usize),
    /// This call does not happen and returns an error.
    Fail(usize, Errno),
    /// From this call on nothing that takes space on the disk happens: `ENOSPC`.
    FullFrom(usize),
}

/// A program to run.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub path: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
}

/// One system call that changes what is on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub name: &'static str,
    /// The files it is about.
    pub paths: Vec<PathBuf>,
    /// Whether it takes space.
    pub grows: Grows,
}

/// Whether a call needs free space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grows {
    Yes,
    No,
}

/// What became of the program.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its disk-changing calls, the one it was killed before or that failed included.
    pub calls: Vec<Call>,
    /// Its exit code; `None` when it was killed.
    pub code: Option<i32>,
    /// The most memory that it had at once, in KiB; 0 when it was killed.
    pub peak_kib: u64,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Everything it printed.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs a program to its end.
pub fn trace(program: &Program, act: Act) -> Ended {
    trace_with(program, act, &mut |_| ())
}

/// The same; before each disk-changing call something may happen on the host, while the program waits.
#[expect(clippy::zombie_processes, reason = "the tracer waits for it, as for all its threads")]
pub fn trace_with(program: &Program, act: Act, meanwhile: &mut dyn FnMut(&Call)) -> Ended {
    let (mut stdout, mut stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    // The shell waits to be traced and then becomes the program: no code of ours runs after a fork.
    let child = Command::new("/bin/sh")
        .args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""])
        .arg(&program.path)
        .args(&program.arguments)
        .envs(program.environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(stdout.try_clone().unwrap())
        .stderr(stderr.try_clone().unwrap())
        .spawn()
        .unwrap();
    let leader = Pid::from_raw(child.id().try_into().unwrap());
    let mut tracer = Tracer {
        leader,
        act,
        meanwhile,
        running: Running::Shell,
        in_call: HashSet::new(),
        failing: HashMap::new(),
        calls: Vec::new(),
        peak_kib: 0,
    };
    tracer.seize();
    let code = tracer.follow();
    let read = |file: &mut File| {
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    };
    let (stdout, stderr) = (read(&mut stdout), read(&mut stderr));
    Ended { calls: tracer.calls, code, peak_kib: tracer.peak_kib, stdout, stderr }
}

/// What the traced process is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Running {
    Shell,
    Program,
}

struct Tracer<'m> {
    leader: Pid,
    act: Act,
    meanwhile: &'m mut dyn FnMut(&Call),
    running: Running,
    /// Threads inside a system call.
    in_call: HashSet<Pid>,
    /// Threads whose present call does not happen, and what it returns instead.
    failing: HashMap<Pid, Errno>,
    calls: Vec<Call>,
    peak_kib: u64,
}

impl Tracer<'_> {
    fn seize(&self) {
        let stopped = waitpid(self.leader, Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert_eq!(stopped, WaitStatus::Stopped(self.leader, Signal::SIGSTOP));
        let options = Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_TRACEEXIT
            | Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_EXITKILL;
        if let Err(error) = ptrace::seize(self.leader, options) {
            let _ = kill(self.leader, Signal::SIGKILL);
            let _ = waitpid(self.leader, None);
            panic!(
                "this machine forbids ptrace ({error}), without which crash safety cannot be tested: \
                 allow it in the seccomp profile and in /proc/sys/kernel/yama/ptrace_scope (0 or 1)"
            );
        }
        kill(self.leader, Signal::SIGCONT).unwrap();
    }

    /// Follows the program to its end and gives its exit code.
    fn follow(&mut self) -> Option<i32> {
        // Other threads of this test have programs of their own.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            match waitpid(None::<Pid>, Some(flags)).unwrap() {
                WaitStatus::PtraceSyscall(thread) => {
                    self.at_call(thread);
                    resume(thread, None);
                }
                WaitStatus::PtraceEvent(thread, _, event) => {
                    if event == libc::PTRACE_EVENT_EXEC {
                        self.running = Running::Program;
                    }
                    // Its memory is still there, and was never more.
                    if event == libc::PTRACE_EVENT_EXIT && thread == self.leader {
                        self.peak_kib = peak_kib(thread);
                    }
                    resume(thread, None);
                }
                WaitStatus::Stopped(thread, signal) => resume(thread, Some(signal)),
                WaitStatus::Exited(thread, code) if thread == self.leader => return Some(code),
                WaitStatus::Signaled(thread, ..) if thread == self.leader => return None,
                _ => {}
            }
        }
    }

    /// A thread enters or leaves a system call.
    fn at_call(&mut self, thread: Pid) {
        if self.in_call.remove(&thread) {
            if let Some(error) = self.failing.remove(&thread)
                && let Ok(mut registers) = ptrace::getregs(thread)
            {
                registers.rax = (-i64::from(error as i32)).cast_unsigned();
                let _ = ptrace::setregs(thread, registers);
            }
            return;
        }
        self.in_call.insert(thread);
        if self.running == Running::Shell {
            return;
        }
        // A thread that another thread's end has killed meanwhile has no registers.
        let Ok(registers) = ptrace::getregs(thread) else { return };
        let Some(call) = Entry { thread, registers }.change() else { return };
        let grows = call.grows;
        (self.meanwhile)(&call);
        self.calls.push(call);
        let number = self.calls.len();
        let error = match self.act {
            Act::KillBefore(at) if number == at => {
                // A call that is about to begin does not begin in a killed process.
                let _ = kill(self.leader, Signal::SIGKILL);
                return;
            }
            Act::Fail(at, error) if number == at => error,
            Act::FullFrom(at) if number >= at && grows == Grows::Yes => Errno::ENOSPC,
            _ => return,
        };
        let without = libc::user_regs_struct { orig_rax: u64::MAX, ..registers };
        if ptrace::setregs(thread, without).is_ok() {
            self.failing.insert(thread, error);
        }
    }
}

/// Whether a path is or may become a file or directory of a real file system, no device and no setting.
fn on_disk(path: &Path) -> bool {
    let kernel = ["/proc", "/sys"].iter().any(|directory| path.starts_with(directory));
    !kernel && path.metadata().map_or(true, |found| found.is_file() || found.is_dir())
}

/// The most memory that a process had at once.
fn peak_kib(process: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

/// Descriptors are 32 bits wide; the rest of their register means nothing.
const fn low_half(register: u64) -> u64 {
    register & 0xffff_ffff
}

/// Lets a thread go on to its next stop; one that was killed meanwhile does not.
fn resume(thread: Pid, signal: Option<Signal>) {
    match ptrace::syscall(thread, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => panic!("cannot go on with {thread}: {error}"),
    }
}

/// A thread that enters a system call.
struct Entry {
    thread: Pid,
    registers: libc::user_regs_struct,
}

impl Entry {
    /// The call, if it changes what is on the disk.
    fn change(&self) -> Option<Call> {
        let [one, two, three, four, _] = self.arguments();
        let cwd = CURRENT_DIRECTORY;
        let call = |name, paths, grows| Some(Call { name, paths, grows });
        match i64::try_from(self.registers.orig_rax).ok()? {
            libc::SYS_open => self.open("open", cwd, one, two),
            libc::SYS_creat => self.open("creat", cwd, one, libc::O_CREAT as u64),
            libc::SYS_openat => self.open("openat", one, two, three),
            libc::SYS_openat2 => self.open("openat2", one, two, self.number(three)),
            libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_writev | libc::SYS_pwritev => {
                call("write", vec![self.disk_file(one)?], Grows::Yes)
            }
            libc::SYS_sendfile => call("sendfile", vec![self.disk_file(one)?], Grows::Yes),
            libc::SYS_copy_file_range => {
                call("copy_file_range", vec![self.disk_file(three)?], Grows::Yes)
            }
            libc::SYS_fallocate => call("fallocate", vec![self.disk_file(one)?], Grows::Yes),
            libc::SYS_ftruncate => call("ftruncate", vec![self.disk_file(one)?], Grows::No),
            libc::SYS_truncate => call("truncate", vec![self.path(cwd, one)], Grows::No),
            libc::SYS_rename => {
                call("rename", vec![self.path(cwd, one), self.path(cwd, two)], Grows::No)
            }
            libc::SYS_renameat | libc::SYS_renameat2 => {
                call("rename", vec![self.path(one, two), self.path(three, four)], Grows::No)
            }
            libc::SYS_link => call("link", vec![self.path(cwd, two)], Grows::Yes),
            libc::SYS_linkat => call("link", vec![self.path(three, four)], Grows::Yes),
            libc::SYS_symlink => call("symlink", vec![self.path(cwd, two)], Grows::Yes),
            libc::SYS_symlinkat => call("symlink", vec![self.path(two, three)], Grows::Yes),
            libc::SYS_mkdir => call("mkdir", vec![self.path(cwd, one)], Grows::Yes),
            libc::SYS_mkdirat => call("mkdir", vec![self.path(one, two)], Grows::Yes),
            libc::SYS_mknodat => call("mknod", vec![self.path(one, two)], Grows::Yes),
            libc::SYS_unlink => call("unlink", vec![self.path(cwd, one)], Grows::No),
            libc::SYS_rmdir => call("rmdir", vec![self.path(cwd, one)], Grows::No),
            libc::SYS_unlinkat => call("unlink", vec![self.path(one, two)], Grows::No),
            other => self.attribute_or_sync(other),
        }
    }

    fn attribute_or_sync(&self, number: i64) -> Option<Call> {
        let [one, two, ..] = self.arguments();
        let cwd = CURRENT_DIRECTORY;
        let (name, path) = match number {
            libc::SYS_chmod => ("chmod", self.path(cwd, one)),
            libc::SYS_fchmodat => ("chmod", self.path(one, two)),
            libc::SYS_fchmod => ("chmod", self.disk_file(one)?),
            libc::SYS_chown | libc::SYS_lchown => ("chown", self.path(cwd, one)),
            libc::SYS_fchownat => ("chown", self.path(one, two)),
            libc::SYS_fchown => ("chown", self.disk_file(one)?),
            libc::SYS_utimensat if two == 0 => ("utimens", self.disk_file(one)?),
            libc::SYS_utimensat => ("utimens", self.path(one, two)),
            libc::SYS_setxattr | libc::SYS_lsetxattr => ("setxattr", self.path(cwd, one)),
            libc::SYS_fsetxattr => ("setxattr", self.disk_file(one)?),
            libc::SYS_fsync => ("fsync", self.disk_file(one)?),
            libc::SYS_fdatasync => ("fdatasync", self.disk_file(one)?),
            libc::SYS_syncfs => ("syncfs", self.disk_file(one)?),
            _ => return None,
        };
        Some(Call { name, paths: vec![path], grows: Grows::No })
    }

    /// Opening, if for writing.
    fn open(&self, name: &'static str, directory: u64, path: u64, flags: u64) -> Option<Call> {
        let flags = i32::try_from(flags).ok()?;
        let writing = libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC;
        let path = self.path(directory, path);
        if flags & writing == 0 || !on_disk(&path) {
            return None;
        }
        let grows = if flags & libc::O_CREAT == 0 { Grows::No } else { Grows::Yes };
        Some(Call { name, paths: vec![path], grows })
    }

    fn arguments(&self) -> [u64; 5] {
        let r = &self.registers;
        [r.rdi, r.rsi, r.rdx, r.r10, r.r8]
    }

    /// The file or directory behind a descriptor, unless it is an output or no file on a disk.
    fn disk_file(&self, descriptor: u64) -> Option<PathBuf> {
        if descriptor == 1 || descriptor == 2 {
            return None;
        }
        let path = self.descriptor(descriptor)?;
        (path.is_absolute() && on_disk(&path)).then_some(path)
    }

    fn descriptor(&self, descriptor: u64) -> Option<PathBuf> {
        let number = low_half(descriptor);
        std::fs::read_link(format!("/proc/{}/fd/{number}", self.thread)).ok()
    }

    /// A path argument, made absolute.
    fn path(&self, directory: u64, address: u64) -> PathBuf {
        let text = self.text(address);
        let base = if Path::new(&text).is_absolute() {
            None
        } else if low_half(directory) == CURRENT_DIRECTORY {
            std::fs::read_link(format!("/proc/{}/cwd", self.thread)).ok()
        } else {
            self.descriptor(directory)
        };
        base.unwrap_or_default().join(text)
    }

    fn text(&self, address: u64) -> String {
        let mut bytes = vec![0; PATH_BYTES_MAX];
        let read = self.memory().and_then(|memory| memory.read_at(&mut bytes, address));
        let count = read.unwrap_or(0);
        let end = bytes[..count].iter().position(|byte| *byte == 0).unwrap_or(count);
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }

    fn number(&self, address: u64) -> u64 {
        let mut bytes = [0; 8];
        let read = self.memory().and_then(|memory| memory.read_exact_at(&mut bytes, address));
        read.map_or(0, |()| u64::from_ne_bytes(bytes))
    }

    fn memory(&self) -> std::io::Result<File> {
        File::open(format!("/proc/{}/mem", self.thread))
    }
}
