# ruff: noqa: SIM905
"""Which system calls a task may make, and their numbers on x86-64 and aarch64.

Data only. What is in no list answers ENOSYS, as on a kernel that does not have the call, so that libraries
fall back; calls known to be dangerous answer EPERM. The rules that look at arguments are in `seccomp`.
"""

from typing import Final

ALLOWED: Final = frozenset(
    """
    access chdir close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2
    fadvise64 fallocate fchdir fcntl fdatasync fgetxattr flistxattr flock fstat fstatfs fsync
    ftruncate getcwd getdents getdents64 getxattr lgetxattr link linkat listxattr llistxattr lseek
    lstat mkdir mkdirat mknod mknodat newfstatat open openat openat2 pread64 preadv preadv2 pwrite64
    pwritev pwritev2 read readahead readlink readlinkat readv rename renameat renameat2 rmdir
    sendfile splice stat statfs statx symlink symlinkat sync_file_range tee truncate umask unlink
    unlinkat write writev
    brk madvise membarrier mincore mlock mlock2 mmap mprotect mremap msync munlock munmap pkey_alloc
    pkey_free pkey_mprotect
    epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 pipe
    pipe2 poll ppoll pselect6 select signalfd signalfd4 timerfd_create timerfd_gettime
    timerfd_settime
    accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg
    sendmmsg sendmsg sendto setsockopt shutdown
    arch_prctl capget execve execveat exit exit_group fork futex futex_waitv get_robust_list getcpu
    getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getpriority getresgid getresuid
    getrlimit getrusage getsid gettid getuid restart_syscall rseq sched_get_priority_max
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
    sched_rr_get_interval sched_yield set_robust_list set_tid_address setrlimit sysinfo times uname
    vfork wait4 waitid
    alarm getitimer kill pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend
    rt_sigtimedwait setitimer sigaltstack tgkill tkill
    clock_getres clock_gettime clock_nanosleep getrandom gettimeofday nanosleep time timer_create
    timer_delete timer_getoverrun timer_gettime timer_settime
    """.split()  # files; memory; waiting and pipes; local sockets; processes; signals; time and chance
)

OWNERSHIP: Final = frozenset(
    """
    chmod chown fchmod fchmodat fchmodat2 fchown fchownat fremovexattr fsetxattr futimesat lchown
    lremovexattr lsetxattr removexattr setxattr utime utimensat utimes
    """.split()
)
"""Change the mode, owner, times and attributes of files. Landlock does not cover them, so where the task runs
under the uid of host files they answer success and do nothing."""

SESSIONS: Final = frozenset(
    """
    setpgid setsid
    """.split()
)
"""Leave the process group. Refused where ending the group is what ends a cell."""

DENIED: Final = frozenset(
    """
    acct add_key adjtimex bpf chroot clock_adjtime clock_settime delete_module fanotify_init
    fanotify_mark finit_module fsconfig fsmount fsopen fspick get_mempolicy init_module
    io_uring_enter io_uring_register io_uring_setup ioperm iopl ioprio_set kcmp kexec_file_load
    kexec_load keyctl lookup_dcookie mbind migrate_pages modify_ldt mount mount_setattr move_mount
    move_pages name_to_handle_at open_by_handle_at open_tree perf_event_open pidfd_getfd
    pidfd_send_signal pivot_root process_madvise process_mrelease process_vm_readv process_vm_writev
    ptrace quotactl quotactl_fd reboot request_key rt_sigqueueinfo rt_tgsigqueueinfo sched_setattr
    sched_setparam sched_setscheduler seccomp setdomainname sethostname setns setpriority
    settimeofday swapoff swapon syslog umount2 unshare userfaultfd vhangup vmsplice
    """.split()
)
"""Answer EPERM."""

# fmt: off
NUMBERS: Final[dict[str, tuple[int, int]]] = {
    # name: (x86-64, aarch64); -1 where the machine has no such call.
    "accept": (43, 202), "accept4": (288, 242), "access": (21, -1), "acct": (163, 89),
    "add_key": (248, 217), "adjtimex": (159, 171), "alarm": (37, -1), "arch_prctl": (158, -1),
    "bind": (49, 200), "bpf": (321, 280), "brk": (12, 214), "capget": (125, 90), "chdir": (80, 49),
    "chmod": (90, -1), "chown": (92, -1), "chroot": (161, 51), "clock_adjtime": (305, 266),
    "clock_getres": (229, 114), "clock_gettime": (228, 113), "clock_nanosleep": (230, 115),
    "clock_settime": (227, 112), "clone": (56, 220), "clone3": (435, 435), "close": (3, 57),
    "close_range": (436, 436), "connect": (42, 203), "copy_file_range": (326, 285), "creat": (85, -1),
    "delete_module": (176, 106), "dup": (32, 23), "dup2": (33, -1), "dup3": (292, 24),
    "epoll_create": (213, -1), "epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_pwait": (281, 22),
    "epoll_pwait2": (441, 441), "epoll_wait": (232, -1), "eventfd": (284, -1), "eventfd2": (290, 19),
    "execve": (59, 221), "execveat": (322, 281), "exit": (60, 93), "exit_group": (231, 94),
    "faccessat": (269, 48), "faccessat2": (439, 439), "fadvise64": (221, -1), "fallocate": (285, 47),
    "fanotify_init": (300, 262), "fanotify_mark": (301, 263), "fchdir": (81, 50), "fchmod": (91, 52),
    "fchmodat": (268, 53), "fchmodat2": (452, 452), "fchown": (93, 55), "fchownat": (260, 54),
    "fcntl": (72, -1), "fdatasync": (75, 83), "fgetxattr": (193, 10), "finit_module": (313, 273),
    "flistxattr": (196, 13), "flock": (73, 32), "fork": (57, -1), "fremovexattr": (199, 16),
    "fsconfig": (431, 431), "fsetxattr": (190, 7), "fsmount": (432, 432), "fsopen": (430, 430),
    "fspick": (433, 433), "fstat": (5, -1), "fstatfs": (138, -1), "fsync": (74, 82), "ftruncate": (77, -1),
    "futex": (202, 98), "futex_waitv": (449, 449), "futimesat": (261, -1), "get_mempolicy": (239, 236),
    "get_robust_list": (274, 100), "getcpu": (309, 168), "getcwd": (79, 17), "getdents": (78, -1),
    "getdents64": (217, 61), "getegid": (108, 177), "geteuid": (107, 175), "getgid": (104, 176),
    "getgroups": (115, 158), "getitimer": (36, 102), "getpeername": (52, 205), "getpgid": (121, 155),
    "getpgrp": (111, -1), "getpid": (39, 172), "getppid": (110, 173), "getpriority": (140, 141),
    "getrandom": (318, 278), "getresgid": (120, 150), "getresuid": (118, 148), "getrlimit": (97, 163),
    "getrusage": (98, 165), "getsid": (124, 156), "getsockname": (51, 204), "getsockopt": (55, 209),
    "gettid": (186, 178), "gettimeofday": (96, 169), "getuid": (102, 174), "getxattr": (191, 8),
    "init_module": (175, 105), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425), "ioctl": (16, 29), "ioperm": (173, -1), "iopl": (172, -1),
    "ioprio_set": (251, 30), "kcmp": (312, 272), "kexec_file_load": (320, 294), "kexec_load": (246, 104),
    "keyctl": (250, 219), "kill": (62, 129), "lchown": (94, -1), "lgetxattr": (192, 9), "link": (86, -1),
    "linkat": (265, 37), "listen": (50, 201), "listxattr": (194, 11), "llistxattr": (195, 12),
    "lookup_dcookie": (212, 18), "lremovexattr": (198, 15), "lseek": (8, -1), "lsetxattr": (189, 6),
    "lstat": (6, -1), "madvise": (28, 233), "mbind": (237, 235), "membarrier": (324, 283),
    "migrate_pages": (256, 238), "mincore": (27, 232), "mkdir": (83, -1), "mkdirat": (258, 34),
    "mknod": (133, -1), "mknodat": (259, 33), "mlock": (149, 228), "mlock2": (325, 284), "mmap": (9, -1),
    "modify_ldt": (154, -1), "mount": (165, 40), "mount_setattr": (442, 442), "move_mount": (429, 429),
    "move_pages": (279, 239), "mprotect": (10, 226), "mremap": (25, 216), "msync": (26, 227),
    "munlock": (150, 229), "munmap": (11, 215), "name_to_handle_at": (303, 264), "nanosleep": (35, 101),
    "newfstatat": (262, -1), "open": (2, -1), "open_by_handle_at": (304, 265), "open_tree": (428, 428),
    "openat": (257, 56), "openat2": (437, 437), "pause": (34, -1), "perf_event_open": (298, 241),
    "personality": (135, 92), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "pipe": (22, -1),
    "pipe2": (293, 59), "pivot_root": (155, 41), "pkey_alloc": (330, 289), "pkey_free": (331, 290),
    "pkey_mprotect": (329, 288), "poll": (7, -1), "ppoll": (271, 73), "prctl": (157, 167),
    "pread64": (17, 67), "preadv": (295, 69), "preadv2": (327, 286), "prlimit64": (302, 261),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "pselect6": (270, 72), "ptrace": (101, 117), "pwrite64": (18, 68),
    "pwritev": (296, 70), "pwritev2": (328, 287), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    "read": (0, 63), "readahead": (187, 213), "readlink": (89, -1), "readlinkat": (267, 78),
    "readv": (19, 65), "reboot": (169, 142), "recvfrom": (45, 207), "recvmmsg": (299, 243),
    "recvmsg": (47, 212), "removexattr": (197, 14), "rename": (82, -1), "renameat": (264, 38),
    "renameat2": (316, 276), "request_key": (249, 218), "restart_syscall": (219, 128), "rmdir": (84, -1),
    "rseq": (334, 293), "rt_sigaction": (13, 134), "rt_sigpending": (127, 136), "rt_sigprocmask": (14, 135),
    "rt_sigqueueinfo": (129, 138), "rt_sigreturn": (15, 139), "rt_sigsuspend": (130, 133),
    "rt_sigtimedwait": (128, 137), "rt_tgsigqueueinfo": (297, 240), "sched_get_priority_max": (146, 125),
    "sched_get_priority_min": (147, 126), "sched_getaffinity": (204, 123), "sched_getattr": (315, 275),
    "sched_getparam": (143, 121), "sched_getscheduler": (145, 120), "sched_rr_get_interval": (148, 127),
    "sched_setaffinity": (203, 122), "sched_setattr": (314, 274), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119), "sched_yield": (24, 124), "seccomp": (317, 277), "select": (23, -1),
    "sendfile": (40, -1), "sendmmsg": (307, 269), "sendmsg": (46, 211), "sendto": (44, 206),
    "set_robust_list": (273, 99), "set_tid_address": (218, 96), "setdomainname": (171, 162),
    "sethostname": (170, 161), "setitimer": (38, 103), "setns": (308, 268), "setpgid": (109, 154),
    "setpriority": (141, 140), "setrlimit": (160, 164), "setsid": (112, 157), "setsockopt": (54, 208),
    "settimeofday": (164, 170), "setxattr": (188, 5), "shutdown": (48, 210), "sigaltstack": (131, 132),
    "signalfd": (282, -1), "signalfd4": (289, 74), "socket": (41, 198), "socketpair": (53, 199),
    "splice": (275, 76), "stat": (4, -1), "statfs": (137, -1), "statx": (332, 291), "swapoff": (168, 225),
    "swapon": (167, 224), "symlink": (88, -1), "symlinkat": (266, 36), "sync_file_range": (277, 84),
    "sysinfo": (99, 179), "syslog": (103, 116), "tee": (276, 77), "tgkill": (234, 131), "time": (201, -1),
    "timer_create": (222, 107), "timer_delete": (226, 111), "timer_getoverrun": (225, 109),
    "timer_gettime": (224, 108), "timer_settime": (223, 110), "timerfd_create": (283, 85),
    "timerfd_gettime": (287, 87), "timerfd_settime": (286, 86), "times": (100, 153), "tkill": (200, 130),
    "truncate": (76, -1), "umask": (95, 166), "umount2": (166, 39), "uname": (63, 160), "unlink": (87, -1),
    "unlinkat": (263, 35), "unshare": (272, 97), "userfaultfd": (323, 282), "utime": (132, -1),
    "utimensat": (280, 88), "utimes": (235, -1), "vfork": (58, -1), "vhangup": (153, 58),
    "vmsplice": (278, 75), "wait4": (61, 260), "waitid": (247, 95), "write": (1, 64), "writev": (20, 66),
}
# fmt: on
