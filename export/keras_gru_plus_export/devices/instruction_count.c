/* QEMU TCG plugin: how often each instruction runs while a function does.

   Arguments: call=ADDRESS of the 4-byte call instruction, out=FILE. Counting begins behind the call and ends
   where it returns to. At exit FILE has a line "address count" (hexadecimal, decimal) for each instruction.
   Distributions without QEMU's header get the few declarations of its API version 1 that are used here. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __has_include(<qemu-plugin.h>)
#include <qemu-plugin.h>
#else
#define QEMU_PLUGIN_EXPORT __attribute__((visibility("default")))
#define QEMU_PLUGIN_VERSION 1
typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*)(unsigned int, void *),
                                            enum qemu_plugin_cb_flags, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
#endif

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

struct counter {
    uint64_t address, count;
    struct counter *next;
};

enum { BUCKETS = 1 << 14 };
static struct counter *buckets[BUCKETS];
static uint64_t call;
static int counting;
static const char *path;

/* An instruction is translated more than once; all its translations share a counter. */
static struct counter *counter_of(uint64_t address)
{
    struct counter **bucket = &buckets[address / 2 % BUCKETS], *found = *bucket;
    while (found && found->address != address)
        found = found->next;
    if (!found) {
        found = calloc(1, sizeof *found);
        if (!found)
            abort();
        found->address = address;
        found->next = *bucket;
        *bucket = found;
    }
    return found;
}

static void executed(unsigned int cpu, void *data)
{
    struct counter *counter = data;
    (void)cpu;
    if (counter->address == call + 4)
        counting = 0;
    counter->count += counting;
    if (counter->address == call)
        counting = 1;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        qemu_plugin_register_vcpu_insn_exec_cb(instruction, executed, QEMU_PLUGIN_CB_NO_REGS,
                                               counter_of(qemu_plugin_insn_vaddr(instruction)));
    }
}

static void finished(qemu_plugin_id_t id, void *data)
{
    FILE *file = fopen(path, "w");
    (void)id, (void)data;
    if (!file)
        return;
    for (int i = 0; i < BUCKETS; i++)
        for (struct counter *counter = buckets[i]; counter; counter = counter->next)
            if (counter->count)
                fprintf(file, "%" PRIx64 " %" PRIu64 "\n", counter->address, counter->count);
    fclose(file);
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "call=", 5))
            call = strtoull(argv[i] + 5, NULL, 0);
        else if (!strncmp(argv[i], "out=", 4))
            path = strdup(argv[i] + 4);
    }
    if (!call || !path)
        return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, finished, NULL);
    return 0;
}
