// The numbers and texts of SystemSnapshot that /profile shows. One row has a value's place in the
// snapshot, its names and what it counts. The three layouts of the page are loops over this table.
//
// A key is the name in JSON. The name for Prometheus is the section's prefix and the key; a counter
// ends in "_total", and "_s" and "_ms" become seconds. The name in HTML is `label`, or the key with
// blanks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "status/system_snapshot.h"

namespace bareflow::status {

enum class ProfileSection : uint8_t {
    kOverview,
    kCpu,
    kMemory,
    kModel,
    kNetwork,
    kHttp,
    kRequests,
    kTokens,
    kJit,
    kThresholds,  // inside kJit
};
inline constexpr uint32_t kProfileSections = 10;

enum class ProfileKind : uint8_t {
    kText,  // std::string_view; not in Prometheus
    kU64,
    kU32,
    kBytes,  // uint64_t
    kBool,
    kReal,    // double
    kMicros,  // uint64_t microseconds, shown in milliseconds
};

struct ProfileRow {
    const char *key;
    const char *help;   // nullptr: not in Prometheus
    const char *label;  // nullptr: made from the key
    uint16_t offset;    // in SystemSnapshot
    ProfileKind kind;
    ProfileSection section;
    bool counter;  // only grows
};

struct ProfileSectionName {
    const char *json;        // nullptr: at the top
    const char *title;       // HTML
    const char *prometheus;  // prefix
};

// Texts are cut to this, so that a section of HTML fits into one piece with every byte escaped.
inline constexpr size_t kMaxProfileText = 96;
inline constexpr size_t kMaxProfileList = 400;  // the processor's features: cut between words

std::span<const ProfileRow> profile_rows();
const ProfileSectionName &profile_section(ProfileSection section);

// A row's value in a snapshot: profile_text() of kText, profile_number() of all others.
std::string_view profile_text(const SystemSnapshot &snapshot, const ProfileRow &row);
// The processor's features: words of letters, digits and '_'.
bool profile_is_list(const ProfileRow &row);
double profile_number(const SystemSnapshot &snapshot, const ProfileRow &row);
// Of kU64, kU32, kBytes and kBool, exactly.
uint64_t profile_integer(const SystemSnapshot &snapshot, const ProfileRow &row);
bool profile_is_real(const ProfileRow &row);

}  // namespace bareflow::status
