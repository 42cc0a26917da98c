// The functions that lwIP asks its platform for: clock, random numbers, initial sequence numbers.
#include <gtest/gtest.h>

#include <chrono>
#include <set>
#include <thread>

#include "lwip/init.h"
#include "lwip/sys.h"
#include "lwip_hooks.h"

namespace bareflow {
namespace {

ip_addr_t address(uint8_t last) {
    ip_addr_t result;
    IP4_ADDR(&result, 10, 0, 2, last);
    return result;
}

TEST(LwipPort, TheClockCountsMilliseconds) {
    const u32_t before = sys_now();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const u32_t passed = sys_now() - before;
    EXPECT_GE(passed, 19u);
    EXPECT_LT(passed, 10000u);
}

TEST(LwipPort, RandomNumbersDiffer) {
    std::set<unsigned int> seen;
    for (int i = 0; i < 1000; ++i) {
        seen.insert(bareflow_lwip_random());
    }
    EXPECT_GE(seen.size(), 999u);
}

// RFC 6528: for one connection the numbers follow a clock of 250 kHz, for another they lie
// elsewhere.
TEST(LwipPort, SequenceNumbersBelongToTheConnection) {
    const ip_addr_t here = address(15);
    const ip_addr_t peer = address(2);
    const ip_addr_t other = address(3);
    const u32_t first = bareflow_tcp_isn(&here, 80, &peer, 1000);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    const u32_t later = bareflow_tcp_isn(&here, 80, &peer, 1000);
    EXPECT_GE(later - first, 10u * 250 - 250);
    EXPECT_LT(later - first, 10000u * 250);
    const u32_t strangers[] = {
        bareflow_tcp_isn(&here, 81, &peer, 1000), bareflow_tcp_isn(&here, 80, &peer, 1001),
        bareflow_tcp_isn(&here, 80, &other, 1000), bareflow_tcp_isn(&peer, 80, &here, 1000)};
    int near = 0;
    for (const u32_t stranger : strangers) {
        near += stranger - first < 10000u * 250 ? 1 : 0;
    }
    EXPECT_LE(near, 1) << "each is near by chance once in 1700 times";
}

}  // namespace
}  // namespace bareflow
