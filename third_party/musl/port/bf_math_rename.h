/* Included before every musl source (-include): gives its functions our names, so that they neither
 * clash with nor get replaced by the host's C library. musl itself is not edited. */
#pragma once

#define hidden __attribute__((__visibility__("hidden")))

#define exp bf_exp
#define log bf_log
#define pow bf_pow
#define sin bf_sin
#define cos bf_cos
#define floor bf_floor
#define scalbn bf_scalbn

/* Internal to musl. */
#define __cos bf__cos
#define __sin bf__sin
#define __rem_pio2 bf__rem_pio2
#define __rem_pio2_large bf__rem_pio2_large
#define __math_divzero bf__math_divzero
#define __math_invalid bf__math_invalid
#define __math_oflow bf__math_oflow
#define __math_uflow bf__math_uflow
#define __math_xflow bf__math_xflow
#define __exp_data bf__exp_data
#define __log_data bf__log_data
#define __pow_log_data bf__pow_log_data
