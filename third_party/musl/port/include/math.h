/* The <math.h> that musl is compiled with, in place of the host's: only what its sources use. */
#pragma once

#include "../bf_math.h"

typedef float float_t;
typedef double double_t;

#define NAN __builtin_nanf("")
#define INFINITY __builtin_inff()
#define isnan(x) __builtin_isnan(x)
#define isinf(x) __builtin_isinf(x)
#define isfinite(x) __builtin_isfinite(x)
#define signbit(x) __builtin_signbit(x)
#define fabs __builtin_fabs
#define sqrt __builtin_sqrt
