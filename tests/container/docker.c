/* Runs a command under what matters of Docker's default seccomp profile for a container without
 * capabilities (moby, profiles/seccomp/default.json, of Docker 25 and later): io_uring, namespaces,
 * mounts, keys, BPF, modules and the like fail with EPERM, clone3 with ENOSYS. Landlock and seccomp
 * stay allowed. Processes cannot be traced, which the profile leaves to the kernel. Compiled with
 * IO_URING it leaves io_uring alone, as profiles before that did.
 * Usage: docker COMMAND [ARGUMENT]... */
#include <errno.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NAMESPACES                                                                             \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | \
     CLONE_NEWNET)

static const int FORBIDDEN[] = {
#ifndef IO_URING
    SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register,
#endif
    SYS_acct, SYS_add_key, SYS_bpf, SYS_chroot, SYS_clock_adjtime, SYS_clock_settime,
    SYS_delete_module, SYS_fanotify_init, SYS_finit_module, SYS_fsconfig, SYS_fsmount, SYS_fsopen,
    SYS_fspick, SYS_init_module, SYS_kcmp, SYS_kexec_load, SYS_keyctl, SYS_mount, SYS_move_mount,
    SYS_move_pages, SYS_open_by_handle_at, SYS_open_tree, SYS_perf_event_open, SYS_pidfd_getfd,
    SYS_pivot_root, SYS_process_madvise, SYS_process_vm_readv, SYS_process_vm_writev, SYS_ptrace,
    SYS_quotactl, SYS_reboot, SYS_request_key, SYS_setdomainname, SYS_sethostname, SYS_setns,
    SYS_settimeofday, SYS_swapoff, SYS_swapon, SYS_syslog, SYS_umount2, SYS_unshare,
    SYS_userfaultfd, SYS_vhangup,
};
#define COUNT (sizeof FORBIDDEN / sizeof FORBIDDEN[0])

static struct sock_filter filter[2 * COUNT + 16];
static unsigned short length;

static void add(struct sock_filter one) { filter[length++] = one; }

#define LOAD(member)                                                                           \
    ((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member)))
#define SKIP_UNLESS(is, value, count)                                                          \
    ((struct sock_filter)BPF_JUMP(BPF_JMP | is | BPF_K, value, 0, count))
#define RETURN(what) ((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, what))

int main(int argc, char **argv) {
    struct sock_fprog program;
    if (argc < 2) {
        fprintf(stderr, "usage: docker COMMAND [ARGUMENT]...\n");
        return 2;
    }
    add(LOAD(nr));
    for (size_t at = 0; at < COUNT; at++) {
        add(SKIP_UNLESS(BPF_JEQ, FORBIDDEN[at], 1));
        add(RETURN(SECCOMP_RET_ERRNO | EPERM));
    }
    add(SKIP_UNLESS(BPF_JEQ, SYS_clone3, 1));
    add(RETURN(SECCOMP_RET_ERRNO | ENOSYS));
    add(SKIP_UNLESS(BPF_JEQ, SYS_clone, 3));
    add(LOAD(args[0]));
    add(SKIP_UNLESS(BPF_JSET, NAMESPACES, 1));
    add(RETURN(SECCOMP_RET_ERRNO | EPERM));
    add(LOAD(nr));
    add(SKIP_UNLESS(BPF_JEQ, SYS_socket, 3));
    add(LOAD(args[0]));
    add(SKIP_UNLESS(BPF_JEQ, AF_VSOCK, 1));
    add(RETURN(SECCOMP_RET_ERRNO | EPERM));
    add(RETURN(SECCOMP_RET_ALLOW));
    program.len = length;
    program.filter = filter;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0) {
        perror("seccomp");
        return 3;
    }
    execv(argv[1], argv + 1);
    perror(argv[1]);
    return 127;
}
