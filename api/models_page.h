// GET /v1/models: the model that is served, or an empty list while there is none.
#pragma once

#include <cstdint>

#include "api/text_generator.h"
#include "http/exchange.h"

namespace bareflow::api {

class ModelsPage final : public http::Handler {
  public:
    // The model is there since `ready_since_s` (Unix time). Must outlive this object.
    void set_generator(const TextGenerator &generator, uint64_t ready_since_s) {
        generator_ = &generator;
        ready_since_s_ = ready_since_s;
    }
    void handle(http::Exchange &exchange) override;

  private:
    const TextGenerator *generator_ = nullptr;
    uint64_t ready_since_s_ = 0;
};

}  // namespace bareflow::api
