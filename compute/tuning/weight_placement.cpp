#include "compute/tuning/weight_placement.h"

namespace bareflow::compute {

std::string_view weight_mode_name(WeightMode mode) {
    static constexpr char kNames[][8] = {"auto", "owned", "mapped", "tight"};
    return kNames[static_cast<size_t>(mode)];
}

}  // namespace bareflow::compute
