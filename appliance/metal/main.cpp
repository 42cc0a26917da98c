// The appliance on bare metal: finds the devices, gives them to the appliance and runs its loop.
// What must hold: a device that is missing or fails becomes one sentence in the log, and everything
// else goes on. The order of the steps is docs/ARCHITECTURE.md's "From power-on to the first
// answer".
#include <algorithm>
#include <array>

#include "appliance/appliance.h"
#include "appliance/kept_profile/disk_profile_store.h"
#include "appliance/metal/self_test.h"
#include "appliance/settings.h"
#include "drivers/block/probe_metal.h"
#include "drivers/fw_cfg/fw_cfg_metal.h"
#include "drivers/net/probe_metal.h"
#include "drivers/virtio/probe_metal.h"
#include "kernel_lib/base/permanent.h"
#include "kernel_lib/cpu/features.h"
#include "kernel_lib/cpu/interrupts.h"
#include "kernel_lib/cpu/timer.h"
#include "kernel_lib/cpu/worker_pool.h"
#include "kernel_lib/io/log.h"
#include "kernel_lib/jit_runtime.h"
#include "kernel_lib/platform/metal/start.h"
#include "kernel_lib/platform/platform.h"
#include "kernel_lib/platform/ticks.h"
#include "net/network.h"

extern "C" {
// boot/link.ld
extern const uint8_t kernel_begin[];
extern const uint8_t kernel_file_end[];
}

using namespace bareflow;

namespace {

class Complaints final : public SettingsListener {
  public:
    void on_bad_setting(std::string_view sentence) override { log_text(sentence); }
};

class Machine final : public Surroundings {
  public:
    // Without a card the log says so, and the console still works.
    void start_network(const Settings &settings);
    [[nodiscard]] Network *network() const { return network_; }

    bool poll_network() override { return network_ != nullptr && network_->poll(); }
    void announce_network() override;
    [[nodiscard]] uint64_t network_deadline() override;
    [[nodiscard]] bool network_settled() override;
    [[nodiscard]] status::NetworkInfo network_info() override;
    [[nodiscard]] std::string_view platform_name() const override { return "metal"; }
    [[nodiscard]] uint64_t image_bytes() const override {
        return static_cast<uint64_t>(kernel_file_end - kernel_begin);
    }

  private:
    NetDevice *card_ = nullptr;
    bool polled_ = true;
    Network *network_ = nullptr;
    AddressSource shown_source_ = AddressSource::kNone;
    std::array<char, 16> address_{};
    size_t address_len_ = 0;
    std::array<char, 18> mac_{};
    size_t mac_len_ = 0;
};

void Machine::start_network(const Settings &settings) {
    auto card = probe_network();
    if (!card) {
        log_stage("network", "none (", card.error().message, ")");
        return;
    }
    card_ = *card;
    TextWriter mac(mac_);
    for (const uint8_t byte : card_->mac().bytes) {
        mac.put(mac.size() > 0 ? ":" : "", Hex{byte, 2});
    }
    mac_len_ = mac.size();
    const auto on_interrupt = [](void *card) {
        return static_cast<NetDevice *>(card)->on_interrupt();
    };
    polled_ = card_->irq() < 0 || !register_irq(card_->irq(), on_interrupt, card_);
    NetworkConfig config;
    std::copy_n(settings.address.octets, 4, config.address.octets);
    std::copy_n(settings.gateway.octets, 4, config.gateway.octets);
    config.prefix_len = settings.prefix_len;
    auto network = Network::create(*card_, config);
    if (!network) {
        log_stage("network", network.error().message);
        return;
    }
    network_ = *network;
    log_stage("network", card_->name(), ", ", std::string_view(mac.view()),
              polled_ ? ", polled" : ", interrupts");
}

void Machine::announce_network() {
    if (network_ == nullptr || network_->address_source() == shown_source_) {
        return;
    }
    shown_source_ = network_->address_source();
    const Ipv4 address = network_->address();
    TextWriter out(address_);
    for (const uint8_t octet : address.octets) {
        out.put(out.size() > 0 ? "." : "", octet);
    }
    address_len_ = out.size();
    std::string_view how = "static";
    if (shown_source_ == AddressSource::kDhcp) {
        how = "by DHCP";
    } else if (shown_source_ == AddressSource::kFallback) {
        how = "static, because no DHCP server answered";
    }
    log_stage("address", out.view(), ", ", how);
}

uint64_t Machine::network_deadline() {
    // A card without interrupts is polled often. All of QEMU's cards have interrupts.
    constexpr uint32_t kPolledMs = 1;
    constexpr uint32_t kNoNetworkMs = 1000;
    uint32_t ms = kNoNetworkMs;
    if (network_ != nullptr) {
        ms = polled_ ? kPolledMs : network_->ms_until_timer();
    }
    return platform::ticks() + ms_to_ticks(ms);
}

bool Machine::network_settled() {
    return network_ == nullptr || network_->address_source() != AddressSource::kNone;
}

status::NetworkInfo Machine::network_info() {
    if (network_ == nullptr) {
        return {};
    }
    const NetCounters counters = card_->counters();
    return {.device = card_->name(),
            .mac = {mac_.data(), mac_len_},
            .address = {address_.data(), address_len_},
            .link_up = network_->link_up(),
            .received_frames = counters.rx_frames,
            .sent_frames = counters.tx_frames,
            .received_bytes = counters.rx_bytes,
            .sent_bytes = counters.tx_bytes,
            .dropped_frames = counters.rx_dropped + counters.tx_dropped +
                              network_->stream_counters().frames_lost};
}

// The hypervisor's name for a signature of CPUID; unknown signatures stay as they are.
std::string_view hypervisor_name(std::string_view signature) {
    return signature == "TCGTCGTCGTCG" ? "QEMU's emulation (TCG)"
           : signature == "KVMKVMKVM"  ? "KVM"
                                       : signature;
}

void log_processor() {
    const CpuFeatures &cpu = cpu_features();
    log_line("processor: ", cpu.brand().empty() ? cpu.vendor() : cpu.brand(), ", ",
             platform::ticks_per_second() / 1'000'000, " MHz (", timer_source(), ")");
    if (!cpu.hypervisor().empty()) {
        log_line("processor: under ", hypervisor_name(cpu.hypervisor()));
    }
    char text[400];
    TextWriter out(text);
    format_features(out, cpu);
    // The screen has 80 columns; time and prefix take the others.
    constexpr size_t kColumns = 58;
    for (std::string_view rest = out.view(); !rest.empty();) {
        size_t len = rest.size();
        if (len > kColumns) {
            len = rest.rfind(' ', kColumns);
            len = len == std::string_view::npos ? rest.size() : len;
        }
        log_line("processor: ", rest.substr(0, len));
        rest.remove_prefix(len < rest.size() ? len + 1 : len);
    }
}

Settings read_settings() {
    Settings settings;
    Complaints complaints;
    apply_settings(boot_command_line(),
                   boot_info().source == BootSource::kPvh ? "the kernel line" : "the image",
                   settings, complaints);
    static constinit std::array<char, 4096> text{};
    if (const auto options = read_host_options(text)) {
        apply_settings(*options, "fw_cfg", settings, complaints);
    } else if (options.error().code != ErrorCode::kNotFound) {
        log_line("settings: fw_cfg: ", options.error().message);
    }
    return settings;
}

// The first disk that bears the state disk's magic keeps the tuned profile.
void find_state(std::span<BlockDevice *const> disks, Appliance &appliance) {
    alignas(platform::kPageBytes) static constinit StateDisk::Buffer buffer{};
    static constinit Permanent<DiskProfileStore> store;
    for (BlockDevice *const disk : disks) {
        if (auto state = StateDisk::open(*disk, buffer)) {
            log_line("disk: ", disk->name(), " keeps the profile");
            appliance.use_profile_store(store.emplace(*state));
            return;
        }
    }
}

void find_model(const Settings &settings, Appliance &appliance) {
    static constinit std::array<BlockDevice *, kMaxDisks> disks{};
    const size_t count = probe_disks(disks);
    for (size_t i = 0; i < count; i++) {
        log_line("disk: ", disks[i]->name(), ", ", Bytes{disks[i]->sector_count() * kSectorBytes});
    }
    if (settings.state != StateMode::kOff) {
        find_state(std::span(disks).first(count), appliance);
    }
    const BootInfo &info = boot_info();
    const ModelPlaces places{std::span(disks).first(count),
                             {reinterpret_cast<const uint8_t *>(info.initrd),
                              static_cast<size_t>(info.initrd_len_bytes)}};
    std::array<char, 240> text{};
    TextWriter detail(text);
    auto file = load_model(places, settings.model, appliance.loader(), detail);
    if (file) {
        appliance.loader().take_model(*file);
    } else {
        appliance.loader().refuse_model(detail.size() > 0 ? detail.view() : file.error().message);
    }
}

}  // namespace

int appliance_main(const BootInfo &info) {
    log_stage("boot", "BareFlow ", kVersion, ": booted by ",
              info.source == BootSource::kPvh ? "PVH" : "BIOS", " in ",
              ticks_to_us(info.tsc_at_kernel - info.tsc_at_entry) / 1000, " ms");
    log_processor();
    (void)probe_entropy();
    log_stage("memory", Bytes{platform::total_memory_bytes()}, ", ",
              Bytes{platform::free_memory_bytes()}, " free; entropy from ",
              platform::entropy_source());
    const Settings settings = read_settings();
    if (jit_set_threshold(settings.jit_warm, settings.jit_hot, settings.jit_very_hot) != 0) {
        log_line("jit: the thresholds were not taken");
    }
    if (settings.threads != 1) {
        const uint32_t processors = start_workers(settings.threads);
        log_stage("processors", processors, processors == 1 ? " computes" : " compute");
    }
    run_self_test(settings.selftest);

    static constinit Permanent<Machine> machine_storage;
    static constinit Permanent<Appliance> appliance_storage;
    Machine &machine = machine_storage.emplace();
    Appliance &appliance = appliance_storage.emplace(settings, machine);

    machine.start_network(settings);
    Status serving;
    if (machine.network() != nullptr) {
        auto streams = machine.network()->listen(settings.port);
        serving = streams ? appliance.start_http(**streams) : streams.status();
    } else {
        serving = appliance.start_without_network();
    }
    if (!serving) {
        log_line("http: ", serving.message());
    }
    find_model(settings, appliance);

    while (true) {
        if (!appliance.turn()) {
            platform::idle(appliance.idle_deadline());
        }
    }
}
