// A profile store on a state disk.
#pragma once

#include "appliance/kept_profile/profile_store.h"
#include "drivers/block/state_disk.h"

namespace bareflow {

class DiskProfileStore final : public ProfileStore {
  public:
    explicit DiskProfileStore(StateDisk disk) : disk_(disk) {}
    [[nodiscard]] std::string_view place() const override { return disk_.name(); }
    [[nodiscard]] Result<std::span<const uint8_t>> load() override { return disk_.load(); }
    [[nodiscard]] Status begin_save(std::span<const uint8_t> record) override {
        return disk_.begin_save(record);
    }
    [[nodiscard]] Result<bool> poll_save() override { return disk_.poll_save(); }

  private:
    StateDisk disk_;
};

}  // namespace bareflow
