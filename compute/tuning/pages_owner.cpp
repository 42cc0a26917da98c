#include "compute/tuning/pages_owner.h"

namespace bareflow::compute {

bool PagesOwner::take(uint64_t bytes, uint64_t most) {
    if (bytes > most || count >= pages_for(bytes)) {
        return bytes <= most;
    }
    release();
    data = static_cast<uint8_t *>(platform::allocate_pages_unzeroed(pages_for(bytes)));
    count = data == nullptr ? 0 : pages_for(bytes);
    return data != nullptr;
}

void PagesOwner::release() {
    if (data != nullptr) {
        platform::free_pages(data, count);
    }
    *this = {};
}

}  // namespace bareflow::compute
