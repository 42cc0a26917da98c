#include "llama/file/sort_numbers.h"

#include <cstddef>
#include <utility>

namespace bareflow::llama {

void fill_with_places(std::span<uint32_t> numbers) {
    for (uint32_t i = 0; i < numbers.size(); ++i) {
        numbers[i] = i;
    }
}

void sort_numbers(std::span<uint32_t> numbers, const void *context,
                  bool (*less)(const void *context, uint32_t a, uint32_t b)) {
    auto sift_down = [&](size_t root, size_t end) {
        for (size_t child = 2 * root + 1; child < end; child = 2 * root + 1) {
            if (child + 1 < end && less(context, numbers[child], numbers[child + 1])) {
                ++child;
            }
            if (!less(context, numbers[root], numbers[child])) {
                return;
            }
            std::swap(numbers[root], numbers[child]);
            root = child;
        }
    };
    for (size_t root = numbers.size() / 2; root-- > 0;) {
        sift_down(root, numbers.size());
    }
    for (size_t end = numbers.size(); end-- > 1;) {
        std::swap(numbers[0], numbers[end]);
        sift_down(0, end);
    }
}

}  // namespace bareflow::llama
