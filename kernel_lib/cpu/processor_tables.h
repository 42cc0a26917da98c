// What every processor has of its own: segments, task state (which names the stacks for exceptions)
// and its number, which the GS base leads to. Bare metal only.
#pragma once

#include <array>
#include <cstdint>

namespace bareflow {

// SDM 3, 8.7: 64-bit task state segment.
struct [[gnu::packed]] TaskState {
    uint32_t reserved0 = 0;
    uint64_t rsp[3] = {};
    uint64_t reserved1 = 0;
    uint64_t ist[7] = {};
    uint64_t reserved2 = 0;
    uint16_t reserved3 = 0;
    uint16_t io_map_base = 0;
};
static_assert(sizeof(TaskState) == 104);

struct ProcessorTables {
    uint32_t index = 0;  // first: read through GS
    std::array<uint64_t, 5> gdt{};
    TaskState task_state{};
};

// Tops of the stacks that interrupts switch to.
struct InterruptStacks {
    uint64_t exception = 0;
    uint64_t double_fault = 0;
    uint64_t nmi = 0;
};

// On the calling processor, from now on: segments and stacks of these tables (which must stay), the
// common IDT, the number. The IDT is the boot processor's (init_interrupts).
void load_processor_tables(ProcessorTables &tables, const InterruptStacks &stacks);

// The number of the calling processor. Any context after load_processor_tables.
[[nodiscard]] inline uint32_t current_processor() {
    uint32_t index;
    asm("movl %%gs:0, %0" : "=r"(index));
    return index;
}

}  // namespace bareflow
