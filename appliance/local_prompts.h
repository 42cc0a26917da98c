// The console joined to the completion API. What is typed becomes a request, and its text is shown
// as it comes. Requests of other clients are logged without disturbing the line being typed.
#pragma once

#include <cstdint>
#include <string_view>

#include "api/completion_api.h"
#include "appliance/console/console.h"
#include "appliance/parts.h"
#include "appliance/service.h"
#include "appliance/status_report.h"
#include "kernel_lib/base/result.h"
#include "kernel_lib/base/text_writer.h"

namespace bareflow {

class LocalPrompts final : public api::CompletionObserver,
                           private api::LocalClient,
                           private ConsoleHost {
  public:
    // All must outlive this object.
    LocalPrompts(const Parts &parts, Service &service, const StatusReport &report)
        : parts_(parts),
          service_(service),
          report_(report),
          console_(static_cast<ConsoleHost &>(*this)) {}

    // The ready line was shown: from now on keys are taken.
    void start() { console_.start(); }
    // Takes at most kMaxKeys keys. True: there may be more to read.
    bool read_keys();
    // Requests that are over, of all clients.
    [[nodiscard]] uint64_t requests() const { return requests_; }

    // api::CompletionObserver
    void on_completion(const api::CompletionSummary &summary) override;

  private:
    // api::LocalClient
    void on_text(std::string_view text) override;
    void on_done(const api::CompletionSummary &summary, std::string_view error) override;
    // ConsoleHost
    void write(std::string_view text) override;
    Status begin_prompt(std::string_view text) override;
    void cancel_prompt() override;
    void write_stats(TextWriter &out) override { report_.write_stats(out); }
    void reboot() override;

    static constexpr int kMaxKeys = 64;
    static constexpr uint32_t kMaxTokens = 256;  // of one prompt's text

    const Parts &parts_;
    Service &service_;
    const StatusReport &report_;
    Console console_;
    uint64_t requests_ = 0;
};

}  // namespace bareflow
