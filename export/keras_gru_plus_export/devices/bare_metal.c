/* Start-up and output by semihosting for programs on QEMU's Cortex-M boards. */
#include <stdint.h>

int main(void);
void kgp_start(void);
void kgp_say(const char *text);
extern uint32_t kgp_stack_top[];

static long kgp_host(long operation, const void *argument)
{
    register long r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void kgp_say(const char *text)
{
    kgp_host(4, text);
}

static void kgp_stop(void)
{
    for (;;)
        kgp_host(0x18, (const void *)0x20024);
}

void kgp_start(void)
{
#if defined(__ARM_FEATURE_MVE) || defined(__ARM_FP)
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20;
    __asm__ volatile("dsb\n isb");
#endif
    main();
    kgp_host(0x18, (const void *)0x20026);
    for (;;)
        ;
}

__attribute__((section(".vectors"), used)) static const void *const kgp_vectors[16] = {
    kgp_stack_top, (const void *)kgp_start, (const void *)kgp_stop, (const void *)kgp_stop,
    (const void *)kgp_stop, (const void *)kgp_stop, (const void *)kgp_stop,
};
