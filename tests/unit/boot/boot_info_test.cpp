// boot/boot_info.inc, which the assembler uses, against the C++ constants.
#include "boot/boot_info.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "boot/image_layout.h"
#include "kernel_lib/cpu/exit_codes.h"

namespace bareflow {
namespace {

// The constants of the file: `NAME equ VALUE ; comment`. Tests run from the project's root, or
// from anywhere when the source's own path is known.
std::map<std::string, uint64_t> read_constants() {
    std::ifstream file("boot/boot_info.inc");
    if (!file) {
        const std::string here = __FILE__;
        file.open(here.substr(0, here.find("tests/unit")) + "boot/boot_info.inc");
    }
    std::map<std::string, uint64_t> constants;
    std::string line;
    while (std::getline(file, line)) {
        std::istringstream words(line.substr(0, line.find(';')));
        std::string name;
        std::string equ;
        std::string value;
        if (words >> name >> equ >> value && equ == "equ") {
            constants[name] = std::stoull(value, nullptr, 0);
        }
    }
    return constants;
}

TEST(BootInfoInc, EveryConstantIsWhatTheHeaderSays) {
    const auto exit_code = [](ExitCode code) { return static_cast<uint64_t>(code); };
    const std::map<std::string, uint64_t> expected = {
        {"BOOT_INFO_MAGIC", kBootInfoMagic},
        {"BOOT_SOURCE_BIOS_DISK", static_cast<uint64_t>(BootSource::kBiosDisk)},
        {"BOOT_SOURCE_PVH", static_cast<uint64_t>(BootSource::kPvh)},
        {"BOOT_INFO_MAX_RANGES", kMaxMemoryRanges},
        {"BI_MAGIC", offsetof(BootInfo, magic)},
        {"BI_SOURCE", offsetof(BootInfo, source)},
        {"BI_TSC_AT_ENTRY", offsetof(BootInfo, tsc_at_entry)},
        {"BI_TSC_AT_KERNEL", offsetof(BootInfo, tsc_at_kernel)},
        {"BI_COMMAND_LINE", offsetof(BootInfo, command_line)},
        {"BI_INITRD", offsetof(BootInfo, initrd)},
        {"BI_INITRD_LEN", offsetof(BootInfo, initrd_len_bytes)},
        {"BI_ACPI_RSDP", offsetof(BootInfo, acpi_rsdp)},
        {"BI_BIOS_DRIVE", offsetof(BootInfo, bios_drive)},
        {"BI_RANGE_COUNT", offsetof(BootInfo, memory_range_count)},
        {"BI_RANGES", offsetof(BootInfo, memory_ranges)},
        {"BI_RANGE_BYTES", sizeof(MemoryRange)},
        {"BI_RANGE_BASE", offsetof(MemoryRange, base)},
        {"BI_RANGE_LEN", offsetof(MemoryRange, len_bytes)},
        {"BI_RANGE_TYPE", offsetof(MemoryRange, type)},
        {"BI_RANGE_RESERVED", offsetof(MemoryRange, reserved)},
        {"BOOT_INFO_BYTES", sizeof(BootInfo)},
        {"DEBUG_EXIT_PORT", kDebugExitPort},
        {"EXIT_DISK_READ", exit_code(ExitCode::kDiskRead)},
        {"EXIT_DISK_TOO_SHORT", exit_code(ExitCode::kDiskTooShort)},
        {"EXIT_NO_LONG_MODE", exit_code(ExitCode::kNoLongMode)},
        {"EXIT_TOO_LITTLE_MEMORY", exit_code(ExitCode::kTooLittleMemory)},
        {"EXIT_NO_EDD", exit_code(ExitCode::kNoEdd)},
        {"EXIT_NO_A20", exit_code(ExitCode::kNoA20)},
        {"EXIT_BAD_IMAGE", exit_code(ExitCode::kBadImage)},
        {"EXIT_NO_MEMORY_MAP", exit_code(ExitCode::kNoMemoryMap)},
        {"IMAGE_HEADER_LBA", image_format::kHeaderSector},
        {"IMAGE_OPTIONS_LBA", image_format::kOptionsSector},
        {"IMAGE_STAGE2_LBA", image_format::kStage2Sector},
        {"IMAGE_STAGE2_SECTORS", image_format::kStage2Sectors},
        {"IH_MAGIC", offsetof(image_format::Header, magic)},
        {"IH_KERNEL_LBA", offsetof(image_format::Header, kernel_sector)},
        {"IH_KERNEL_SECTORS", offsetof(image_format::Header, kernel_sectors)},
        {"IH_KERNEL_ADDRESS", offsetof(image_format::Header, kernel_address)},
        {"IH_KERNEL_FILE_BYTES", offsetof(image_format::Header, kernel_file_bytes)},
        {"IH_KERNEL_END", offsetof(image_format::Header, kernel_end)},
        {"IH_KERNEL_ENTRY", offsetof(image_format::Header, kernel_entry)},
        {"IH_KERNEL_SUM", offsetof(image_format::Header, kernel_sum)},
        {"IH_OPTIONS_LEN", offsetof(image_format::Header, options_len_bytes)},
        {"IH_MODEL_LBA", offsetof(image_format::Header, model_sector)},
        {"IH_MODEL_BYTES", offsetof(image_format::Header, model_len_bytes)},
        {"IH_PACKED_ADDRESS", offsetof(image_format::Header, packed_address)},
        {"IH_PACKED_BYTES", offsetof(image_format::Header, packed_len_bytes)},
        {"IH_MEMORY_END", offsetof(image_format::Header, memory_end)},
    };
    auto constants = read_constants();
    ASSERT_FALSE(constants.empty()) << "boot/boot_info.inc was not found";
    for (const auto &[name, value] : expected) {
        ASSERT_TRUE(constants.contains(name)) << name;
        EXPECT_EQ(constants[name], value) << name;
        constants.erase(name);
    }
    // C++ has no constants for the map of low memory.
    for (const auto &[name, value] : constants) {
        EXPECT_TRUE(name.starts_with("LOW_")) << name << " is compared with nothing";
    }
}

TEST(BootInfoInc, LowMemoryPiecesDoNotOverlap) {
    auto constants = read_constants();
    const auto stage2_end = constants["LOW_STAGE2"] + constants["IMAGE_STAGE2_SECTORS"] * 512;
    EXPECT_LE(constants["LOW_STAGE1"] + 512, constants["LOW_STAGE2"]);
    EXPECT_LE(stage2_end, constants["LOW_BOOT_INFO"]);
    EXPECT_LE(constants["LOW_BOOT_INFO"] + sizeof(BootInfo), constants["LOW_IMAGE_HEADER"]);
    // Header and options are read together; a NUL follows the longest options.
    EXPECT_EQ(constants["LOW_IMAGE_HEADER"] + 512, constants["LOW_OPTIONS"]);
    EXPECT_LE(constants["LOW_OPTIONS"] + 512, constants["LOW_SCRATCH"]);
    EXPECT_LE(constants["LOW_SCRATCH"] + 512, constants["LOW_BOUNCE"]);
    EXPECT_LE(constants["LOW_BOUNCE"] + 127 * 512, constants["LOW_PAGE_TABLES"]);
    EXPECT_EQ(constants["LOW_BOUNCE"] % 0x10000, 0U) << "a read must stay in one segment";
    EXPECT_EQ(constants["LOW_PAGE_TABLES"] % 4096, 0U);
    EXPECT_LE(constants["LOW_PAGE_TABLES"] + 6 * 4096, 0x80000U) << "the EBDA may begin here";
}

TEST(ExitCodes, NoStatusIsOneOfQemusOwn) {
    for (const ExitCode code : {ExitCode::kSuccess, ExitCode::kFailure, ExitCode::kPanic,
                                ExitCode::kDiskRead, ExitCode::kNoMemoryMap}) {
        EXPECT_GT(static_cast<unsigned>(code) * 2 + 1, 1U);
        EXPECT_LT(static_cast<unsigned>(code) * 2 + 1, 256U);
    }
    EXPECT_EQ(exit_code_of_exception(14), 0x4E);
    EXPECT_EQ(exit_code_of_exception(31), 0x5F);
    EXPECT_LT(exit_code_of_exception(31), static_cast<uint8_t>(ExitCode::kDiskRead));
}

}  // namespace
}  // namespace bareflow
