// The memory that a fake device may reach: exactly the regions a test has allowed. On the hosted
// platform a physical address is the address itself.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <span>
#include <string>
#include <vector>

#include "tests/fakes/violations.h"

namespace bareflow::fakes {

class DmaSpace {
  public:
    void allow(std::span<const uint8_t> region) {
        regions_.push_back({reinterpret_cast<uint64_t>(region.data()), region.size()});
    }
    void forbid_all() { regions_.clear(); }

    // The bytes at a device's address; nullptr, and a violation, if any of them is not allowed.
    [[nodiscard]] uint8_t *at(uint64_t address, uint64_t len, Violations &violations,
                              const char *what) const {
        for (const Region &region : regions_) {
            if (address >= region.address && len <= region.len &&
                address - region.address <= region.len - len) {
                return reinterpret_cast<uint8_t *>(address);
            }
        }
        violations.add(std::string(what) + ": the device was sent to memory that is not its own");
        return nullptr;
    }

  private:
    struct Region {
        uint64_t address;
        uint64_t len;
    };
    std::vector<Region> regions_;
};

// Zeroed page-aligned memory of a test. `low`: below 4 GiB, for devices with 32-bit addresses.
class DmaMemory {
  public:
    explicit DmaMemory(size_t bytes, bool low = false);
    DmaMemory(const DmaMemory &) = delete;
    DmaMemory &operator=(const DmaMemory &) = delete;
    ~DmaMemory();

    [[nodiscard]] std::span<uint8_t> span() const { return {data_, len_}; }
    [[nodiscard]] uint8_t *data() const { return data_; }

  private:
    uint8_t *data_;
    size_t len_;
};

}  // namespace bareflow::fakes
