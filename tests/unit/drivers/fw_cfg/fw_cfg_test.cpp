// Files of a fake fw_cfg device, and directories that cannot be right.
#include "drivers/fw_cfg/fw_cfg.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "tests/fakes/violations.h"

namespace bareflow {
namespace {

// The host's side of fw_cfg: items by selector, each read byte by byte.
class FakeHost {
  public:
    void add(const std::string &name, const std::string &text) {
        const auto selector = static_cast<uint16_t>(0x20 + count_);
        items[selector] = text;
        put(static_cast<uint32_t>(text.size()), 4);
        put(selector, 2);
        put(0, 2);
        std::string field = name;
        field.resize(fw_cfg::kNameBytes);
        directory_ += field;
        ++count_;
        rebuild(count_);
    }
    void rebuild(uint32_t count) {
        std::string all;
        for (int shift = 24; shift >= 0; shift -= 8) {
            all += static_cast<char>(count >> shift);
        }
        items[fw_cfg::kFileDirectory] = all + directory_;
    }

    bool present = true;
    std::map<uint16_t, std::string> items{{fw_cfg::kSignature, "QEMU"}};
    std::string *current = nullptr;
    size_t at = 0;
    size_t reads = 0;
    fakes::Violations violations{"fake fw_cfg"};

  private:
    void put(uint32_t value, int bytes) {
        for (int i = bytes - 1; i >= 0; --i) {
            directory_ += static_cast<char>(value >> 8 * i);
        }
    }
    std::string directory_;
    uint32_t count_ = 0;
};
struct FakeHostPorts {
    FakeHost *host;
    uint8_t in8(uint16_t port) {
        ++host->reads;
        host->violations.require(port == fw_cfg::kDataPort, "read of another port");
        if (!host->present) {
            return 0xFF;
        }
        host->violations.require(host->current != nullptr, "data read with nothing selected");
        const bool more = host->current != nullptr && host->at < host->current->size();
        return more ? static_cast<uint8_t>((*host->current)[host->at++]) : 0;
    }
    void out16(uint16_t port, uint16_t item) {
        host->violations.require(port == fw_cfg::kSelectorPort, "write to another port");
        const auto found = host->items.find(item);
        host->violations.require(!host->present || found != host->items.end(),
                                 "selected an item that is not there");
        host->current = found == host->items.end() ? nullptr : &found->second;
        host->at = 0;
    }
};

class FwCfgTest : public testing::Test {
  protected:
    Result<std::string> read(std::string_view name, size_t room = 4096) {
        std::vector<uint8_t> bytes(room, 0xEE);
        const Result<size_t> len = FwCfg(FakeHostPorts{&host_}).read_file(name, bytes);
        if (!len) {
            EXPECT_EQ(std::count(bytes.begin(), bytes.end(), 0xEE), static_cast<long>(room));
            return len.error();
        }
        return std::string(bytes.begin(), bytes.begin() + static_cast<long>(*len));
    }
    FakeHost host_;
};

TEST_F(FwCfgTest, ReadsAFileByName) {
    host_.add("bootorder", "/pci");
    host_.add("opt/bareflow/options", "jit=off port=81");
    host_.add("opt/bareflow/optionsx", "no");
    EXPECT_EQ(*read(fw_cfg::kOptionsFile), "jit=off port=81");
    EXPECT_EQ(*read("bootorder"), "/pci");
}

TEST_F(FwCfgTest, EmptyFilesAndFullBuffers) {
    host_.add("opt/empty", "");
    host_.add("opt/full", "1234");
    EXPECT_EQ(*read("opt/empty", 0), "");
    EXPECT_EQ(*read("opt/full", 4), "1234");
    EXPECT_EQ(read("opt/full", 3).error().code, ErrorCode::kTooLarge);
}

TEST_F(FwCfgTest, NotThere) {
    host_.rebuild(0);
    EXPECT_EQ(read("x").error().code, ErrorCode::kNotFound);
    host_.add("opt/bareflow/optionsx", "no");
    host_.add("opt/bareflow/option", "no");
    EXPECT_EQ(read(fw_cfg::kOptionsFile).error().code, ErrorCode::kNotFound);
    host_.present = false;
    EXPECT_EQ(read("x").error().code, ErrorCode::kNotFound);
}

TEST_F(FwCfgTest, SignatureMustBeWhole) {
    host_.items[fw_cfg::kSignature] = "QEMV";
    EXPECT_FALSE(FwCfg(FakeHostPorts{&host_}).present());
    host_.items[fw_cfg::kSignature] = "XEMU";
    EXPECT_FALSE(FwCfg(FakeHostPorts{&host_}).present());
}

TEST_F(FwCfgTest, DirectoriesThatCannotBe) {
    host_.add("opt/a", "1");
    host_.rebuild(fw_cfg::kMaxFiles + 1);
    EXPECT_EQ(read("opt/b").error().code, ErrorCode::kDevice);
    host_.rebuild(0xFFFFFFFF);
    EXPECT_EQ(read("opt/b").error().code, ErrorCode::kDevice);
    host_.rebuild(fw_cfg::kMaxFiles);  // most of it is not there: zeros
    host_.reads = 0;
    EXPECT_EQ(read("opt/b").error().code, ErrorCode::kNotFound);
    EXPECT_LE(host_.reads, 4 + 4 + 64u * fw_cfg::kMaxFiles);
}

TEST_F(FwCfgTest, NamesWithoutAnEnd) {
    const std::string longest(fw_cfg::kNameBytes, 'n');
    host_.add(longest, "1");
    host_.add(longest.substr(1), "2");
    EXPECT_EQ(read(longest).error().code, ErrorCode::kNotFound);
    EXPECT_EQ(*read(longest.substr(1)), "2");
}

}  // namespace
}  // namespace bareflow
