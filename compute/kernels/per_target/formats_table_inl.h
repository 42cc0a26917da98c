// From a weight type to the decoder of the including file. Included by each file of vector kernels
// for block types, inside of its anonymous namespace and behind end_target_inl.h, because this runs
// on any processor. That file has a decoder named Q8_0, Q4_0 and so on for each block type.
#pragma once

template <typename T, TensorType kTensorType>
struct Format {
    using Type = T;
    static constexpr TensorType kType = kTensorType;
};

// Returns use(Format<...>{}), or a value of the same type made of {} if no decoder has this type.
template <typename Use>
auto with_format(TensorType type, Use use) -> decltype(use(Format<Q8_0, TensorType::kQ8_0>{})) {
    switch (type) {
        case TensorType::kQ8_0:
            return use(Format<Q8_0, TensorType::kQ8_0>{});
        case TensorType::kQ4_0:
            return use(Format<Q4_0, TensorType::kQ4_0>{});
        case TensorType::kQ4_1:
            return use(Format<Q4_1, TensorType::kQ4_1>{});
        case TensorType::kQ5_0:
            return use(Format<Q5_0, TensorType::kQ5_0>{});
        case TensorType::kQ5_1:
            return use(Format<Q5_1, TensorType::kQ5_1>{});
        case TensorType::kIQ4_NL:
            return use(Format<IQ4_NL, TensorType::kIQ4_NL>{});
        case TensorType::kQ2_K:
            return use(Format<Q2_K, TensorType::kQ2_K>{});
        case TensorType::kQ3_K:
            return use(Format<Q3_K, TensorType::kQ3_K>{});
        case TensorType::kQ4_K:
            return use(Format<Q4_K, TensorType::kQ4_K>{});
        case TensorType::kQ5_K:
            return use(Format<Q5_K, TensorType::kQ5_K>{});
        case TensorType::kQ6_K:
            return use(Format<Q6_K, TensorType::kQ6_K>{});
        default:
            return {};
    }
}
