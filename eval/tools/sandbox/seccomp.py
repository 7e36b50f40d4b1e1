"""The seccomp filter of bubblewrap's sandbox: the system calls that a program may not make."""

import contextlib
import functools
import os

from eval.tools.sandbox.program import SandboxUnavailable

# Denied on top of what the namespaces keep out: sockets (AF_VSOCK, which reaches the hypervisor, knows no namespace),
# memory that RLIMIT_AS does not count, new processes, and kernel interfaces that a program with tests has no use for.
DENIED = """socket socketpair fork vfork ptrace process_vm_readv process_vm_writev memfd_create memfd_secret shmget
    shmat shmctl msgget msgsnd msgrcv msgctl semget semop semctl semtimedop mq_open add_key request_key keyctl bpf
    perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register unshare setns mount umount2 pivot_root
    move_mount open_tree fsopen fsmount fspick fsconfig mount_setattr chroot init_module finit_module delete_module
    kexec_load kexec_file_load open_by_handle_at name_to_handle_at personality splice tee vmsplice inotify_init
    inotify_init1 inotify_add_watch fanotify_init mbind set_mempolicy migrate_pages move_pages get_mempolicy pidfd_open
    pidfd_getfd kcmp sched_setscheduler sched_setattr syslog acct quotactl swapon swapoff reboot settimeofday
    clock_settime adjtimex""".split()


@functools.cache
def seccomp_filter() -> bytes:
    """The seccomp filter as BPF: EPERM for `DENIED`, all else allowed; a system call of another architecture kills."""
    try:
        import pyseccomp
    except (ImportError, RuntimeError) as error:  # RuntimeError: there is no libseccomp.so.2
        raise SandboxUnavailable(
            f"no seccomp filter ({error}): pip install pyseccomp; apt install libseccomp2"
        ) from None
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    for name in DENIED:
        with contextlib.suppress(ValueError, OSError):  # not a system call of this machine
            rules.add_rule(pyseccomp.ERRNO(1), name)
    with open(os.memfd_create("filter"), "w+b") as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def seccomp_filter_fd() -> int:
    """A file of its own for each run: bwrap reads it to the end."""
    fd = os.memfd_create("filter")
    os.write(fd, seccomp_filter())
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
