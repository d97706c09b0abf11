/* A TCG plugin for QEMU: counts the guest's instructions, for each virtual CPU, in user space and in the kernel.
 *
 * The program `mark` of the guest (made from this file with -DMARK) executes an instruction that does nothing and that
 * nobody else has: a NOP with a certain displacement. Whenever it is executed, a line with all counts so far is written:
 *
 *     user kernel  user kernel  ...      (a pair for each virtual CPU that has run)
 *
 * The functions are those of QEMU's plugin interface, version 1 (QEMU 4.2 to 9.0), declared here since Debian 12 has no
 * package with its header. */

#define MARK_BYTES 0x0f, 0x1f, 0x80, 's', 'i', 't', 'r' /* nopl 0x72746973(%rax) */

#ifdef MARK

int main(void)
{
    __asm__ volatile(".byte 0x0f, 0x1f, 0x80, 's', 'i', 't', 'r'");
    return 0;
}

#else

#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info_t;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned int, void *),
                                          enum qemu_plugin_cb_flags, void *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*)(unsigned int, void *),
                                            enum qemu_plugin_cb_flags, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

#define CPUS_MAX 16

/* Each virtual CPU writes its own line of the cache only. */
static struct {
    uint64_t user, kernel;
} __attribute__((aligned(64))) counts[CPUS_MAX];
static FILE *out;

static void count_user(unsigned int cpu, void *instructions)
{
    counts[cpu % CPUS_MAX].user += (uintptr_t)instructions;
}

static void count_kernel(unsigned int cpu, void *instructions)
{
    counts[cpu % CPUS_MAX].kernel += (uintptr_t)instructions;
}

static void mark(unsigned int cpu, void *unused)
{
    (void)cpu;
    (void)unused;
    for (int i = 0; i < CPUS_MAX && counts[i].kernel; i++)
        fprintf(out, "%llu %llu  ", (unsigned long long)counts[i].user, (unsigned long long)counts[i].kernel);
    fprintf(out, "\n");
    fflush(out);
}

/* A block of instructions was translated: from now on it is counted each time it begins. A block that an interrupt or a
 * fault leaves early counts in full; there are few, and for every server the same. */
static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    static const unsigned char magic[] = { MARK_BYTES };
    size_t instructions = qemu_plugin_tb_n_insns(block);
    /* The kernel has the upper half of the addresses. */
    int kernel = (int64_t)qemu_plugin_tb_vaddr(block) < 0;

    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(block, kernel ? count_kernel : count_user, QEMU_PLUGIN_CB_NO_REGS,
                                         (void *)(uintptr_t)instructions);
    for (size_t i = 0; i < instructions; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, i);
        if (qemu_plugin_insn_size(insn) == sizeof magic && !memcmp(qemu_plugin_insn_data(insn), magic, sizeof magic))
            qemu_plugin_register_vcpu_insn_exec_cb(insn, mark, QEMU_PLUGIN_CB_NO_REGS, NULL);
    }
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info_t *info,
                                                               int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], "out=", 4))
            out = fopen(argv[i] + 4, "w");
    if (!out)
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}

#endif
