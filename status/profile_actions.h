// POST /profile/optimize runs the optimiser now; POST /profile/reset clears the profile. Both
// answer 200 with a small JSON object. Neither needs a body.
#pragma once

#include "http/exchange.h"

namespace bareflow::status {

class ProfileActions {
  public:
    // jit_optimize_hot_functions(): how many functions changed their level.
    virtual int optimize_now() = 0;
    [[nodiscard]] virtual bool optimizer_has_work() = 0;
    virtual void clear_profile() = 0;

  protected:
    ~ProfileActions() = default;
};

class OptimizeHandler final : public http::Handler {
  public:
    explicit OptimizeHandler(ProfileActions &actions) : actions_(actions) {}
    void handle(http::Exchange &exchange) override;

  private:
    ProfileActions &actions_;
};

class ResetHandler final : public http::Handler {
  public:
    explicit ResetHandler(ProfileActions &actions) : actions_(actions) {}
    void handle(http::Exchange &exchange) override;

  private:
    ProfileActions &actions_;
};

}  // namespace bareflow::status
