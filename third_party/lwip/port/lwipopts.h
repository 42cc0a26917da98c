/* Options of lwIP 2.1.3 for BareFlow: no threads, raw API, IPv4 only. Every value that is not
 * lwIP's default is here with its reason. Macros are lwIP's own interface (opt.h). */
#pragma once

/* One event loop, no threads, no sockets. */
#define NO_SYS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0

/* Protocols. */
#define LWIP_IPV4 1
#define LWIP_IPV6 0
#define LWIP_ICMP 1
#define LWIP_UDP 1
#define LWIP_TCP 1
#define LWIP_DHCP 1
#define LWIP_AUTOIP 0
#define LWIP_DNS 0
#define LWIP_RAW 0
#define DHCP_DOES_ARP_CHECK 0 /* it would cost a second before the first answer */
#define LWIP_DHCP_GET_NTP_SRV 0
#define LWIP_NETIF_HOSTNAME 1
#define LWIP_NETIF_LINK_CALLBACK 0
/* The first clients may come together, before the router's hardware address is known. Without a
 * queue only the last answer would wait for the address; the others would be lost for 3 s. */
#define ARP_QUEUEING 1
#define ARP_QUEUE_LEN 16
#define MEMP_NUM_ARP_QUEUE 16
#define IP_FRAG 0 /* nothing we send is longer than a frame */
#define IP_REASSEMBLY 0

/* Memory: static pools and one heap for what TCP still has to send (bytes are copied). All of it is
 * BSS: it costs RAM (about 0.8 MiB), not image. */
#define MEM_ALIGNMENT 16
#define MEM_SIZE (448 * 1024)
#define PBUF_POOL_SIZE 160
#define PBUF_POOL_BUFSIZE 1536 /* one whole frame a buffer */
#define MEMP_NUM_PBUF 64
#define MEMP_NUM_UDP_PCB 4
#define MEMP_NUM_TCP_PCB 72 /* 48 streams (net/network.h), and some that are closing */
#define MEMP_NUM_TCP_PCB_LISTEN 2
#define MEMP_NUM_TCP_SEG 512
#define MEMP_NUM_SYS_TIMEOUT 12
#define MEMP_NUM_REASSDATA 0

/* TCP: eight full segments each way. Answers are small; a request body is at most 1 MiB. */
#define TCP_MSS 1460
#define TCP_WND (8 * TCP_MSS)
#define TCP_SND_BUF (8 * TCP_MSS)
#define TCP_SND_QUEUELEN 40
#define TCP_LISTEN_BACKLOG 1
#define TCP_DEFAULT_LISTEN_BACKLOG 16
#define TCP_QUEUE_OOSEQ 1
#define TCP_OOSEQ_MAX_PBUFS 16
#define LWIP_TCP_KEEPALIVE 1
#define TCP_MSL 5000UL /* TIME_WAIT of 10 s: the peer is one hop away */

/* Initial sequence numbers after RFC 6528 (net/sequence_number.h). */
#define LWIP_HOOK_FILENAME "lwip_hooks.h"
#define LWIP_HOOK_TCP_ISN bareflow_tcp_isn

#define LWIP_CHECKSUM_ON_COPY 1
#define LWIP_STATS 0
#define LWIP_DBG_TYPES_ON 0
