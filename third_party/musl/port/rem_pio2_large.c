/* Stands in for musl's reduction of angles from 2^20 * pi / 2 on, which has 4 KiB of tables. The
 * contract in bf_math.h excludes such angles: a call is a bug of ours, and stops the program. */
#include "third_party/musl/port/bf_math.h"

int __rem_pio2_large(double *x, double *y, int exponent, int count, int precision);
int __rem_pio2_large(double *x, double *y, int exponent, int count, int precision) {
    (void)x, (void)y, (void)exponent, (void)count, (void)precision;
    __builtin_trap();
}
