// From a quantised type to the format of the file's kernels. Included inside the anonymous
// namespace of each file of vector kernels, whose formats have the same names, and outside of its
// target: what is here runs on any processor.
#pragma once

template <typename T, TensorType kTensorType>
struct Format {
    using Type = T;
    static constexpr TensorType kType = kTensorType;
};

// use(Format<...>{}); what the result's type is without a value where there is no such format.
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
