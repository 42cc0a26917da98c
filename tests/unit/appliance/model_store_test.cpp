// Where a model is looked for, in which order, and what is said when there is none.
#include "appliance/model_store.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "boot/image_layout.h"
#include "kernel_lib/platform/platform.h"
#include "tests/fakes/fake_disk.h"

namespace bareflow {
namespace {

using fakes::FakeDisk;

constexpr uint64_t kModelSector = 128;
constexpr std::string_view kInImage = "GGUF of the image";
constexpr std::string_view kOnDisk = "GGUF of the disk";
constexpr std::string_view kInInitrd = "GGUF of the initrd";

class Listener final : public LoadListener {
  public:
    std::string place;
    uint64_t total = 0;
    uint64_t done = 0;
    uint32_t updates = 0;
    std::vector<bool> ends;

    void on_load_begin(std::string_view where, uint64_t total_bytes) override {
        place = where;
        total = total_bytes;
    }
    void on_load_progress(uint64_t done_bytes) override {
        EXPECT_GT(done_bytes, done);
        done = done_bytes;
        ++updates;
    }
    void on_load_end(bool ok) override { ends.push_back(ok); }
};

void put(FakeDisk &disk, uint64_t sector, std::string_view text) {
    std::copy(text.begin(), text.end(),
              disk.bytes.begin() + static_cast<ptrdiff_t>(sector * kSectorBytes));
}

// A boot image with `model_bytes` of a model from kModelSector on.
void make_image(FakeDisk &disk, uint64_t model_bytes) {
    image_format::Header header{};
    std::memcpy(header.magic, image_format::kMagic.data(), sizeof header.magic);
    header.version = image_format::kVersion;
    header.kernel_sector = image_format::kKernelSector;
    header.kernel_sectors = 10;
    header.kernel_address = 0x100000;
    header.kernel_file_bytes = 5000;
    header.kernel_end = 0x180000;
    header.kernel_entry = 0x100000;
    header.model_sector = kModelSector;
    header.model_len_bytes = model_bytes;
    header.packed_address = 0x170000;
    header.packed_len_bytes = 5100;
    header.memory_end = 0x180000;
    std::vector<uint32_t> words(sizeof header / 4);
    std::memcpy(words.data(), &header, sizeof header);
    for (const uint32_t word : words) {
        header.balance -= word;
    }
    put(disk, image_format::kHeaderSector,
        {reinterpret_cast<const char *>(&header), sizeof header});
}

std::span<const uint8_t> bytes_of(std::string_view text) {
    return {reinterpret_cast<const uint8_t *>(text.data()), text.size()};
}

class ModelStoreTest : public ::testing::Test {
  protected:
    ModelStoreTest() {
        make_image(image_, kInImage.size());
        put(image_, kModelSector, kInImage);
        put(disk_, 0, kOnDisk);
    }
    Result<ModelFile> load(std::vector<BlockDevice *> disks, std::string_view initrd = {},
                           ModelSource wanted = ModelSource::kAuto) {
        detail_.clear();
        disks_ = std::move(disks);
        return load_model({disks_, bytes_of(initrd)}, wanted, listener_, detail_);
    }
    static std::string text(const Result<ModelFile> &file, size_t len) {
        return file ? std::string(reinterpret_cast<const char *>(file->bytes.data()),
                                  std::min(len, file->bytes.size()))
                    : std::string(file.error().message);
    }

    FakeDisk empty_{64};
    FakeDisk image_{200};
    FakeDisk disk_{100};
    Listener listener_;
    std::vector<BlockDevice *> disks_;
    char buffer_[240];
    TextWriter detail_{buffer_};
};

TEST_F(ModelStoreTest, TheImageComesFirst) {
    const auto file = load({&empty_, &disk_, &image_}, kInInitrd);
    EXPECT_EQ(text(file, 100), kInImage);
    EXPECT_EQ(file->bytes.size(), kInImage.size());
    EXPECT_EQ(file->place, "image on fake0");
    EXPECT_TRUE(file->writable);
    EXPECT_EQ(listener_.place, "image on fake0");
    EXPECT_EQ(listener_.total, kInImage.size());
    EXPECT_EQ(listener_.done, kInImage.size());
    EXPECT_EQ(listener_.ends, std::vector<bool>{true});
}

TEST_F(ModelStoreTest, ThenAWholeDisk) {
    make_image(image_, 0);
    disk_.most_sectors = 32;
    const auto file = load({&image_, &empty_, &disk_}, kInInitrd);
    EXPECT_EQ(text(file, kOnDisk.size()), kOnDisk);
    EXPECT_EQ(file->bytes.size(), 100 * kSectorBytes);
    EXPECT_EQ(file->place, "disk fake0");
    EXPECT_EQ(listener_.updates, 4u) << "100 sectors, 32 at a time";
}

TEST_F(ModelStoreTest, ThenTheInitrd) {
    const auto file = load({&empty_}, kInInitrd);
    EXPECT_EQ(text(file, 100), kInInitrd);
    EXPECT_EQ(file->place, "initrd");
    EXPECT_TRUE(listener_.ends.empty()) << "it is in memory already";
}

TEST_F(ModelStoreTest, ASettingNamesThePlace) {
    EXPECT_EQ(load({&image_, &disk_}, kInInitrd, ModelSource::kDisk)->place, "disk fake0");
    listener_ = {};
    EXPECT_EQ(load({&image_, &disk_}, kInInitrd, ModelSource::kImage)->place, "image on fake0");
    EXPECT_EQ(load({&image_, &disk_}, kInInitrd, ModelSource::kInitrd)->place, "initrd");
}

TEST_F(ModelStoreTest, NoModelAtAll) {
    const auto file = load({&empty_});
    EXPECT_EQ(file.error().code, ErrorCode::kNotFound);
    EXPECT_EQ(detail_.view(), "no model: none in the image, none on another disk, no initrd");
}

TEST_F(ModelStoreTest, AnInitrdOfSomethingElse) {
    const auto file = load({&empty_}, "a kernel's modules");
    EXPECT_EQ(file.error().code, ErrorCode::kInvalid);
    EXPECT_EQ(detail_.view(), "the initrd is no GGUF file");
}

TEST_F(ModelStoreTest, APartitionBeyondTheDisk) {
    make_image(image_, 200 * kSectorBytes);
    const auto file = load({&image_});
    EXPECT_EQ(file.error().code, ErrorCode::kInvalid);
    EXPECT_EQ(detail_.view(), "fake0: the image's model partition ends beyond its disk");
    // Another place serves as well.
    EXPECT_EQ(load({&image_}, kInInitrd)->place, "initrd");
}

// The head is read, then the disk fails.
class DyingDisk final : public BlockDevice {
  public:
    uint64_t sectors = 100;
    uint32_t good_reads = 2;  // the head, as an image and as a disk

    [[nodiscard]] std::string_view name() const override { return "dying0"; }
    [[nodiscard]] uint64_t sector_count() const override { return sectors; }
    [[nodiscard]] uint32_t max_sectors() const override { return 32; }
    [[nodiscard]] Status read(uint64_t first_sector, std::span<uint8_t> to) override {
        if (good_reads == 0) {
            return {ErrorCode::kDevice, "the disk reports an error"};
        }
        --good_reads;
        std::fill(to.begin(), to.end(), uint8_t{0});
        if (first_sector == 0) {
            std::copy_n("GGUF", 4, to.begin());
        }
        return {};
    }

  private:
    [[nodiscard]] Status write(uint64_t, std::span<const uint8_t>) override {
        return {ErrorCode::kDevice, "never"};
    }
};

TEST_F(ModelStoreTest, ADiskThatFailsWhileItIsReadIsSaid) {
    DyingDisk dying;
    dying.good_reads = 3;
    const auto file = load({&dying}, kInInitrd);
    EXPECT_EQ(file.error().code, ErrorCode::kDevice);
    EXPECT_EQ(detail_.view(),
              "reading the model failed at 16.0 KiB (dying0): the disk reports an error");
    EXPECT_EQ(listener_.ends, std::vector<bool>{false});
}

TEST_F(ModelStoreTest, ADiskThatFailsAtOnceIsSaid) {
    DyingDisk dying;
    dying.good_reads = 0;
    const auto file = load({&dying}, kInInitrd);
    EXPECT_EQ(file.error().code, ErrorCode::kDevice);
    EXPECT_EQ(detail_.view(), "dying0: the disk reports an error");
    EXPECT_TRUE(listener_.ends.empty());
}

TEST_F(ModelStoreTest, AModelLargerThanTheMemory) {
    DyingDisk large;
    large.sectors = uint64_t{1} << 40;
    const auto file = load({&large});
    EXPECT_EQ(file.error().code, ErrorCode::kTooLarge);
    EXPECT_TRUE(detail_.view().starts_with("this model needs 536870920 MiB at least: model "))
        << detail_.view();
    EXPECT_EQ(listener_.ends, std::vector<bool>{false});
}

}  // namespace
}  // namespace bareflow
