#include "kernel_lib/memory/heap_blocks.h"

namespace bareflow {

using namespace heap_layout;

bool Heap::consistent() const {
    uint64_t used = 0;
    uint64_t free = 0;
    uint64_t live = 0;
    uint64_t held = 0;
    size_t free_blocks = 0;
    for (Region *region = regions_; region != nullptr; region = region->next) {
        held += region->bytes();
        const uint8_t *region_end = reinterpret_cast<uint8_t *>(region) + region->bytes();
        Block *block = region->first_block();
        size_t before = 0;
        bool before_free = false;
        for (; !block->is_end(); block = block->next()) {
            const bool sound = block->size() >= kMinBlock && block->size() % kUnit == 0 &&
                               block->previous_size == before && !(before_free && !block->used()) &&
                               block->bytes() + block->size() <= region_end - kHeaderBytes;
            if (!sound || (block->used() && checked_ && block->guard != guard_of(block))) {
                return false;
            }
            before = block->size();
            before_free = !block->used();
            (block->used() ? used : free) += block->size();
            live += block->used();
            free_blocks += !block->used();
        }
        if (block->bytes() + kHeaderBytes != region_end || block->previous_size != before) {
            return false;
        }
    }
    size_t listed = 0;
    for (size_t first = 0; first < kFirstCount; ++first) {
        for (size_t second = 0; second < kSecondCount; ++second) {
            Block *block = lists_[first][second];
            if ((block != nullptr) != (((second_map_[first] >> second) & 1) != 0)) {
                return false;
            }
            for (Block *previous = nullptr; block != nullptr;
                 previous = block, block = block->links().next) {
                const ListIndex index = list_of(block->size());
                if (block->used() || block->links().previous != previous || index.first != first ||
                    index.second != second || ++listed > free_blocks) {
                    return false;
                }
            }
        }
        if ((second_map_[first] != 0) != (((first_map_ >> first) & 1) != 0)) {
            return false;
        }
    }
    return listed == free_blocks && used == stats_.used_bytes && free == stats_.free_bytes &&
           live == stats_.live_allocations && held == stats_.region_bytes;
}

}  // namespace bareflow
