// Faults made on purpose (setting `selftest=`). They show a test, or a curious person, what the
// machine says when something goes wrong. Bare metal only.
#pragma once

#include "appliance/settings.h"

namespace bareflow {

// Makes the fault. Returns for kNone, and for kRecovery, kCandidates and kCode, which log that they
// survived. Panics if the fault did not happen.
void run_self_test(SelfTest test);

}  // namespace bareflow
