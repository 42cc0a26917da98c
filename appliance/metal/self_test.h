// Faults made on purpose (setting `selftest=`), so that a test or a curious person can see what the
// machine says when something goes wrong. Bare metal only.
#pragma once

#include "appliance/settings.h"

namespace bareflow {

// Makes the fault, and returns only for kNone, and for kRecovery, kCandidates and kCode, which log
// that they got away. If a fault does not happen that should, panics.
void run_self_test(SelfTest test);

}  // namespace bareflow
