/* Included before every musl source (-include): gives its functions our names, so that they neither
 * clash with nor get replaced by the host's C library. musl itself is not edited. */
#pragma once

#define hidden __attribute__((__visibility__("hidden")))

#define sin bf_sin
#define cos bf_cos

/* Internal to musl. */
#define __cos bf__cos
#define __sin bf__sin
#define __rem_pio2 bf__rem_pio2
#define __rem_pio2_large bf__rem_pio2_large
