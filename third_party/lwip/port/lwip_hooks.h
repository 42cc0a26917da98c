/* Hooks that lwIP calls (lwipopts.h). C. */
#pragma once

#include "lwip/ip_addr.h"

#ifdef __cplusplus
extern "C" {
#endif
/* net/lwip_port.cpp */
u32_t bareflow_tcp_isn(const ip_addr_t *local_ip, u16_t local_port, const ip_addr_t *remote_ip,
                       u16_t remote_port);
#ifdef __cplusplus
}
#endif
