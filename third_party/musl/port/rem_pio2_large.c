/* The reduction of angles from 2^20 * pi / 2 on, musl's with 4 KiB of tables: nobody asks for one
 * (bf_math.h), so whoever gets here is a bug of ours, and the program stops. */
#include "third_party/musl/port/bf_math.h"

int __rem_pio2_large(double *x, double *y, int exponent, int count, int precision);
int __rem_pio2_large(double *x, double *y, int exponent, int count, int precision) {
    (void)x, (void)y, (void)exponent, (void)count, (void)precision;
    __builtin_trap();
}
