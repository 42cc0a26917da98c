# Says which third-party sources are compiled, and with which flags. The top-level Makefile includes
# it and has the rules. The lists name every file, because a wildcard would find none in a fresh
# clone: the set-up fetches the files later.

LWIP   := third_party/lwip/src/src
MUSL   := third_party/musl/src/src/math
LLHTTP := third_party/llhttp/src/src

LWIP_SOURCES := $(addprefix $(LWIP)/core/,def.c inet_chksum.c init.c ip.c mem.c memp.c netif.c \
    pbuf.c raw.c stats.c sys.c tcp.c tcp_in.c tcp_out.c timeouts.c udp.c \
    ipv4/dhcp.c ipv4/etharp.c ipv4/icmp.c ipv4/ip4.c ipv4/ip4_addr.c ipv4/ip4_frag.c) \
    $(LWIP)/netif/ethernet.c
MUSL_SOURCES := $(addprefix $(MUSL)/,sin.c cos.c __sin.c __cos.c __rem_pio2.c) \
    third_party/musl/port/rem_pio2_large.c
LLHTTP_SOURCES := $(addprefix $(LLHTTP)/,llhttp.c api.c http.c)

THIRD_PARTY_SOURCES_METAL  := $(LWIP_SOURCES) $(MUSL_SOURCES) $(LLHTTP_SOURCES)
THIRD_PARTY_SOURCES_HOSTED := $(THIRD_PARTY_SOURCES_METAL)
# Files that must be there before anything is compiled.
THIRD_PARTY_FILES := $(THIRD_PARTY_SOURCES_METAL)

# For our own sources. As system headers they cause no warnings: ours are about our code.
THIRD_PARTY_INCLUDES := -Ithird_party/lwip/port -isystem $(LWIP)/include \
    -isystem third_party/llhttp/src/include -isystem third_party/rapidjson/src/include

# third_party_flags: the flags of one third-party source, by its path.
lwip_flags   := -Ithird_party/lwip/port -I$(LWIP)/include
# Strict mode refuses all that RFC 9112 says must be refused.
llhttp_flags := -DLLHTTP_STRICT_MODE=1 -Ithird_party/llhttp/src/include
# musl gets its own headers by -iquote only, so that its <bits/...> never hide the host's. <math.h>
# and <endian.h> are ours, and its functions get names of ours. No sanitizer: musl shifts and wraps
# on purpose.
musl_flags   := -ffreestanding -fno-builtin -fno-math-errno -ffp-contract=off -fno-sanitize=all \
    -iquote third_party/musl/src/src/internal -iquote third_party/musl/src/arch/generic \
    -Ithird_party/musl/port/include -include third_party/musl/port/bf_math_rename.h
third_party_flags = $(if $(filter third_party/lwip/%,$(1)),$(lwip_flags))$(if \
    $(filter third_party/llhttp/%,$(1)),$(llhttp_flags))$(if \
    $(filter third_party/musl/%,$(1)),$(musl_flags))

# If a source folder is missing, forget that the set-up was done, so that it is fetched again.
ifneq ($(words $(wildcard third_party/lwip/src/.stamp third_party/musl/src/.stamp \
    third_party/llhttp/src/.stamp third_party/rapidjson/src/.stamp)),4)
$(shell rm -f $(BUILD)/.setup)
endif
