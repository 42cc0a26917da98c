// Decides when to save, and says in the log what was remembered and saved. What must hold: a save
// is never waited for, and a store that fails costs nothing but the kept choices.
#include "appliance/kept_profile/profile_keeper.h"

#include <algorithm>

#include "kernel_lib/base/text_writer.h"
#include "kernel_lib/io/log.h"

namespace bareflow {

void ProfileKeeper::start(ProfileStore *store, const ProfileIdentity &identity,
                          Optimizer &optimizer, bool continual) {
    store_ = store;
    optimizer_ = &optimizer;
    continual_ = continual;
    revision_ = optimizer.revision();
    unsaved_ = false;
    deadline_ = ~uint64_t{0};
    failures_ = 0;
    if (store == nullptr) {
        return;
    }
    const auto record = store->load();
    Status status = record.status();
    if (record) {
        status = decode_profile(*record, profile_);
    }
    if (!status) {
        profile_.count = 0;
        if (status.code() == ErrorCode::kNotFound) {
            log_line("profile: nothing is remembered on ", store->place(), " yet");
        } else {
            log_line("profile: what ", store->place(), " remembers is ignored: ", status.message());
        }
        if (status.code() == ErrorCode::kDevice || status.code() == ErrorCode::kTimeout) {
            failures_ = kMaxFailures;
        }
    } else if (const std::string_view why = identity_mismatch(identity, profile_.identity);
               !why.empty()) {
        profile_.count = 0;
        log_line("profile: what ", store->place(), " remembers is ignored: it is of ", why);
    } else {
        log_line("profile: ", profile_.count, " choices are remembered on ", store->place(), ", ",
                 Fixed{profile_.milli_tokens_per_second / 1e3, 1}, " tokens/s then");
        for (const TunedChoice &choice : profile_.all()) {
            optimizer.recall(choice);
        }
    }
    profile_.identity = identity;
}

// Whether the optimiser's choices differ from those in profile_.
bool ProfileKeeper::changed() {
    const size_t count = optimizer_->choices(choices_);
    return count != profile_.count ||
           !std::equal(choices_.begin(), choices_.begin() + static_cast<ptrdiff_t>(count),
                       profile_.choices.begin(),
                       [](const TunedChoice &a, const TunedChoice &b) { return a.same_choice(b); });
}

void ProfileKeeper::tend(const Now &now) {
    if (!keeps()) {
        return;
    }
    if (saving_) {
        poll_save(now);
        return;
    }
    if (continual_) {
        begin_save(now);
        return;
    }
    if (optimizer_->revision() != revision_) {
        revision_ = optimizer_->revision();
        last_change_ticks_ = now.ticks;
        first_change_ticks_ = unsaved_ ? first_change_ticks_ : now.ticks;
        unsaved_ = true;
    }
    deadline_ = ~uint64_t{0};
    if (!unsaved_) {
        return;
    }
    const uint64_t debounce_ms = now.idle ? kIdleDebounceMs : kBusyDebounceMs;
    uint64_t due = now.settled ? last_change_ticks_ + debounce_ms * now.ticks_per_ms
                               : first_change_ticks_ + kMostUnsavedMs * now.ticks_per_ms;
    if (saves_ != 0) {
        due = std::max(due, last_save_ticks_ + kMinIntervalMs * now.ticks_per_ms);
    }
    if (now.ticks < due) {
        deadline_ = due;
        return;
    }
    unsaved_ = false;
    // Equal choices are in the store already: nothing to write.
    if (changed()) {
        begin_save(now);
    }
}

void ProfileKeeper::begin_save(const Now &now) {
    profile_.count = optimizer_->choices(profile_.choices);
    profile_.milli_tokens_per_second =
        static_cast<uint32_t>(std::clamp(now.tokens_per_second, 0.0, 4e6) * 1000);
    last_save_ticks_ = now.ticks;
    const size_t len = encode_profile(profile_, record_);
    if (const Status status = store_->begin_save(std::span(record_).first(len)); !status) {
        failed(now, status.message());
        return;
    }
    saving_ = true;
    deadline_ = now.ticks;
}

void ProfileKeeper::poll_save(const Now &now) {
    const Result<bool> over = store_->poll_save();
    if (over && !*over) {
        deadline_ = now.ticks + kPollMs * now.ticks_per_ms;
        return;
    }
    saving_ = false;
    deadline_ = now.ticks;
    if (!over) {
        failed(now, over.error().message);
        return;
    }
    failures_ = 0;
    if (++saves_ == 1 || !continual_) {
        const uint64_t took = (now.ticks - last_save_ticks_) * 10 / now.ticks_per_ms;
        log_line("profile: ", profile_.count, " choices saved on ", store_->place(), " in ",
                 took / 10, ".", took % 10, " ms");
    }
}

void ProfileKeeper::failed(const Now &now, std::string_view why) {
    profile_.count = 0;  // what the store holds now is not known
    unsaved_ = true;
    first_change_ticks_ = last_change_ticks_ = now.ticks;
    ++failures_;
    deadline_ = ~uint64_t{0};
    log_line("profile: ", optimizer_->choices(choices_), " choices not saved on ", store_->place(),
             ": ", why, failures_ == kMaxFailures ? "; given up" : "");
}

}  // namespace bareflow
